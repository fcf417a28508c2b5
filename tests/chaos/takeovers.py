"""How long it takes until another machine leads, by the cause."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.bench.figures import percentile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

POLL_SECONDS = 0.02
LIMIT_SECONDS = 30.0


class Takeovers:
    """Call `watch` just before a fault; it measures until another token is in the lease."""

    def __init__(self, leader: Callable[[], Awaitable[str | None]]) -> None:
        self._leader = leader
        self._tasks: set[asyncio.Task[None]] = set()
        self._active = 0  # faults at present
        self._count = 0  # faults so far
        self.seconds: dict[str, list[float]] = {}

    @contextmanager
    def fault(self) -> Iterator[None]:
        """A fault of a machine or of Redis lasts inside. Takeovers during another one, which may
        concern the machine that would take over, are counted apart.
        """
        self._active += 1
        self._count += 1
        try:
            yield
        finally:
            self._active -= 1

    async def watch(self, cause: str) -> None:
        """Measure from now on, in the background, if any machine leads."""
        token = await self._leader()
        if token is not None:
            task = asyncio.create_task(self._measure(cause, token, time.monotonic()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def percentiles(self) -> Iterator[tuple[str, int, float, float, float]]:
        """Yield each cause, the number of takeovers, and p50, p99 and maximum in seconds."""
        for cause, seconds in sorted(self.seconds.items()):
            found = sorted(seconds)
            yield cause, len(found), percentile(found, 0.5), percentile(found, 0.99), found[-1]

    async def _measure(self, cause: str, token: str, began: float) -> None:
        alone, count = self._active <= 1, self._count
        while time.monotonic() - began < LIMIT_SECONDS:
            found = await self._leader()
            if found not in (None, token):
                if not alone or count != self._count:
                    cause += ", with other faults"
                self.seconds.setdefault(cause, []).append(time.monotonic() - began)
                return
            await asyncio.sleep(POLL_SECONDS)
