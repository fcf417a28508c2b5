"""The log in memory: fast, and lost with the process."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from bridge.clock import SystemClock
from bridge.log.base import Note, Progress
from bridge.log.commit_feed import CommitFeed
from bridge.log.recent_entries import RecentEntries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from bridge.changes import Key
    from bridge.clock import Clock
    from bridge.events import Event
    from bridge.log.base import Commit, Entry, Position, RowUpdate


class MemoryEventLog:
    """Keeps at most `events` entries, none older than `seconds`. Each instance is an epoch."""

    error = None

    def __init__(self, events: int, seconds: float, clock: Clock | None = None) -> None:
        self._entries = RecentEntries(
            secrets.token_hex(6), 0, events=events, seconds=seconds, clock=clock or SystemClock()
        )
        self._feed = CommitFeed(self._entries.head)
        self._progress = Progress()
        self.process = secrets.token_hex(6)

    async def open(self) -> None: ...

    async def rows(self) -> AsyncIterator[Sequence[tuple[Key, bytes]]]:
        stored: Sequence[Sequence[tuple[Key, bytes]]] = ()
        for rows in stored:
            yield rows

    @property
    def progress(self) -> Progress:
        return self._progress

    @property
    def head(self) -> Position:
        return self._entries.head

    async def append(
        self,
        events: Sequence[Event],
        rows: Sequence[RowUpdate],
        progress: Progress | None = None,
    ) -> Commit:
        entries = self._entries.next(events)
        self._entries.add(entries)
        self._progress = progress or self._progress
        return self._feed.add(entries, rows, progress)

    async def note(self, kind: str, data: bytes) -> None:
        self._feed.add((), (), None, (Note(kind, self.process, data),))

    def locate(self, position: Position) -> Position | None:
        return self._entries.locate(position)

    def after(self, position: Position) -> Sequence[Entry]:
        return self._entries.after(position)

    def follow(self, after: Position) -> AsyncIterator[Commit]:
        return self._feed.follow(after)

    async def close(self) -> None:
        self._entries.clear()
        self._feed.close()
