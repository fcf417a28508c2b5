"""Rows that differ in the table and that the stream may still deliver. No I/O."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.changes import Key

MAX_PENDING_ROWS: Final = 5000
"""Maximum number of pending rows, about 500 bytes each. Beyond it a scan skips the grace period, or
stops."""


@dataclass(frozen=True, slots=True)
class PendingRow:
    """A row that a scan found to differ from its last emitted state."""

    key: Key
    row: bytes | None  # as it was read; None: only its key was
    deadline: float  # end of the grace period, monotonic seconds
    recent: bool  # found by a recent scan: the stream missed it just now
    watermark: str | None  # the watermark when it was found
    known: bytes | None = None  # the last emitted state when it was found


class PendingRows:
    """Pending rows in the order in which they were found. All have the same grace period."""

    def __init__(self) -> None:
        self._rows: OrderedDict[Key, PendingRow] = OrderedDict()

    @property
    def full(self) -> bool:
        return len(self._rows) >= MAX_PENDING_ROWS

    @property
    def due(self) -> float:
        """End of the first grace period, in monotonic seconds."""
        first = self._first
        return float("inf") if first is None else first.deadline

    @property
    def oldest_watermark(self) -> str | None:
        """The watermark when the oldest one was found; None: there is none."""
        first = self._first
        return None if first is None else first.watermark

    def add(self, row: PendingRow) -> None:
        """Add a row. One that is pending already keeps its deadline."""
        self._rows.setdefault(row.key, row)

    def pop_expired(self, now: float) -> Iterator[PendingRow]:
        """Remove and yield the rows with a grace period that is over."""
        while (first := self._first) is not None and first.deadline <= now:
            self._rows.popitem(last=False)
            yield first

    @property
    def _first(self) -> PendingRow | None:
        return next(iter(self._rows.values()), None)
