"""The newest entries of a log, in memory: replays are answered from here in every backend."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from bridge.errors import PositionGoneError
from bridge.log.base import Entry, Position

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bridge.clock import Clock
    from bridge.events import Event


class RecentEntries:
    """Keeps at most `events` entries, none older than `seconds`."""

    def __init__(
        self,
        epoch: str,
        seq: int,
        *,
        events: int,
        seconds: float,
        clock: Clock,
        earlier: Mapping[str, int] | None = None,
    ) -> None:
        """`seq`: number of the last entry of that epoch so far. `earlier`: the epochs of earlier
        processes, each with the number of its last entry.
        """
        self.head = Position(epoch, seq)
        self.earlier = earlier or {}
        self._assigned = seq  # number of the last entry that `next` made
        self._limit = events
        self._seconds = seconds
        self._clock = clock
        self._entries: deque[tuple[float, Entry]] = deque()  # with monotonic seconds

    def load(self, entries: Iterable[Entry]) -> None:
        """Load the entries of an earlier process, in order, up to the head. Their age is that of
        the wall clock; where it was set back since, they count as new.
        """
        now, wall = self._clock.monotonic(), self._clock.wall()
        self._entries.extend((now - max(0.0, wall - entry.at), entry) for entry in entries)
        self._trim(now)

    def next(self, events: Sequence[Event]) -> list[Entry]:
        """Return the next entries, of these events. Once they are stored, call `add`; if they can't
        be, call `give_back`.
        """
        epoch, seq, wall = self.head.epoch, self._assigned, self._clock.wall()
        self._assigned += len(events)
        return [
            Entry(Position(epoch, number), event, wall)
            for number, event in enumerate(events, seq + 1)
        ]

    def give_back(self) -> None:
        """Reuse the numbers of entries that were made and not added."""
        self._assigned = self.head.seq

    def add(self, entries: Sequence[Entry]) -> None:
        """Move the head to the last of `entries`, which `next` made."""
        now = self._clock.monotonic()
        if entries:
            self._entries.extend((now, entry) for entry in entries)
            self.head = entries[-1].position
        self._trim(now)

    @property
    def first(self) -> int:
        """Number of the oldest entry that is kept; that of the next one if none is."""
        return self.head.seq + 1 - len(self._entries)

    def locate(self, position: Position) -> Position | None:
        """Return the same place as a position of the present epoch; None if it is not in the
        history: of an unknown epoch, or past the last entry that is known of its epoch.
        """
        epoch, seq = position.epoch, position.seq
        last = self.head.seq if epoch == self.head.epoch else self.earlier.get(epoch, -1)
        return Position(self.head.epoch, seq) if seq <= last else None

    def after(self, position: Position) -> Sequence[Entry]:
        """Return all entries after `position`, in order. Raises `errors.PositionGoneError`."""
        self._trim(self._clock.monotonic())
        if self.locate(position) is None:
            raise PositionGoneError(
                f"position {position} is not in the history of this log's epoch {self.head.epoch}"
            )
        missing = self.head.seq - position.seq
        if missing > len(self._entries):
            raise PositionGoneError(
                f"{missing} entries follow position {position}, the log keeps {len(self._entries)}"
            )
        # From the end: a deque is slow in its middle, and most callers miss little.
        out = [entry for _, entry in islice(reversed(self._entries), missing)]
        out.reverse()
        return out

    def clear(self) -> None:
        self._entries.clear()

    def _trim(self, now: float) -> None:
        entries = self._entries
        while entries and (len(entries) > self._limit or entries[0][0] < now - self._seconds):
            entries.popleft()
