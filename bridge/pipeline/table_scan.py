"""One way over the table, a page at a time, and what it has not met yet. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from bridge.rows import SHARDS, shard_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bridge.changes import Json, Key
    from bridge.rows import RowStore

COLLECTED_PER_STEP: Final = 4096
"""Keys that are put into a set in one step of the loop: about 2 ms."""

SKIPPED_PER_STEP: Final = 10_000
"""Keys that are passed over in one step of the loop, because they are known no longer."""


class ScanKind(Enum):
    FULL = "rows"  # all rows, whole, in key order
    KEYS = "keys"  # all keys
    RECENT = "recent"  # rows from a moment of `updated_at` on


class UnseenKeys:
    """Keys of known rows that a walk has not met. They are the very objects that `Rows` holds, so
    that a million of them cost 34 MB and not what their text weighs.
    """

    def __init__(self) -> None:
        self._parts: list[set[Key]] = []

    def collect(self, rows: RowStore) -> Iterator[None]:
        """Take all known keys; others may run at every yield. What is known since then is not
        missed, whether or not it is met.
        """
        gathered = 0
        for part in range(SHARDS):
            keys = rows.keys_of(part)
            self._parts.append(keys)
            gathered += len(keys)
            if gathered >= COLLECTED_PER_STEP:
                gathered = 0
                yield

    def discard(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._parts[shard_of(key)].discard(key)

    def pop(self, rows: RowStore, limit: int) -> list[Key] | None:
        """Up to `limit` keys that were not met and are known still; None: there are no more."""
        taken: list[Key] = []
        passed = 0
        while self._parts and len(taken) < limit and passed < SKIPPED_PER_STEP:
            if not self._parts[-1]:
                self._parts.pop()
                continue
            passed += 1
            key = self._parts[-1].pop()
            if key in rows:
                taken.append(key)
        return taken if taken or self._parts else None


@dataclass(slots=True)
class TableScan:
    """`share`: of the time in which it may keep the database busy. `at_once`: what it finds is told
    without waiting for the stream. `unseen`: it looks for rows that are gone. `catches_up`: it
    follows a gap.
    """

    kind: ScanKind
    name: str
    share: float = 1.0
    at_once: bool = False
    initial_load: bool = False
    catches_up: bool = False
    unseen: UnseenKeys | None = None
    since: str | None = None
    """Where the next page of recent rows begins; `after` says behind which key."""
    after: Key | None = None
    begun: bool = False
    ended: bool = False
    """Whether all pages are read."""
    unknown: list[Key] = field(default_factory=list)
    """Keys that it met and that nobody knows; they are read next."""
    newest: Json = None
    """The greatest `updated_at` when it began."""
    started: float = 0.0
    wall: float = 0.0
    read: int = 0
    repaired: int = 0
    pending: int = 0
    """Rows that the stream is given time to tell."""
    report_due: float = 0.0
    _longest: int = 0

    def add_page(self, count: int) -> None:
        """A page of `count` rows was read.

        A page that is shorter than an earlier one is the last: whatever caps pages capped that one
        as well. Waiting for an empty page would never end where rows come all the time.
        """
        self.read += count
        self.ended = count == 0 or count < self._longest
        self._longest = max(self._longest, count)

    @property
    def found(self) -> int:
        return self.repaired + self.pending

    @property
    def found_so_far(self) -> str:
        if self.initial_load:
            return "remembered"
        waiting = f", {self.pending} left to the stream for now" if self.pending else ""
        return f"{self.repaired} repaired{waiting}"

    def describe(self, rows: int) -> str:
        """For people; `rows` are known."""
        what = "keys" if self.kind is ScanKind.KEYS else "rows"
        of = "" if self.initial_load or self.kind is ScanKind.RECENT else f" of about {rows}"
        return f"{self.name}: {self.read}{of} {what}"

    def summary(self, now: float) -> str:
        """For people, when it is over."""
        seconds = now - self.started
        what = "keys" if self.kind is ScanKind.KEYS else "rows"
        return (
            f"{self.name}: {self.read} {what}, {self.found_so_far}, {seconds:.2f} s, "
            f"{self.read / max(seconds, 0.001):.0f} {what}/s"
        )
