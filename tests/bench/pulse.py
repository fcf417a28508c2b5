"""How long a process does not answer, seen from outside: what holds its loop holds its answers."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ASK: Final = b"GET /livez HTTP/1.1\r\nHost: bridge\r\n\r\n"
EVERY_SECONDS: Final = 0.01


class Pulse:
    """Asks /livez every 10 ms over one connection, which is made anew where it ends."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._took: list[float] = []

    @classmethod
    @asynccontextmanager
    async def felt(cls, port: int) -> AsyncIterator[Pulse]:
        pulse = cls(port)
        task = asyncio.create_task(pulse._run())
        try:
            yield pulse
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def take(self) -> dict[str, float]:
        """Milliseconds of the answers since it was asked last; nothing if there were none."""
        took, self._took = sorted(self._took), []
        if not took:
            return {}
        return {"p50": _at(took, 0.5), "p99": _at(took, 0.99), "max": _at(took, 1.0)}

    async def _run(self) -> None:
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._feel()
            await asyncio.sleep(EVERY_SECONDS)

    async def _feel(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        fresh = True  # it may have waited for a server that was starting
        try:
            while True:
                asked = time.monotonic()
                writer.write(ASK)
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                )
                await reader.readexactly(length)
                if not fresh:
                    self._took.append(time.monotonic() - asked)
                fresh = False
                await asyncio.sleep(max(0.0, asked + EVERY_SECONDS - time.monotonic()))
        finally:
            writer.close()


def _at(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000
