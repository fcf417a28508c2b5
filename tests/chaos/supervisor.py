"""The bridge as a process, started again whenever it ends, on the same port with the same log."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import sys
from collections import Counter
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

READY_SECONDS = 60
END_SECONDS = 20
BREATH_SECONDS = 0.2
"""Between an end that nobody asked for and the next start."""


class Supervisor:
    """Made by `Supervisor.open()`. `counts`: starts, kills, stops, and ends by itself."""

    def __init__(self, directory: Path, environment: Mapping[str, str], slow: float) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("BRIDGE_", "SUPABASE_"))}
        self._environment = clean | dict(environment)
        self._slow = slow
        self._clock = directory / "clock"
        self._log = directory / "bridge.log"
        self._clock.write_bytes(struct.pack("<d", 0.0))
        self._process: asyncio.subprocess.Process | None = None
        self._started = asyncio.Event()
        self._meant = False
        self._delay = 0.0
        self.forgiven = False
        """While it is set, an end by itself is none: the disk is full."""
        self.deaths: list[str] = []
        self.counts: Counter[str] = Counter()
        self.url = f"http://127.0.0.1:{environment['BRIDGE_PORT']}"

    @classmethod
    @asynccontextmanager
    async def open(
        cls, directory: Path, environment: Mapping[str, str], slow: float
    ) -> AsyncIterator[Supervisor]:
        """It is ready inside. `directory` keeps what it says and its clock."""
        supervisor = cls(directory, environment, slow)
        watching = asyncio.create_task(supervisor._watch())
        try:
            await supervisor.ready()
            yield supervisor
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    async def ready(self) -> None:
        """Wait until /readyz agrees."""
        async with asyncio.timeout(READY_SECONDS), httpx.AsyncClient(timeout=2) as http:
            while True:
                with suppress(httpx.HTTPError):
                    if (await http.get(f"{self.url}/readyz")).status_code == 200:
                        return
                await asyncio.sleep(0.05)

    async def running(self) -> asyncio.subprocess.Process:
        await self._started.wait()
        assert self._process is not None
        return self._process

    async def kill(self, delay: float) -> None:
        """SIGKILL; it is started again after `delay` seconds."""
        await self._end(signal.SIGKILL, delay)
        self.counts["kills"] += 1

    async def stop(self, delay: float) -> None:
        """SIGTERM, as a deployment does."""
        await self._end(signal.SIGTERM, delay)
        self.counts["stops"] += 1

    async def freeze(self) -> None:
        """SIGSTOP: it gets no CPU, and nobody is told."""
        (await self.running()).send_signal(signal.SIGSTOP)

    async def thaw(self) -> None:
        process = await self.running()
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)

    def set_clock(self, seconds: float) -> None:
        """How far its wall clock is off from now on, through restarts too."""
        with self._clock.open("r+b") as file:
            file.write(struct.pack("<d", seconds))

    def said(self, *words: str) -> list[str]:
        """Lines of its log with any of `words` in them."""
        lines = self._log.read_text(errors="replace").splitlines()
        return [line for line in lines if any(word in line for word in words)]

    async def _end(self, number: signal.Signals, delay: float) -> None:
        process = await self.running()
        self._meant, self._delay = True, delay
        with suppress(ProcessLookupError):
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)
        try:
            async with asyncio.timeout(END_SECONDS):
                await process.wait()
        except TimeoutError:
            self.deaths.append(f"did not end {END_SECONDS} s after {number.name}")
            process.kill()

    async def _watch(self) -> None:
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
        if not self._meant:
            self.counts["ended by itself"] += 1
            self._delay = BREATH_SECONDS
            if not self.forgiven:
                last = self._log.read_text(errors="replace").splitlines()[-8:]
                self.deaths.append(f"code {self._process.returncode}: " + " | ".join(last))
        self._meant = False
