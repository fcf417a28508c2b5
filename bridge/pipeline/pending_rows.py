"""Rows that the table showed changed and that the stream may yet tell. Pure."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.changes import Key

LIMIT: Final = 5000
"""Suspects at a time, about 500 bytes each. Whoever finds more does without the grace, or stops."""


@dataclass(frozen=True, slots=True)
class Suspect:
    key: Key
    row: bytes | None  # as it was read; None: only its key was
    deadline: float  # monotonic seconds
    lost: bool  # found by a look at recent rows: what the stream lost just now
    floor: str | None  # the cursor when it was found


class Suspects:
    def __init__(self) -> None:
        self._all: OrderedDict[Key, Suspect] = OrderedDict()

    @property
    def full(self) -> bool:
        return len(self._all) >= LIMIT

    @property
    def due(self) -> float:
        """When the first grace is over, in monotonic seconds."""
        first = self._first
        return float("inf") if first is None else first.deadline

    @property
    def floor(self) -> str | None:
        """Where the cursor stood when the oldest one was found; None: there is none."""
        first = self._first
        return None if first is None else first.floor

    def add(self, suspect: Suspect) -> None:
        """One that is known keeps its deadline. All have the same grace."""
        self._all.setdefault(suspect.key, suspect)

    def overdue(self, now: float) -> Iterator[Suspect]:
        """Those whose grace is over; they are suspects no longer."""
        while (first := self._first) is not None and first.deadline <= now:
            self._all.popitem(last=False)
            yield first

    @property
    def _first(self) -> Suspect | None:
        return next(iter(self._all.values()), None)
