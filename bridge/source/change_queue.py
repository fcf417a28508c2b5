"""Bounded queue between a source's callbacks and the pipeline: the backpressure on the source."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from bridge.changes import Change, Gap, GapReason, Truncate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.changes import Item


class ChangeQueue:
    """Changes and gaps in order. `put_nowait` never blocks and never raises: it is called from
    callbacks of a library, and an exception silently ends its reader. On overflow the whole queue
    is dropped and replaced by one `Gap`, so that the table is read instead.
    """

    def __init__(self, limit: int) -> None:
        self._items: deque[Item] = deque()
        self._limit = limit
        self._ready = asyncio.Event()
        self._room = asyncio.Event()
        self.dropped = 0
        """Number of items dropped on overflow."""
        self.live = True
        """Whether the source delivers changes at present. Otherwise a difference that a read finds
        is not left to the stream."""
        self.missed = 0
        """Number of rows that reads found changed and the source did not deliver in its grace."""
        self.passed_at = float("inf")
        """Up to when everything that was committed has been merged, in monotonic seconds, from a
        source without gaps that can be behind; infinite: the source does not know."""
        self.confirmed_at: float | None = None
        """When the last scan began that found nothing the source had not delivered, in monotonic
        seconds."""
        self.stored: str | None = None
        """The source's position up to which the log holds its changes; None: it holds none."""
        self.on_stored: Callable[[str], None] | None = None
        """Called with each position that the log has stored; must not raise or block."""

    def __len__(self) -> int:
        return len(self._items)

    def put_nowait(self, item: Item) -> None:
        """Append an item, or replace the queue by a `Gap` if it is full."""
        if len(self._items) >= self._limit:
            self.dropped += len(self._items)
            self._items.clear()
            self._items.append(Gap(GapReason.OVERFLOW, f"more than {self._limit} changes queued"))
            if isinstance(item, Gap):
                self._ready.set()
                return
        self._items.append(item)
        self._ready.set()

    def record_missed(self, rows: int) -> None:
        """Record rows that the source did not deliver, for the source to judge."""
        self.missed += rows

    def record_confirmed(self, at: float) -> None:
        """Record that a scan which began then found nothing that the source had not delivered."""
        self.confirmed_at = at

    async def put_all(self, items: Sequence[Item]) -> None:
        """Append items that belong together, as soon as the queue has room for one: for a source
        that can wait. Nothing is dropped.
        """
        while len(self._items) >= self._limit:
            self._room.clear()
            await self._room.wait()
        self._items.extend(items)
        self._ready.set()

    async def drained(self) -> None:
        """Wait until all items were taken."""
        while self._items:
            self._room.clear()
            await self._room.wait()

    def store(self, position: str) -> None:
        """Record that the log holds everything up to `position`, and wake the source."""
        self.stored = position
        if self.on_stored is not None:
            self.on_stored(position)

    async def get_many(self, limit: int) -> list[Item]:
        """Wait for items; return at least one and at most `limit`, in order, but whole transactions
        of a source that sends checkpoints.
        """
        while not self._items:
            self._ready.clear()
            await self._ready.wait()
        return self.get_many_nowait(limit)

    def get_many_nowait(self, limit: int) -> list[Item]:
        """Return at most `limit` items without waiting, possibly none."""
        items = self._items
        taken = [items.popleft() for _ in range(min(limit, len(items)))]
        while items and _inside_transaction(taken[-1]):
            taken.append(items.popleft())
        self._room.set()
        return taken


def _inside_transaction(item: Item) -> bool:
    """Return whether the items up to the next checkpoint belong to the same transaction."""
    return isinstance(item, Change | Truncate) and item.lsn is not None
