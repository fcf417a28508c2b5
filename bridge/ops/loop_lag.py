"""How late the event loop runs what is due."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from bridge.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

INTERVAL_SECONDS: Final = 0.25


class LoopLag:
    """Measures the lag of the loop several times a second."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.seconds = Histogram()
        self._clock = clock
        self._sleep = sleep

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            due = self._clock() + INTERVAL_SECONDS
            await self._sleep(INTERVAL_SECONDS)
            self.seconds.observe(self._clock() - due)
