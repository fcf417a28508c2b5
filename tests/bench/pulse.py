"""Response times of a process, measured from outside: a blocked event loop delays responses."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from tests.bench.figures import percentile
from tests.bench.tasks import cancelled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REQUEST: Final = b"GET /livez HTTP/1.1\r\nHost: bridge\r\n\r\n"
INTERVAL_SECONDS: Final = 0.01


class Pulse:
    """Requests /livez every 10 ms over one connection; reconnects if it closes."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._durations: list[float] = []

    @classmethod
    @asynccontextmanager
    async def open(cls, port: int) -> AsyncIterator[Pulse]:
        pulse = cls(port)
        task = asyncio.create_task(pulse._run())
        try:
            yield pulse
        finally:
            await cancelled(task)

    def take(self) -> dict[str, float]:
        """Return percentiles in ms of the responses since the last call; empty without any."""
        ordered, self._durations = sorted(self._durations), []
        if not ordered:
            return {}
        shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
        return {name: percentile(ordered, share) * 1000 for name, share in shares.items()}

    async def _run(self) -> None:
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._probe()
            await asyncio.sleep(INTERVAL_SECONDS)

    async def _probe(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        fresh = True  # the first response may have waited for the server's start
        try:
            while True:
                sent = time.monotonic()
                writer.write(REQUEST)
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                )
                await reader.readexactly(length)
                if not fresh:
                    self._durations.append(time.monotonic() - sent)
                fresh = False
                await asyncio.sleep(max(0.0, sent + INTERVAL_SECONDS - time.monotonic()))
        finally:
            writer.close()
