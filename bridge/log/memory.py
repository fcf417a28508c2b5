"""The log in memory: fast, and lost with the process."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from bridge.clock import SystemClock
from bridge.log.base import Note, Progress
from bridge.log.commit_feed import CommitFeed
from bridge.log.recent_entries import RecentEntries
from bridge.rows import SHARDS, RowStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from bridge.changes import Key
    from bridge.clock import Clock
    from bridge.events import Event
    from bridge.log.base import Commit, Entry, Position, RowUpdate


class MemoryEventLog:
    """Keeps at most `events` entries, none older than `seconds`. Each instance is an epoch.

    Rows are kept with `keep_rows` only: a process that has the log to itself has them already.
    """

    error = None

    def __init__(
        self, events: int, seconds: float, clock: Clock | None = None, *, keep_rows: bool = False
    ) -> None:
        self._rows = RowStore(()) if keep_rows else None
        self._entries = RecentEntries(
            secrets.token_hex(6), 0, events=events, seconds=seconds, clock=clock or SystemClock()
        )
        self._feed = CommitFeed(self._entries.head)
        self._progress = Progress()
        self.process = secrets.token_hex(6)

    async def open(self) -> None: ...

    async def rows(self) -> AsyncIterator[Sequence[tuple[Key, bytes]]]:
        rows = self._rows
        for shard in range(SHARDS if rows is not None else 0):
            assert rows is not None, "there are shards"
            yield rows.items_of(shard)
            await asyncio.sleep(0)  # a shard takes up to 2 ms

    @property
    def progress(self) -> Progress:
        return self._progress

    @property
    def head(self) -> Position:
        return self._entries.head

    @property
    def recent(self) -> RecentEntries:
        return self._entries

    async def append(
        self,
        events: Sequence[Event],
        rows: Sequence[RowUpdate],
        progress: Progress | None = None,
    ) -> Commit:
        entries = self._entries.next(events)
        self._entries.add(entries)
        self._progress = progress or self._progress
        if self._rows is not None:
            self._rows.apply(rows)
        return self._feed.add(entries, rows, progress)

    async def note(self, kind: str, data: bytes, *, origin: str = "") -> None:
        self._feed.add((), (), None, (Note(kind, origin or self.process, data),))

    def locate(self, position: Position) -> Position | None:
        return self._entries.locate(position)

    def after(self, position: Position) -> Sequence[Entry]:
        return self._entries.after(position)

    def follow(self, after: Position) -> AsyncIterator[Commit]:
        return self._feed.follow(after)

    async def close(self) -> None:
        self._entries.clear()
        self._feed.close()
