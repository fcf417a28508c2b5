"""Starts the processes of one bridge, starts again those that die or are stuck, and ends them in
order.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bridge.processes.child import Child
from bridge.processes.spec import HISTORY_LOST, WorkerSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.settings import Settings

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 10.0
"""Pauses before a process that died is started again; each is twice the one before."""

STABLE_SECONDS: Final = 30.0
"""A process that has run for so long is started again after the first pause."""

AT_ONCE_SECONDS: Final = 2.0
"""Time that processes have to end after a second signal."""

END_SECONDS: Final = 15.0
"""Time that a process has to end in order, besides the setting for its clients."""


class _StartError(Exception):
    """A process ended before it served."""


class Supervisor:
    """The processes of one bridge: the leader process, and those that serve."""

    def __init__(self, settings: Settings, *, host: str, port: int, serving: int) -> None:
        self._settings = settings
        self._address = (host, port)
        self._serving = serving
        self._children: dict[int, Child] = {}

    @property
    def pids(self) -> Sequence[int]:
        """The present processes: the leader process, then the serving ones."""
        return [child.pid for _, child in sorted(self._children.items())]

    async def run(self, on_started: Callable[[], None] = lambda: None) -> int:
        """Run until cancelled; all processes have ended on return. `on_started` is called once all
        of them serve. Returns exit code 1 if one of them can't start.
        """
        with tempfile.TemporaryDirectory(prefix="bridge-processes-") as directory:
            try:
                async with asyncio.TaskGroup() as tasks:
                    await self._start_all(Path(directory), tasks)
                    on_started()
            except* _StartError as group:
                log.critical("%s", _first_error(group))
            finally:
                await self._end()
        return 1

    async def _start_all(self, directory: Path, tasks: asyncio.TaskGroup) -> None:
        host, port = self._address
        leader = WorkerSpec(self._settings, directory, 0, self._serving, host, port)
        specs = [replace(leader, number=number) for number in range(self._serving + 1)]
        # At once, since each takes seconds; the serving ones wait for the leader's log.
        async with asyncio.TaskGroup() as starting:
            for spec in specs:
                starting.create_task(self._start(spec), name=spec.name)
        for spec in specs:
            tasks.create_task(self._keep(spec), name=spec.name)

    async def _start(self, spec: WorkerSpec) -> None:
        """Start a process for the first time and wait until it serves."""
        child = self._children[spec.number] = await Child.start(spec)
        if not await child.started():
            code = await child.ended()
            raise _StartError(f"process {spec.name} could not start ({_described(code)})")

    async def _keep(self, spec: WorkerSpec) -> None:
        """Start a process again whenever it has ended, until cancelled."""
        pause, clock = FIRST_PAUSE_SECONDS, asyncio.get_running_loop().time
        began = clock()
        while True:
            child = self._children[spec.number]
            code = await self._ended(spec, child)
            if clock() - began > STABLE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            log.error(
                "process %s (pid %d) has ended (%s); it is started again in %.1f s",
                spec.name,
                child.pid,
                _described(code),
                pause,
            )
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            began = clock()
            again = replace(spec, continues=spec.leads and code != HISTORY_LOST)
            try:
                child = self._children[spec.number] = await Child.start(again)
            except OSError as error:  # no memory or no process is left; the dead one has ended
                log.error("process %s can't be started: %s", spec.name, error)  # noqa: TRY400
                continue
            if await child.started():
                log.info("process %s serves again (pid %d)", spec.name, child.pid)

    async def _ended(self, spec: WorkerSpec, child: Child) -> int:
        """Wait for the end of a process that serves, and return its exit code. One that is stuck
        is killed.
        """
        seconds = self._settings.process_stuck_seconds
        if await child.stuck(seconds):
            log.error(
                "process %s (pid %d) is stuck: its event loop has not run for %g s. It is killed."
                " If this happens again, check the machine for lack of memory, CPU or disk; a"
                " process that was only slow needs a longer BRIDGE_PROCESS_STUCK_SECONDS",
                spec.name,
                child.pid,
                seconds,
            )
            child.kill()
        return await child.ended()

    async def _end(self) -> None:
        """End all processes: the serving ones first, which store sessions in the leader's log."""
        serving = [child for number, child in self._children.items() if number]
        leader = [child for number, child in self._children.items() if not number]
        seconds = END_SECONDS + (self._settings.drain_seconds or 0.0)
        try:
            await _end(serving, seconds)
            await _end(leader, seconds)
        except asyncio.CancelledError:
            for child in (*serving, *leader):
                child.stop_now()
            await _kill_after(AT_ONCE_SECONDS, (*serving, *leader))
            raise


def _first_error(group: BaseExceptionGroup) -> BaseException:
    """Return the first error of a group that is no group itself."""
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first


async def _end(children: Sequence[Child], seconds: float) -> None:
    for child in children:
        child.drain()
    await _kill_after(seconds, children)


async def _kill_after(seconds: float, children: Sequence[Child]) -> None:
    """Wait for the end of processes, and kill those that have not ended in time."""
    tasks = {asyncio.create_task(child.ended()): child for child in children}
    if not tasks:
        return
    try:
        _, late = await asyncio.wait(tasks, timeout=seconds)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        raise
    for task in late:
        log.error("process %d did not end within %.0f s: killed", tasks[task].pid, seconds)
        tasks[task].kill()
        await task


def _described(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
