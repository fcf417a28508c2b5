"""Merges a snapshot that the stream continues from: its rows are the table at one known position.

Unlike a scan it leaves nothing undecided: every change before its position is in it, and every
later one follows. Rows that differ from the last emitted state are emitted; rows that it does not
have are deleted.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from bridge.rows import SHARDS, shard_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bridge.changes import Key, Record
    from bridge.pipeline.merger import ChangeMerger
    from bridge.projection import Projection
    from bridge.rows import RowStore

DELETES_PER_COMMIT: Final = 1000
"""Rows that are deleted in one commit, where a snapshot or a TRUNCATE ends many."""


class SnapshotMerge:
    """One snapshot, from its first page to its end."""

    def __init__(self, projection: Projection, rows: RowStore, *, loaded: bool) -> None:
        """`loaded`: whether `rows` were emitted; otherwise the rows of the snapshot are not emitted
        either.
        """
        self._key = projection.key
        self._rows = rows
        self._loaded = loaded
        self._unseen: list[set[Key]] = [rows.keys_of(shard) for shard in range(SHARDS)]
        self.read = 0
        """Number of rows so far."""

    def merge(self, merger: ChangeMerger, records: Sequence[Record], at: str) -> int:
        """Merge a page. `at` stands in for the commit time. Return how many rows differed."""
        differed = 0
        for record in records:
            key = record[self._key]
            self._unseen[shard_of(key)].discard(key)
            if self._loaded:
                differed += merger.apply_snapshot(key, self._rows.encode(record), at)
            else:
                merger.load_initial(record)
        self.read += len(records)
        return differed

    def missing(self) -> Iterator[list[Key]]:
        """Yield the keys of known rows that the snapshot does not have, in portions."""
        keys = (key for shard in self._unseen for key in shard)
        while portion := list(islice(keys, DELETES_PER_COMMIT)):
            yield portion

    def delete(self, merger: ChangeMerger, keys: Sequence[Key], at: str) -> int:
        """Merge the absence of `keys`. Return how many deletions were emitted."""
        if self._loaded:
            return merger.delete(keys, at)
        for key in keys:
            merger.drop_initial(key)
        return 0
