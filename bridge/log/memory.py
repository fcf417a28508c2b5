"""The log in memory: as fast as it gets, and gone with the process."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from bridge.clock import SystemClock
from bridge.log.base import Progress
from bridge.log.recent_entries import RecentEntries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from bridge.changes import Key
    from bridge.clock import Clock
    from bridge.events import Event
    from bridge.log.base import Entry, Position, RowUpdate


class MemoryEventLog:
    """Keeps at most `events` entries, none older than `seconds`. Every instance is an epoch."""

    error = None

    def __init__(self, events: int, seconds: float, clock: Clock | None = None) -> None:
        self._tail = RecentEntries(
            secrets.token_hex(6), 0, events=events, seconds=seconds, clock=clock or SystemClock()
        )
        self._progress = Progress()

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
        return self._tail.head

    async def append(
        self,
        events: Sequence[Event],
        rows: Sequence[RowUpdate],  # noqa: ARG002 - memory forgets the rows with the entries
        progress: Progress | None = None,
    ) -> Sequence[Entry]:
        entries = self._tail.next(events)
        self._tail.add(entries)
        self._progress = progress or self._progress
        return entries

    def after(self, position: Position) -> Sequence[Entry]:
        return self._tail.after(position)

    async def close(self) -> None:
        self._tail.clear()
