"""The keys of the rows in each region, in an order that snapshot pages can continue in."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bridge.rooms import regions_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bridge.changes import Key
    from bridge.log.base import Entry
    from bridge.rows import RowStore


MIN_COMPACT_SLOTS: Final = 64
"""Length up to which a list is not compacted."""


@dataclass(slots=True)
class RegionBucket:
    """The keys of the rows that are in exactly these regions; None for a removed one."""

    number: int
    regions: tuple[str, ...]
    keys: list[Key | None] = field(default_factory=list)
    index_of: dict[Key, int] = field(default_factory=dict)
    compactions: int = 0

    def add(self, key: Key) -> None:
        if key not in self.index_of:
            self.index_of[key] = len(self.keys)
            self.keys.append(key)

    def remove(self, key: Key) -> None:
        index = self.index_of.pop(key, None)
        if index is None:
            return
        self.keys[index] = None
        if len(self.keys) > MIN_COMPACT_SLOTS and len(self.index_of) * 2 < len(self.keys):
            self.keys = list(self.index_of)
            self.index_of = {key: index for index, key in enumerate(self.index_of)}
            self.compactions += 1


class RegionIndex:
    """The buckets of all regions."""

    def __init__(self, columns: Sequence[str]) -> None:
        """`columns` are the columns that make a row's regions, widest first."""
        self.number = secrets.randbits(48)
        """Identifies this index in cursors: another one has the keys in another order, after a
        restart and at each machine."""
        self._columns = columns
        self._buckets: dict[tuple[str, ...], RegionBucket] = {}
        self._of_region: dict[str, list[RegionBucket]] = {}

    def bucket(self, regions: tuple[str, ...]) -> RegionBucket:
        """Return the bucket of rows in exactly these regions; it is made if there is none."""
        bucket = self._buckets.get(regions)
        if bucket is None:
            bucket = self._buckets[regions] = RegionBucket(len(self._buckets), regions)
            for region in regions:
                self._of_region.setdefault(region, []).append(bucket)
        return bucket

    def buckets_in(self, regions: Iterable[str] | None) -> list[RegionBucket]:
        """Return the buckets in any of `regions`, ordered by number; None: all buckets."""
        if regions is None:
            return list(self._buckets.values())
        found = {
            bucket.number: bucket for name in regions for bucket in self._of_region.get(name, ())
        }
        return [found[number] for number in sorted(found)]

    def counts(self) -> dict[str, int]:
        """Return the number of rows in each region that has any, those in the regions inside it
        included. Costs time for each bucket.
        """
        counts: dict[str, int] = {}
        for bucket in self._buckets.values():
            number = len(bucket.index_of)
            if number:
                for region in bucket.regions:
                    counts[region] = counts.get(region, 0) + number
        return counts

    def add_rows(self, rows: RowStore, keys: Iterable[Key]) -> None:
        """Add rows by their present regions; unknown keys are skipped."""
        for key in keys:
            row = rows.get(key)
            if row is not None:
                self.bucket(regions_of(rows.decode(row), self._columns)).add(key)

    def apply(self, entries: Iterable[Entry]) -> None:
        """Add, move and remove the rows of published entries."""
        for entry in entries:
            event = entry.event
            if "public" not in event.views:
                continue  # an event that moves a row is published in every view
            if event.moved:
                self.bucket(event.regions_before).remove(event.key)
                self.bucket(event.regions_after).add(event.key)
            elif event.name == "property-created":
                self.bucket(event.regions_after).add(event.key)
            elif event.name == "property-deleted":
                self.bucket(event.regions_before).remove(event.key)
