"""Runs the bridge's process, and restarts it on the same port with the same log."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import sys
import time
from collections import Counter
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

READY_SECONDS = 150
END_SECONDS = 20
RESTART_SECONDS = 0.2
"""Between an exit that no fault caused and the next start."""
GRACE_SECONDS = 5.0
"""How long after `allowed_to_exit` a start may still fail."""


class Supervisor:
    """Created by `Supervisor.open()`. `counts`: starts, kills, stops, unexpected exits."""

    def __init__(
        self,
        directory: Path,
        environment: Mapping[str, str],
        slow: float,
        end_seconds: float = END_SECONDS,
    ) -> None:
        """`end_seconds`: how long the process may take to end after a signal."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("BRIDGE_", "SUPABASE_"))}
        clean["BRIDGE_LOG_FORMAT"] = "text"
        self._environment = clean | dict(environment)
        self._slow = slow
        self._end_seconds = end_seconds
        self._clock = directory / "clock"
        self._log = directory / "bridge.log"
        self._clock.write_bytes(struct.pack("<d", 0.0))
        self._process: asyncio.subprocess.Process | None = None
        self._started = asyncio.Event()
        self._expected = False
        self._delay = 0.0
        self._allowing = 0
        self._allowed_until = 0.0
        self.exits: list[str] = []
        """Unexpected exits, with the last lines of the log."""
        self.counts: Counter[str] = Counter()
        self.url = f"http://127.0.0.1:{environment['BRIDGE_PORT']}"

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        directory: Path,
        environment: Mapping[str, str],
        slow: float,
        end_seconds: float = END_SECONDS,
    ) -> AsyncIterator[Supervisor]:
        """Start the bridge and wait until it is ready. `directory`: for its log and its clock."""
        supervisor = cls(directory, environment, slow, end_seconds)
        running = asyncio.create_task(supervisor._keep_running())
        try:
            await supervisor.ready()
            yield supervisor
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    async def ready(self) -> None:
        """Wait until GET /readyz answers 200, for up to 150 s."""
        async with asyncio.timeout(READY_SECONDS), httpx.AsyncClient(timeout=2) as http:
            while True:
                with suppress(httpx.HTTPError):
                    if (await http.get(f"{self.url}/readyz")).status_code == 200:
                        return
                await asyncio.sleep(0.05)

    async def running(self) -> asyncio.subprocess.Process:
        """Return the process, once it is started."""
        await self._started.wait()
        assert self._process is not None
        return self._process

    async def kill(self, delay: float) -> None:
        """Send SIGKILL; the process is restarted after `delay` seconds."""
        await self._signal(signal.SIGKILL, delay)
        self.counts["kills"] += 1

    async def stop(self, delay: float) -> None:
        """Send SIGTERM, as a deployment does."""
        await self._signal(signal.SIGTERM, delay)
        self.counts["stops"] += 1

    async def workers(self) -> list[int]:
        """Return the pids of its processes, with BRIDGE_PROCESSES."""
        pid = (await self.running()).pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(child) for child in children.split()]

    async def kill_worker(self, pid: int) -> None:
        """Send SIGKILL to one of them; the bridge restarts it."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self.counts["killed workers"] += 1

    async def freeze(self) -> None:
        """Send SIGSTOP: the process gets no CPU time, and its connections stay open."""
        (await self.running()).send_signal(signal.SIGSTOP)

    async def thaw(self) -> None:
        process = await self.running()
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)

    def set_clock(self, seconds: float) -> None:
        """Set the offset of the wall clock, also for restarts."""
        with self._clock.open("r+b") as file:
            file.write(struct.pack("<d", seconds))

    def log_lines(self, *words: str) -> list[str]:
        """Return the lines of the log that contain any of `words`."""
        lines = self._log.read_text(errors="replace").splitlines()
        return [line for line in lines if any(word in line for word in words)]

    @contextmanager
    def allowed_to_exit(self) -> Iterator[None]:
        """Inside, the process may exit unexpectedly: what it needs is not there."""
        self._allowing += 1
        try:
            yield
        finally:
            self._allowing -= 1
            self._allowed_until = time.monotonic() + GRACE_SECONDS

    async def _signal(self, number: signal.Signals, delay: float) -> None:
        process = await self.running()
        self._expected, self._delay = True, delay
        with suppress(ProcessLookupError):
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)
        try:
            async with asyncio.timeout(self._end_seconds):
                await process.wait()
        except TimeoutError:
            self.exits.append(f"was running {self._end_seconds} s after {number.name}")
            process.kill()

    async def _keep_running(self) -> None:
        try:
            while True:
                await self._run()
                await asyncio.sleep(self._delay)
                self._delay = 0.0
        finally:
            process = self._process
            if process is not None and process.returncode is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
                try:
                    async with asyncio.timeout(END_SECONDS):
                        await process.wait()
                except TimeoutError:
                    process.kill()
                    await process.wait()

    async def _run(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.chaos.bridge_process",
                str(self._clock),
                str(self._slow),
                env=self._environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        self.counts["starts"] += 1
        self._started.set()
        await self._process.wait()
        self._started.clear()
        if not self._expected:
            self.counts["unexpected exits"] += 1
            self._delay = RESTART_SECONDS
            if not self._allowing and time.monotonic() > self._allowed_until:
                last = self._log.read_text(errors="replace").splitlines()[-8:]
                self.exits.append(f"code {self._process.returncode}: " + " | ".join(last))
        self._expected = False
