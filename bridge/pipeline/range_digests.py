"""Remembers what ranges of keys held when their rows were last compared, as the database digests
it. A range whose digest is unchanged need not be read. No I/O; times are passed in.

A digest is taken before the rows of its range are read: what changes in between is in the next one,
and the range is read again. Digests are only compared with earlier ones of the database, so the
bridge need not compute any.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bridge.changes import Key

MAX_AGE_SECONDS: Final = 6 * 3600.0
"""After which a range is read although its digest is unchanged: 64 bits are no proof for ever."""

MAX_PAGES_OF_RANGE: Final = 2
"""Pages that a range may grow to by inserted rows before it is split."""


@dataclass(frozen=True, slots=True)
class KeyRange:
    """The keys after the one that the range is stored under, up to and with `up_to`; None: all."""

    up_to: Key | None
    digest: str | None = None
    compared_at: float = 0.0

    def unchanged(self, digest: str, now: float) -> bool:
        return self.digest == digest and now - self.compared_at < MAX_AGE_SECONDS


@dataclass(slots=True)
class RangeRead:
    """A range that a scan reads at present. `digest`: as taken before."""

    start: Key | None
    up_to: Key | None
    digest: str
    ends: list[Key] = field(default_factory=list)
    """Where its pages ended so far."""


class RangeDigests:
    """The ranges of one table, each by the key before its first one. A scan reads those of the scan
    before, and stores its own.
    """

    def __init__(self) -> None:
        self._ranges: dict[Key | None, KeyRange] = {}
        self._next: dict[Key | None, KeyRange] = {}

    def begin(self) -> None:
        """Begin a scan. What one that was given up stored is dropped."""
        self._next.clear()

    def finish(self) -> None:
        """End a scan: its ranges replace the earlier ones."""
        self._ranges, self._next = self._next, {}

    def get(self, start: Key | None) -> KeyRange | None:
        return self._ranges.get(start)

    def add(self, start: Key | None, up_to: Key | None) -> None:
        """Store a range that was read without a digest."""
        self._next[start] = KeyRange(up_to)

    def keep(self, start: Key | None, known: KeyRange) -> None:
        """Store a range that is unchanged."""
        self._next[start] = known

    def compared(self, read: RangeRead, now: float) -> None:
        """Store the digest of a range whose rows were compared; a range that has grown is split."""
        if len(read.ends) < MAX_PAGES_OF_RANGE:
            self._next[read.start] = KeyRange(read.up_to, read.digest, now)
            return
        starts, ends = (read.start, *read.ends), (*read.ends, read.up_to)
        for start, end in zip(starts, ends, strict=True):
            self.add(start, end)
