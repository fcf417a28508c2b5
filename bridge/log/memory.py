"""The log in memory: as fast as it gets, and gone with the process."""

from __future__ import annotations

import secrets
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from bridge.clock import SystemClock
from bridge.errors import PositionGone
from bridge.log.base import Entry, Position, Progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from bridge.changes import Key
    from bridge.clock import Clock
    from bridge.events import Event
    from bridge.log.base import RowUpdate


class MemoryLog:
    """Keeps at most `events` entries, none older than `seconds`. Every instance is an epoch."""

    def __init__(self, events: int, seconds: float, clock: Clock | None = None) -> None:
        self._limit = events
        self._seconds = seconds
        self._clock = clock or SystemClock()
        self._epoch = secrets.token_hex(6)
        self._seq = 0
        self._progress = Progress()
        self._entries: deque[tuple[float, Entry]] = deque()

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
        return Position(self._epoch, self._seq)

    async def append(
        self,
        events: Sequence[Event],
        rows: Sequence[RowUpdate],  # noqa: ARG002 - memory forgets the rows with the entries
        progress: Progress | None = None,
    ) -> Sequence[Entry]:
        now, wall = self._clock.monotonic(), self._clock.wall()
        added = []
        for event in events:
            self._seq += 1
            entry = Entry(Position(self._epoch, self._seq), event, wall)
            self._entries.append((now, entry))
            added.append(entry)
        self._progress = progress or self._progress
        self._trim(now)
        return added

    def after(self, position: Position) -> Sequence[Entry]:
        self._trim(self._clock.monotonic())
        missing = self._seq - position.seq
        if position.epoch != self._epoch or missing < 0:
            raise PositionGone(f"position {position} is not of this log's epoch {self._epoch}")
        if missing > len(self._entries):
            raise PositionGone(
                f"{missing} entries follow position {position}, the log keeps {len(self._entries)}"
            )
        # From the end: a deque is slow in its middle, and most ask for little.
        out = [entry for _, entry in islice(reversed(self._entries), missing)]
        out.reverse()
        return out

    async def close(self) -> None:
        self._entries.clear()

    def _trim(self, now: float) -> None:
        entries = self._entries
        while entries and (len(entries) > self._limit or entries[0][0] < now - self._seconds):
            entries.popleft()
