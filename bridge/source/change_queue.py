"""The bounded queue between a source's callbacks and the pipeline."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from bridge.changes import Gap, GapReason

if TYPE_CHECKING:
    from bridge.changes import Item


class ChangeQueue:
    """Items in order. `put` never blocks and never raises: it is called from library callbacks, in
    which an exception ends the library's reader without a word. What does not fit is dropped, and
    one `Gap` stands for it, so that the table is read instead.
    """

    def __init__(self, limit: int) -> None:
        self._items: deque[Item] = deque()
        self._limit = limit
        self._ready = asyncio.Event()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._items)

    def put_nowait(self, item: Item) -> None:
        if len(self._items) >= self._limit:
            self.dropped += len(self._items)
            self._items.clear()
            self._items.append(Gap(GapReason.OVERFLOW, f"more than {self._limit} changes waiting"))
            if isinstance(item, Gap):
                self._ready.set()
                return
        self._items.append(item)
        self._ready.set()

    async def get_many(self, limit: int) -> list[Item]:
        """Wait for items; give at least one and at most `limit`, in order."""
        while not self._items:
            self._ready.clear()
            await self._ready.wait()
        return self.get_many_nowait(limit)

    def get_many_nowait(self, limit: int) -> list[Item]:
        """What is there, at most `limit`, possibly nothing."""
        items = self._items
        return [items.popleft() for _ in range(min(limit, len(items)))]
