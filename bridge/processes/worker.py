"""One process of several: `python -m bridge.processes.worker`, started by the supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import pickle
import secrets
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

from bridge.app import create_app
from bridge.log.process_backends import create_follower_backend, create_leader_backend
from bridge.ops import logging_setup as logs
from bridge.options import admission_limits, log_options
from bridge.processes.admission import LeaderAdmission, serve_admission
from bridge.processes.reports import ServingProcesses, serve_reports
from bridge.processes.spec import (
    ALIVE,
    BEAT_SECONDS,
    DRAIN,
    HISTORY_LOST,
    LEADER_SOCKET,
    STARTED,
    STOP_NOW,
    WorkerSpec,
)
from bridge.server import serve
from bridge.server.handoff import Handoff

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from bridge.settings import Settings

log = logging.getLogger(__name__)

DIVIDED: Final = ("snapshot_pages_per_second_per_address", "snapshot_pages_burst_per_address")
"""Settings of which each serving process has its share: a client's snapshots come from one."""


def main() -> int:
    spec: WorkerSpec = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that started it
    # Ctrl-C is for the supervisor, which has the processes end in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logs.set_up(
        spec.settings.log_level,
        secrets=spec.settings.secrets,
        process=spec.name,
        form=spec.settings.log_format,
    )
    return asyncio.run(_until_ordered(spec, lead(spec) if spec.leads else serve_clients(spec)))


async def lead(spec: WorkerSpec) -> int:
    """Follow the table, own the log, and serve operators."""
    settings = worker_settings(spec)
    backend, server = create_leader_backend(
        log_options(settings),
        spec.directory / LEADER_SOCKET,
        session_seconds=settings.recovery_seconds,
        continues=spec.continues,
    )
    serve_admission(server, admission_limits(settings))
    lost = False
    task = asyncio.current_task()
    assert task is not None, "it runs as a task"

    def on_history_lost() -> None:
        nonlocal lost
        lost = True
        task.cancel()

    server.on_history_lost = on_history_lost
    bridge = create_app(settings, backend=backend)
    bridge.serving = ServingProcesses(server)
    handoff = Handoff(spec.directory, "leader", leads=True)
    try:
        return await serve.serve(bridge, None, handoff=handoff, on_started=_say_started)
    except asyncio.CancelledError:
        if not lost:
            raise
        return HISTORY_LOST


async def serve_clients(spec: WorkerSpec) -> int:
    """Serve clients what the leader process appends."""
    settings = worker_settings(spec)
    process = secrets.token_hex(6)
    backend, link = create_follower_backend(
        log_options(settings), spec.directory / LEADER_SOCKET, process
    )
    bridge = create_app(settings, backend=backend)
    bridge.admission.others = LeaderAdmission(link, bridge.admission.connections)
    serve_reports(bridge, link, spec.name)
    handoff = Handoff(spec.directory, process)
    with serve.reserve(spec.host, spec.port) as listening:
        return await serve.serve(bridge, listening, handoff=handoff, on_started=_say_started)


def worker_settings(spec: WorkerSpec) -> Settings:
    """Return the settings of one process. Limits that are not shared are divided."""
    settings = spec.settings
    changed: dict[str, Any] = {"processes": 1}
    if settings.drain_seconds is None:
        changed["drain_seconds"] = 0.0  # all processes of the machine end
    if not spec.leads:
        shares = {name: getattr(settings, name) / spec.serving for name in DIVIDED}
        changed |= {name: max(1.0, share) for name, share in shares.items()}
        changed["recovery_clients"] = math.ceil(settings.recovery_clients / spec.serving)
    copied = settings.model_copy(update=changed)
    # As set by the operator: `Settings.count_loopback` depends on it.
    copied.__pydantic_fields_set__.difference_update(changed.keys() - settings.model_fields_set)
    return copied


def _say_started() -> None:
    _print(STARTED)


async def _beat() -> None:
    """Show the supervisor that the event loop runs, until cancelled."""
    while True:
        await asyncio.sleep(BEAT_SECONDS)
        _print(ALIVE)


def _print(line: bytes) -> None:
    # A supervisor that is paused reads nothing, and one that is gone is noticed on stdin.
    with contextlib.suppress(BlockingIOError, BrokenPipeError):
        os.write(sys.stdout.fileno(), line + b"\n")


async def _until_ordered(spec: WorkerSpec, main: Coroutine[Any, Any, int]) -> int:
    """Run `main` and return its exit code, or 0 after the order to drain cancelled it. The order to
    stop now cancels its cleanup.
    """
    task = asyncio.current_task()
    assert task is not None, "it runs as a task"
    ordered = False

    def drain() -> None:
        nonlocal ordered
        if not ordered:
            ordered = True
            task.cancel()

    def stop_now() -> None:
        nonlocal ordered
        ordered = True
        task.cancel()

    loop = asyncio.get_running_loop()
    # The leader process outlives its followers, which store sessions in its log: it waits for the
    # supervisor's order, since a process manager may signal all processes at once.
    loop.add_signal_handler(signal.SIGTERM, (lambda: None) if spec.leads else drain)
    await loop.connect_read_pipe(lambda: _Orders(drain, stop_now), sys.stdin)
    os.set_blocking(sys.stdout.fileno(), False)
    beat = asyncio.create_task(_beat(), name="beat")
    try:
        return await main
    except asyncio.CancelledError:
        if not ordered:
            raise
        return 0
    finally:
        beat.cancel()


class _Orders(asyncio.Protocol):
    """Reads the orders of the supervisor."""

    def __init__(self, drain: Callable[[], None], stop_now: Callable[[], None]) -> None:
        self._drain = drain
        self._stop_now = stop_now

    def data_received(self, data: bytes) -> None:
        if DRAIN in data:
            self._drain()
        if STOP_NOW in data:
            self._stop_now()

    def eof_received(self) -> None:
        log.warning("the supervisor has ended: this process ends, too")
        self._drain()


if __name__ == "__main__":
    sys.exit(main())
