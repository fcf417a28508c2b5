"""Rows that the table showed changed and that the stream may yet tell. Pure."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.changes import Key

MAX_PENDING_ROWS: Final = 5000
"""Suspects at a time, about 500 bytes each. Whoever finds more does without the grace, or stops."""


@dataclass(frozen=True, slots=True)
class PendingRow:
    key: Key
    row: bytes | None  # as it was read; None: only its key was
    deadline: float  # monotonic seconds
    lost: bool  # found by a look at recent rows: what the stream lost just now
    watermark: str | None  # the cursor when it was found


class PendingRows:
    def __init__(self) -> None:
        self._all: OrderedDict[Key, PendingRow] = OrderedDict()

    @property
    def full(self) -> bool:
        return len(self._all) >= MAX_PENDING_ROWS

    @property
    def due(self) -> float:
        """When the first grace is over, in monotonic seconds."""
        first = self._first
        return float("inf") if first is None else first.deadline

    @property
    def oldest_watermark(self) -> str | None:
        """Where the cursor stood when the oldest one was found; None: there is none."""
        first = self._first
        return None if first is None else first.watermark

    def add(self, suspect: PendingRow) -> None:
        """One that is known keeps its deadline. All have the same grace."""
        self._all.setdefault(suspect.key, suspect)

    def pop_expired(self, now: float) -> Iterator[PendingRow]:
        """Those whose grace is over; they are suspects no longer."""
        while (first := self._first) is not None and first.deadline <= now:
            self._all.popitem(last=False)
            yield first

    @property
    def _first(self) -> PendingRow | None:
        return next(iter(self._all.values()), None)
