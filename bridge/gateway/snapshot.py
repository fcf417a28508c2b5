"""The rows of a subscription as of one position of the log, in pages.

**Rows and position belong together.** The pipeline changes the known rows, moves the log's head and
publishes in one step of the event loop, and a page is made within one step too: its rows are what
everything up to its `offset` came to.

**How a client puts pages together with events.** An ack has its place among the events that the
client hears: those before it are in its rows, those after it are not, for every page. So, in the
ack's callback (a promise's continuation may run later than the next event):

1. put each row of the page in the place of what is known of that property;
2. an event that comes afterwards is applied as ever. One that updates or deletes a property which
   is not known is passed over: a later page has the property as it is then, or not at all;
3. while `more` is given, ask again with `{"snapshot": true, "after": <more>}` and the same
   regions. When it no longer is, what the client has is the table, as of what it heard last.

Properties that appear while pages are fetched come as events, and may come in a page again.

**How the rows of a region are found.** `Places` keeps the keys of each region in a list, so a page
costs what its rows cost, wherever it begins. A key that leaves its region leaves a hole, one that
enters is appended; holes are closed when they are more than half, which makes cursors into that
list void. The lists are built from the known rows in short steps when the first pass over the table
is done, and kept by the log's entries from then on (and meanwhile: to add a key twice, or to take
out one that was not added yet, does no harm). A row costs one list slot and one dict slot, about
100 bytes. The alternative, a scan of all rows for each page, decodes a million rows in seconds.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final

import orjson

from bridge.errors import Code, RequestRejected
from bridge.gateway.region_index import RegionBucket, RegionIndex
from bridge.projection import DOCUMENTED
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
"""Rows that are looked at in one step of the loop: about 3 ms."""

COLLECT_ROWS_PER_STEP: Final = 5_000
"""Rows that are only pointed at in one step."""


@dataclass(frozen=True, slots=True)
class SnapshotPage:
    """Rows as JSON, without brackets; `more` is the cursor of the next page."""

    rows: bytes
    more: str | None


class Snapshots:
    """Pages of the known rows, each as a client with some rights may see it: with the columns of
    its view, and without the rows that are in none of its regions.
    """

    def __init__(self, rows: RowStore, projection: Projection, *, page_bytes: int) -> None:
        self._rows = rows
        self._projection = projection
        self.page_bytes = page_bytes
        self._regions_index = RegionIndex(projection.region)
        self._collecting: list[set[Key]] = []
        self._columns: dict[View, tuple[str, ...]] = {}
        self._hidden: dict[View, set[str]] = {}
        for view in projection.views:
            shown = projection.shown(view)
            self._columns[view] = tuple(
                dict.fromkeys((*DOCUMENTED, *(c for c in shown if c in rows.columns)))
            )
            self._hidden[view] = {c for c in DOCUMENTED if c not in shown}
        self.ready = asyncio.Event()
        """Set when the regions' lists are built. Before, there are no snapshots."""

    async def build(self) -> None:
        """Look at all rows, a few in each step of the loop. Not before the first pass is done:
        until then rows come without being published.
        """
        keys = list(self._rows)
        for start in range(0, len(keys), ROWS_PER_STEP):
            self._regions_index.add_rows(self._rows, keys[start : start + ROWS_PER_STEP])
            await asyncio.sleep(0)
        self.ready.set()

    def apply(self, entries: Sequence[Entry]) -> None:
        """What was published, in the step in which the rows changed."""
        self._regions_index.apply(entries)
        for touched in self._collecting:
            touched.update(entry.event.key for entry in entries)

    def page(
        self, wanted: RoomSelection, after: str | None, rights: Rights = UNRESTRICTED
    ) -> SnapshotPage:
        """A page of what is wanted; nothing named means everything. Raises `RequestRejected`."""
        places = self._selected_buckets(wanted, rights)
        out: list[bytes] = []
        size = looked = 0
        if after is None:
            first, start = 0, 0
            for key in self._named(wanted, rights):
                row = self.row(key, rights.view)
                if row is not None:
                    out.append(row)
                    size += len(row)
        else:
            first, start = _cursor(after, places)
        for place in places:
            if place.number < first:
                continue
            for index in range(start if place.number == first else 0, len(place.keys)):
                if size >= self.page_bytes or looked >= ROWS_PER_STEP:
                    return SnapshotPage(
                        b",".join(out), f"{place.number}.{place.compactions}.{index}"
                    )
                looked += 1
                found = place.keys[index]
                row = None if found is None else self.row(found, rights.view)
                if row is not None:
                    out.append(row)
                    size += len(row)
        return SnapshotPage(b",".join(out), None)

    async def collect(
        self, wanted: RoomSelection, rights: Rights = UNRESTRICTED
    ) -> dict[Key, bytes]:
        """All rows that are wanted, as they are kept, in one moment: the step of the loop in which
        this returns. `encode` spells them. Raises `RequestRejected`.

        They are gathered in short steps; those that were published meanwhile are looked at again in
        the last one.
        """
        places = self._selected_buckets(wanted, rights)
        touched: set[Key] = set()
        self._collecting.append(touched)
        try:
            out: dict[Key, bytes] = {}
            sources: Iterable[Sequence[Key | None]] = chain(
                (list(place.keys) for place in places), [list(self._named(wanted, rights))]
            )
            for keys in sources:
                for start in range(0, len(keys), COLLECT_ROWS_PER_STEP):
                    for key in keys[start : start + COLLECT_ROWS_PER_STEP]:
                        row = None if key is None else self._rows.get(key)
                        if key is not None and row is not None:
                            out[key] = row
                    await asyncio.sleep(0)
            # Nothing waits from here on.
            regions = set(wanted.regions)
            named = set(self._named(wanted, rights))
            for key in touched:
                out.pop(key, None)
                row = self._rows.get(key)
                if row is None:
                    continue
                place = self._regions(row)
                if key in named or (
                    rights.can_read_row(place)
                    and (wanted.is_empty or not regions.isdisjoint(place))
                ):
                    out[key] = row
            return out
        finally:
            self._collecting.remove(touched)

    def regions_of_key(self, key: Key) -> tuple[str, ...] | None:
        """The regions of a known row, in whichever spelling of its key; None if it is not known."""
        for name in (key, *_other_spelling(key)):
            row = self._rows.get(name)
            if row is not None:
                return self._regions(row)
        return None

    def row(self, key: Key, view: View = "public") -> bytes | None:
        """A known row as the data of `property-created`, with all columns of the view."""
        row = self._rows.get(key)
        return None if row is None else self.encode(key, row, view)

    def encode(self, key: Key, row: bytes, view: View = "public") -> bytes:
        known = self._rows.decode(row)
        hidden = self._hidden[view]
        return orjson.dumps(
            {
                "property_id": key,
                **{c: None if c in hidden else known.get(c) for c in self._columns[view]},
            }
        )

    def _selected_buckets(self, wanted: RoomSelection, rights: Rights) -> list[RegionBucket]:
        if not self.ready.is_set():
            raise RequestRejected(Code.NOT_READY, "the bridge has not read the table yet")
        for region in wanted.regions:
            rights.check(region)
        return self._regions_index.buckets_in(rights.regions if wanted.is_empty else wanted.regions)

    def _regions(self, row: bytes) -> tuple[str, ...]:
        return regions_of(self._rows.decode(row), self._projection.region)

    def _named(self, wanted: RoomSelection, rights: Rights) -> Iterator[Key]:
        """The properties that were named, may be seen, and are not in a named region as well, each
        once. A client may spell a key as a string that is a number in the table.
        """
        regions = set(wanted.regions)
        found: set[Key] = set()
        for name in wanted.properties:
            for key in (name, *_other_spelling(name)):
                row = None if key in found else self._rows.get(key)
                if row is None:
                    continue
                place = self._regions(row)
                if regions.isdisjoint(place) and rights.can_read_row(place):
                    found.add(key)
                    yield key
                    break


def _other_spelling(name: Key) -> tuple[Key, ...]:
    if isinstance(name, int):
        return (str(name),)
    digits = name.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):  # noqa: PLR2004
        return ()
    # Its room is named as the table spells it: by "007" nothing would be heard of 7.
    return (int(name),) if str(int(name)) == name else ()


def _cursor(after: str, places: Sequence[RegionBucket]) -> tuple[int, int]:
    """The number of the place and the index in it at which a page begins."""
    parts = after.split(".")
    if len(parts) != 3 or not all(p.isascii() and p.isdigit() and len(p) < 16 for p in parts):  # noqa: PLR2004
        raise RequestRejected(Code.BAD_REQUEST, "expected for after what an ack gave as more")
    number, closed, index = map(int, parts)
    place = next((place for place in places if place.number == number), None)
    if place is None or place.compactions != closed or index > len(place.keys):
        raise RequestRejected(Code.CURSOR_GONE, "the rows have been put in another order since")
    return number, index
