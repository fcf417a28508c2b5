"""One keyset scan of the table, a page at a time, and the known keys that it has not met yet.
No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from bridge.rows import SHARDS, shard_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bridge.changes import Json, Key
    from bridge.pipeline.range_digests import RangeRead
    from bridge.rows import RowStore

COLLECTED_PER_STEP: Final = 4096
"""Keys that are collected in one step of the loop: about 2 ms."""

SKIPPED_PER_STEP: Final = 10_000
"""Keys that are skipped in one step of the loop, because their rows are no longer known."""


class ScanKind(Enum):
    FULL = "rows"  # all rows, all columns, in key order
    KEYS = "keys"  # all keys, in key order
    RECENT = "recent"  # rows from a value of `updated_at` on


class UnseenKeys:
    """Keys of known rows that a scan has not met. They are the same objects as in `RowStore`, so
    that a million of them take 34 MB, whatever the length of their text.
    """

    def __init__(self) -> None:
        self._shards: list[set[Key]] = []

    def collect(self, rows: RowStore) -> Iterator[None]:
        """Collect all known keys; other tasks may run at every yield. A row that becomes known
        later is not among them, whether or not the scan meets it.
        """
        collected = 0
        for shard in range(SHARDS):
            keys = rows.keys_of(shard)
            self._shards.append(keys)
            collected += len(keys)
            if collected >= COLLECTED_PER_STEP:
                collected = 0
                yield

    def restore(self, keys: Iterable[Key]) -> None:
        """Put back keys that `pop` returned, since they could not be read."""
        for key in keys:
            while len(self._shards) <= shard_of(key):
                self._shards.append(set())
            self._shards[shard_of(key)].add(key)

    def count(self, rows: RowStore) -> Iterator[int]:
        """Yield the numbers of keys that were not met and are still known, of a part at a time;
        other tasks may run at every yield.
        """
        for shard in list(self._shards):
            yield sum(1 for key in shard if key in rows)

    def discard(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._shards[shard_of(key)].discard(key)

    def pop(self, rows: RowStore, limit: int) -> list[Key] | None:
        """Remove and return up to `limit` keys that were not met and are still known; None: there
        are no more.
        """
        popped: list[Key] = []
        skipped = 0
        while self._shards and len(popped) < limit and skipped < SKIPPED_PER_STEP:
            if not self._shards[-1]:
                self._shards.pop()
                continue
            skipped += 1
            key = self._shards[-1].pop()
            if key in rows:
                popped.append(key)
        return popped if popped or self._shards else None


@dataclass(slots=True)
class TableScan:
    """The state of one scan.

    - `share`: share of time for which it may load the database.
    - `at_once`: its findings are emitted without a grace period for the stream.
    - `unseen`: known keys that it has not met, if it looks for deleted rows.
    - `catches_up`: it was scheduled for a gap.
    - `covers`: a full scan that began after the gap, whose other scans it stands in for.
    """

    kind: ScanKind
    name: str
    share: float = 1.0
    at_once: bool = False
    initial_load: bool = False
    catches_up: bool = False
    covers: bool = False
    unseen: UnseenKeys | None = None
    since: str | None = None
    """`updated_at` from which the next page of recent rows begins; `after` is the key."""
    after: Key | None = None
    """Key above which the next page begins. It is the last key but one of the page before: two rows
    of one key are then in one page wherever they are."""
    last: Key | None = None
    """The last key that was read."""
    missing: int | None = None
    """Known rows that it has not met, once all pages are read; None: not counted."""
    range: RangeRead | None = None
    """The range of keys that it reads at present, if it compares digests."""
    reached: Json = None
    """The last `updated_at` of recent rows so far that is not in the future."""
    limit: int | None = None
    """Rows per page, if pages were refused; None: as many as configured."""
    begun: bool = False
    ended: bool = False
    """Whether all pages are read."""
    unknown: list[Key] = field(default_factory=list)
    """Keys of unknown rows that it met; they are read next."""
    newest: Json = None
    """The greatest `updated_at` when it began."""
    newest_failures: int = 0
    """Failed attempts to read `newest`."""
    started: float = 0.0
    wall: float = 0.0
    busy: float = 0.0
    """Seconds for which its reads loaded the database."""
    read: int = 0
    passed: int = 0
    """Ranges that were not read, since their digest was unchanged."""
    repaired: int = 0
    pending: int = 0
    """Differing rows that are left to the stream for the grace period."""
    report_due: float = 0.0
    _longest: int = 0

    def repeated(self, keys: Sequence[Key]) -> int:
        """Return how many of the first rows of a page the page before ended with: 1 or 0."""
        return int(bool(keys) and keys[0] == self.last)

    def add_page(self, count: int, limit: int, repeated: int = 0) -> None:
        """Record that a page of `count` rows was read, where `limit` were requested, and of which
        the page before had `repeated`.

        A page that is shorter than that and than an earlier one is the last: a server that caps
        pages would have capped this one too. Waiting for an empty page would never end where rows
        are inserted all the time.
        """
        self.read += count - repeated
        self.ended = count == 0 or count < min(self._longest, limit)
        self._longest = max(self._longest, count)
        self.grow_pages()

    def grow_pages(self) -> None:
        """Let pages that were refused grow again: the rows that were too large may be behind."""
        if self.limit is not None:
            self.limit += max(1, self.limit // 8)

    def shrink_pages(self, rows: int) -> None:
        """Halve the pages, of `rows` by default: one was too much for a statement timeout, or for a
        gateway.
        """
        self.limit = max(1, min(rows, self.limit or rows) // 2)

    @property
    def by_digest(self) -> bool:
        """Whether it may pass over ranges whose digest is unchanged: it need not meet every key."""
        return self.kind is ScanKind.FULL and self.unseen is None and not self.at_once

    def pass_range(self, up_to: Key | None) -> None:
        """Go on behind a range that is done; None: it was the last."""
        self.after, self.last, self.range = up_to, up_to, None
        self.ended = up_to is None

    def turn_page(self, keys: Sequence[Key]) -> None:
        """Go on behind a page of these keys."""
        if keys:
            self.last = keys[-1]
            self.after = keys[-2] if len(keys) > 1 else keys[-1]

    @property
    def found(self) -> int:
        return self.repaired + self.pending

    @property
    def findings(self) -> str:
        """For people."""
        if self.initial_load:
            return "stored"
        pending = f", {self.pending} pending" if self.pending else ""
        return f"{self.repaired} repaired{pending}"

    def describe(self, rows: int) -> str:
        """Return its progress, for people. `rows`: number of known rows."""
        total = "" if self.initial_load or self.kind is ScanKind.RECENT else f" of about {rows}"
        return f"{self.name}: {self.read}{total} {self._unit}"

    def summary(self, now: float) -> str:
        """Return its outcome, for people."""
        seconds = now - self.started
        unchanged = f", {self.passed} ranges unchanged" if self.passed else ""
        return (
            f"{self.name}: {self.read} {self._unit}{unchanged}, {self.findings}, {seconds:.2f} s, "
            f"{self.read / max(seconds, 0.001):.0f} {self._unit}/s"
        )

    @property
    def _unit(self) -> str:
        return "keys" if self.kind is ScanKind.KEYS else "rows"
