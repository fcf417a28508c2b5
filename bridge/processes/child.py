"""One worker process, as the supervisor has it."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import sys
from typing import TYPE_CHECKING

from bridge.processes.spec import BEAT_SECONDS, DRAIN, STARTED, STOP_NOW

if TYPE_CHECKING:
    from bridge.processes.spec import WorkerSpec


class Child:
    """A started worker. Its log lines go to the supervisor's stderr."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, spec: WorkerSpec) -> Child:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bridge.processes.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # Signals of the terminal are for the supervisor.
            start_new_session=True,
        )
        child = cls(process)
        child._order(pickle.dumps(spec))
        return child

    @property
    def pid(self) -> int:
        return self._process.pid

    async def started(self) -> bool:
        """Wait until it serves; False: it has ended before."""
        assert self._process.stdout is not None, "it is a pipe"
        async for line in self._process.stdout:
            if line.strip() == STARTED:
                return True
        await self._process.wait()
        return False

    async def stuck(self, seconds: float) -> bool:
        """Wait until the process has printed no line for so long; False: it has ended before.

        The time is counted in beats of this event loop. After a pause of the whole machine, or of
        the supervisor alone, the process gets the time again.
        """
        assert self._process.stdout is not None, "it is a pipe"
        silent = 0.0
        while silent < seconds:
            try:
                async with asyncio.timeout(BEAT_SECONDS):
                    line = await self._process.stdout.readline()
            except TimeoutError:
                silent += BEAT_SECONDS
            else:
                if not line:
                    return False
                silent = 0.0
        return True

    async def ended(self) -> int:
        """Wait for its end and return its exit code; negative: the signal that ended it."""
        return await self._process.wait()

    def drain(self) -> None:
        """Have it end in order."""
        self._order(DRAIN)

    def stop_now(self) -> None:
        """Have it end at once."""
        self._order(STOP_NOW)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def _order(self, data: bytes) -> None:
        stdin = self._process.stdin
        if stdin is not None and not stdin.is_closing():
            stdin.write(data)
