"""Stops chosen calls of `asyncio.sleep` until a test releases them."""

from __future__ import annotations

import asyncio
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


class GatedSleep:
    """In `module`, a sleep of exactly `seconds` lasts until `release()`; other sleeps are real."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: ModuleType, seconds: float) -> None:
        self.started = asyncio.Event()
        """Set when such a sleep has begun."""
        self._seconds = seconds
        self._released = asyncio.Event()
        names = {**vars(asyncio), "sleep": self._sleep}
        monkeypatch.setattr(module, "asyncio", SimpleNamespace(**names))

    def release(self) -> None:
        self._released.set()

    async def _sleep(self, seconds: float) -> None:
        if seconds != self._seconds:
            await asyncio.sleep(seconds)
            return
        self.started.set()
        await self._released.wait()
