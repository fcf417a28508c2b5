"""Snapshots: the rows of a subscription at one position of the log, in pages.

**Consistency.** The pipeline changes the known rows, moves the head of the log and publishes in one
iteration of the event loop, and a page is made within one iteration, too: its rows are the state
after all entries up to its `offset`.

**Merging pages with events, in the client.** The ack with a page has its place in the sequence of
events: the events before it are contained in its rows, the events after it are not. So, in the
callback of the ack (the continuation of a promise may run later than the next event):

1. replace the stored row of each property by the row in the page;
2. apply later events as always. An update with `property`, of a row that moved, stores that row
   like a creation: a row can move to a place that an earlier page has passed. Ignore any other
   update or deletion of a property that is not stored: a later page has the property as it is then,
   or not at all;
3. while the ack has `more`, request the next page with `{"snapshot": true, "after": <more>}` and
   the same regions. When it has none, the stored rows are the table as of the last event received;
4. a client that reconnects before the last page begins again, also if it is recovered: recovery
   replays events, not pages.

Properties created while pages are fetched are received as events, and may be in a page as well.

**Finding the rows of a region.** `RegionIndex` keeps the keys of each region in a list, so a page
costs time for its own rows, wherever it begins. A removed key leaves a hole, an added key is
appended; a list is compacted when more than half of it are holes, which invalidates cursors into
it. The lists are built from the known rows in short steps after the first scan of the table, and
updated by the entries of the log from then on, and meanwhile: adding a key twice, or removing one
that was not added yet, is harmless. A row takes a list slot and a dict slot, about 100 bytes.
Scanning all rows for each page instead would decode a million rows in seconds.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final

import orjson

from bridge.changes import safe_key
from bridge.errors import Code, RequestRejected
from bridge.gateway.region_index import RegionBucket, RegionIndex
from bridge.rights import UNRESTRICTED
from bridge.rooms import regions_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bridge.changes import Key
    from bridge.contract.parse import RoomSelection
    from bridge.log.base import Entry
    from bridge.projection import Projection
    from bridge.rights import Rights, View
    from bridge.rows import RowStore

ROWS_PER_STEP: Final = 1000
"""Rows decoded in one iteration of the event loop: about 3 ms."""

COLLECT_ROWS_PER_STEP: Final = 5_000
"""Rows referred to, without decoding, in one iteration of the event loop."""

CURSOR_DIGITS: Final = 15
"""Digits of the largest number in a cursor, one of 48 bits."""

WAIT_SECONDS: Final = 5.0
"""How long a request may wait for the index to be built."""


@dataclass(frozen=True, slots=True)
class SnapshotPage:
    """Rows as JSON objects separated by commas, and the cursor of the next page; None: no more."""

    rows: bytes
    more: str | None


class Snapshots:
    """Pages of the known rows, limited to the columns of the client's view and to the rows in its
    regions.
    """

    def __init__(
        self, rows: RowStore, projection: Projection, *, page_bytes: int, available: bool = True
    ) -> None:
        """`page_bytes` ends a page. `available`: whether `build` will be called; without it every
        request is rejected.
        """
        self._rows = rows
        self._projection = projection
        self._available = available
        self.page_bytes = page_bytes
        self._index = RegionIndex(projection.region)
        self._collecting: list[set[Key]] = []  # keys published during each `collect`
        self._columns: dict[View, tuple[str, ...]] = {}
        for view in projection.views:
            self._columns[view] = tuple(
                c for c in projection.row_columns(view) if c in rows.columns
            )
        self.ready = asyncio.Event()
        """Set when the index is built. Until then requests are rejected."""

    async def wait_ready(self) -> None:
        """Wait until the index is built, for `WAIT_SECONDS` at most. Raises `RequestRejected` if
        there are no snapshots.
        """
        if not self._available:
            raise RequestRejected(Code.NOT_SUPPORTED, "this bridge has no snapshots")
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT_SECONDS):
                await self.ready.wait()

    async def build(self) -> None:
        """Index all rows, some in each iteration of the event loop. Call it after the first scan:
        until then rows are added without being published. Without effect if `reset` is called
        meanwhile.
        """
        index, keys = self._index, list(self._rows)
        for start in range(0, len(keys), ROWS_PER_STEP):
            index.add_rows(self._rows, keys[start : start + ROWS_PER_STEP])
            await asyncio.sleep(0)
        if index is self._index:
            self.ready.set()

    def reset(self) -> None:
        """Drop the index: all rows are going to be loaded again. Then call `build` once more."""
        self.ready.clear()
        self._index = RegionIndex(self._projection.region)

    def apply(self, entries: Sequence[Entry]) -> None:
        """Follow published entries, in the iteration in which the rows changed."""
        self._index.apply(entries)
        for published in self._collecting:
            published.update(entry.event.key for entry in entries)

    def page(
        self, selection: RoomSelection, after: str | None, rights: Rights = UNRESTRICTED
    ) -> SnapshotPage:
        """Return the page after the cursor `after`, or the first one. An empty selection selects
        everything. Raises `RequestRejected`.
        """
        buckets = self._selected_buckets(selection, rights)
        rows: list[bytes] = []
        size = scanned = 0
        if after is None:
            first, start = 0, 0
            for key in self._named(selection, rights):
                row = self.row(key, rights.view)
                if row is not None:
                    rows.append(row)
                    size += len(row)
        else:
            first, start = _parse_cursor(after, self._index.number, buckets)
        for bucket in buckets:
            if bucket.number < first:
                continue
            for index in range(start if bucket.number == first else 0, len(bucket.keys)):
                if size >= self.page_bytes or scanned >= ROWS_PER_STEP:
                    cursor = (self._index.number, bucket.number, bucket.compactions, index)
                    return SnapshotPage(b",".join(rows), ".".join(map(str, cursor)))
                scanned += 1
                found = bucket.keys[index]
                row = None if found is None else self.row(found, rights.view)
                if row is not None:
                    rows.append(row)
                    size += len(row)
        return SnapshotPage(b",".join(rows), None)

    async def collect(
        self, selection: RoomSelection, rights: Rights = UNRESTRICTED
    ) -> dict[Key, bytes]:
        """Return all selected rows, in the form of `RowStore`, as of the event-loop iteration in
        which this returns; `encode` turns them into JSON. Raises `RequestRejected`.

        Rows are collected in short steps, and those published meanwhile once more in the last one.
        """
        index = self._index
        buckets = self._selected_buckets(selection, rights)
        published: set[Key] = set()
        self._collecting.append(published)
        try:
            out: dict[Key, bytes] = {}
            sources: Iterable[Sequence[Key | None]] = chain(
                (list(bucket.keys) for bucket in buckets), [list(self._named(selection, rights))]
            )
            for keys in sources:
                for start in range(0, len(keys), COLLECT_ROWS_PER_STEP):
                    for key in keys[start : start + COLLECT_ROWS_PER_STEP]:
                        row = None if key is None else self._rows.get(key)
                        if key is not None and row is not None:
                            out[key] = row
                    await asyncio.sleep(0)
            # No await from here on.
            if index is not self._index:
                raise RequestRejected(Code.NOT_READY, "the bridge loads the table again")
            selected = set(selection.regions)
            named = set(self._named(selection, rights))
            for key in published:
                out.pop(key, None)
                row = self._rows.get(key)
                if row is None:
                    continue
                regions = self._regions(row)
                if key in named or (
                    rights.can_read_row(regions)
                    and (selection.is_empty or not selected.isdisjoint(regions))
                ):
                    out[key] = row
            return out
        finally:
            self._collecting.remove(published)

    def count_regions(self, rights: Rights = UNRESTRICTED) -> list[tuple[str, int]]:
        """Return the regions that the rights cover and that have rows, by name, with their numbers
        of rows, as of this event-loop iteration. Raises `RequestRejected` until the index is built.
        """
        self._check_ready()
        counts = self._index.counts()
        return sorted(
            (region, count) for region, count in counts.items() if rights.can_read_region(region)
        )

    def regions_of_key(self, key: Key) -> tuple[str, ...] | None:
        """Return the regions of a known row, in either spelling of its key; None if unknown."""
        for name in (key, *_other_spellings(key)):
            row = self._rows.get(name)
            if row is not None:
                return self._regions(row)
        return None

    def row(self, key: Key, view: View = "public") -> bytes | None:
        """Return a known row as the data of `property-created`, with all columns of the view."""
        row = self._rows.get(key)
        return None if row is None else self.encode(key, row, view)

    def encode(self, key: Key, row: bytes, view: View = "public") -> bytes:
        known = self._rows.decode(row)
        return orjson.dumps(
            {
                "property_id": safe_key(key) if type(key) is int else key,
                **{c: known[c] for c in self._columns[view]},
            }
        )

    def _check_ready(self) -> None:
        if not self.ready.is_set():
            raise RequestRejected(Code.NOT_READY, "the bridge has not read the table yet")

    def _selected_buckets(self, selection: RoomSelection, rights: Rights) -> list[RegionBucket]:
        self._check_ready()
        for region in selection.regions:
            rights.check(region)
        return self._index.buckets_in(rights.regions if selection.is_empty else selection.regions)

    def _regions(self, row: bytes) -> tuple[str, ...]:
        return regions_of(self._rows.decode(row), self._projection.region)

    def _named(self, selection: RoomSelection, rights: Rights) -> Iterator[Key]:
        """Yield the selected properties that the rights cover and that are in no selected region,
        each once. A client may spell a key as a string that is a number in the table.
        """
        selected = set(selection.regions)
        found: set[Key] = set()
        for name in selection.properties:
            for key in (name, *_other_spellings(name)):
                row = None if key in found else self._rows.get(key)
                if row is None:
                    continue
                regions = self._regions(row)
                if selected.isdisjoint(regions) and rights.can_read_row(regions):
                    found.add(key)
                    yield key
                    break


def _other_spellings(name: Key) -> tuple[Key, ...]:
    if isinstance(name, int):
        return (str(name),)
    digits = name.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):  # noqa: PLR2004
        return ()
    # The room of a property is named by the table's spelling: "007" is not the room of 7.
    return (int(name),) if str(int(name)) == name else ()


def _parse_cursor(
    after: str, region_index: int, buckets: Sequence[RegionBucket]
) -> tuple[int, int]:
    """Return the number of the bucket and the index in it at which the page begins."""
    parts = after.split(".")
    # Those of earlier versions have three parts.
    if len(parts) not in (3, 4) or not all(
        part.isascii() and part.isdigit() and len(part) <= CURSOR_DIGITS for part in parts
    ):
        raise RequestRejected(Code.BAD_REQUEST, "expected for after the value of more in an ack")
    *of, number, compactions, index = map(int, parts)
    bucket = next((bucket for bucket in buckets if bucket.number == number), None)
    if (
        of != [region_index]
        or bucket is None
        or bucket.compactions != compactions
        or index > len(bucket.keys)
    ):
        raise RequestRejected(Code.CURSOR_GONE, "the order of the rows has changed since")
    return number, index
