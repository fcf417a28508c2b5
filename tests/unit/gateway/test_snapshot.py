from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from bridge.contract.parse import RoomSelection
from bridge.errors import Code, RequestRejected
from bridge.gateway import snapshot
from bridge.gateway.region_index import MIN_COMPACT_SLOTS, RegionBucket, RegionIndex
from bridge.gateway.snapshot import COLLECT_ROWS_PER_STEP, ROWS_PER_STEP, Snapshots
from bridge.log.base import Entry, Position
from bridge.pipeline import diff
from bridge.projection import Projection
from bridge.rights import Rights
from bridge.rows import RowStore
from tests.fakes import AT, entry, row

if TYPE_CHECKING:
    from bridge.changes import Key

PROJECTION = Projection(region=("state", "city"))
EVERYTHING = RoomSelection()


class Table:
    """Rows that change as the pipeline changes them, and snapshots that follow."""

    def __init__(
        self, *rows: dict[str, Any], page_bytes: int = 10**6, projection: Projection = PROJECTION
    ) -> None:
        self.projection = projection
        self.rows = RowStore(projection.known)
        self.rows.load([(row["id"], self.rows.encode(row)) for row in rows])
        self.snapshots = Snapshots(self.rows, projection, page_bytes=page_bytes)
        self.seq = 0

    def write(self, key: Key, new: dict[str, Any] | None) -> bytes:
        """Change a row, publish the event and return its envelope."""
        [envelope] = self.write_all(key, new)
        return envelope

    def write_all(self, key: Key, new: dict[str, Any] | None) -> list[bytes]:
        """Change a row and publish its events, one or two."""
        before = self.rows.get(key)
        old = None if before is None else self.rows.decode(before)
        events = diff.events_between(self.projection, key, old, new, AT)
        self.rows.apply([(key, None if new is None else self.rows.encode(new))])
        self.seq += 1
        self.snapshots.apply([Entry(Position("e", self.seq), event, 0.0) for event in events])
        return [event.envelope for event in events]

    def pages(self, wanted: RoomSelection = EVERYTHING) -> list[list[Any]]:
        """The ids of each page."""
        out = []
        after = None
        while True:
            page = self.snapshots.page(wanted, after)
            out.append([data["property_id"] for data in read(page.rows)])
            if page.more is None:
                return out
            after = page.more

    def ids(self, *regions: str) -> list[Any]:
        return [key for page in self.pages(RoomSelection(regions)) for key in page]


def read(rows: bytes) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = orjson.loads(b"[" + rows + b"]")
    return out


async def built(*rows: dict[str, Any], **options: Any) -> Table:
    table = Table(*rows, **options)
    await table.snapshots.build()
    return table


async def test_rows_are_the_data_of_property_created() -> None:
    for projection in (PROJECTION, Projection(published=("name", "notes"), region=("state",))):
        new = {**row("p1", price=1.5), "notes": {"b": [1, None]}}
        table = await built(new, projection=projection)
        [data] = read(table.snapshots.page(EVERYTHING, None).rows)
        event = orjson.loads(diff.created(projection, "p1", new).envelope)
        assert data == event["data"]
        assert list(data) == list(event["data"])
    assert "state" not in data  # read, but not published


async def test_regions_are_found_at_every_width() -> None:
    table = await built(
        row("a"), row("b", city="Reno"), row("c", state="CA", city="Reno"), row("d", state=None)
    )
    assert sorted(table.ids("TX")) == ["a", "b"]
    assert sorted(table.ids("TX/Reno")) == ["b"]
    assert sorted(table.ids("CA", "TX/Austin")) == ["a", "c"]
    assert sorted(table.ids("TX", "TX/Reno")) == ["a", "b"]
    assert sorted(table.ids("NV")) == []
    assert sorted(table.ids()) == ["a", "b", "c", "d"]


async def test_properties_can_be_named_in_either_spelling() -> None:
    table = await built(row(7), row("8"), row("x"))
    assert table.pages(RoomSelection((), ("7", 8, "none", "x"))) == [[7, "8", "x"]]
    [page] = table.pages(RoomSelection(("TX",), ("7",)))
    assert sorted(map(str, page)) == ["7", "8", "x"]  # each once, in whatever order


@pytest.mark.parametrize("name", ["007", "-0", "+7", " 7", "7.0", "\u0667"])
async def test_another_name_for_a_number_is_no_property(name: str) -> None:
    table = await built(row(7), row(0))
    assert table.pages(RoomSelection((), (name,))) == [[]]
    assert table.snapshots.regions_of_key(name) is None


async def test_published_entries_update_the_index() -> None:
    table = await built(row("a"), row("b"))
    table.write("c", row("c"))
    table.write("a", row("a", price=5))
    table.write("b", None)
    assert table.ids("TX") == ["a", "c"]
    table.write("c", row("c", state="CA"))
    assert (table.ids("TX"), table.ids("CA")) == (["a"], ["c"])
    table.write("c", row("c", state="CA", city="Reno"))
    assert table.ids("CA/Reno") == ["c"]
    assert table.ids("CA/Austin") == []
    table.write("a", row("a", price=5, name='"moved":{'))  # a word in a value is no move
    assert table.ids("TX") == ["a"]


async def test_property_named_repeatedly_is_in_the_page_once() -> None:
    table = await built(row("a"), row(7))
    assert table.pages(RoomSelection((), ("a", 7, "a", "7", "a", 7))) == [["a", 7]]


async def test_rows_that_change_while_the_lists_are_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "ROWS_PER_STEP", 2)
    table = Table(*(row(key) for key in "abcdefgh"))
    building = asyncio.create_task(table.snapshots.build())
    await asyncio.sleep(0)
    with pytest.raises(RequestRejected) as refused:
        table.snapshots.page(EVERYTHING, None)
    assert refused.value.code is Code.NOT_READY
    table.write("a", row("a", state="CA"))  # behind the builder
    table.write("h", row("h", state="CA"))  # before it
    table.write("b", None)
    table.write("g", None)
    table.write("i", row("i"))
    await building
    assert sorted(table.ids("TX")) == ["c", "d", "e", "f", "i"]
    assert sorted(table.ids("CA")) == ["a", "h"]


async def test_pages_are_bounded_in_bytes_and_hold_everything_once() -> None:
    rows = [row(f"p{n:03}", state=("TX", "CA")[n % 2]) for n in range(100)]
    one = len(orjson.dumps(rows[0]))
    table = await built(*rows, page_bytes=5 * one)
    pages = table.pages()
    assert 10 < len(pages) < 30
    assert sorted(key for page in pages for key in page) == [r["id"] for r in rows]
    assert sum(map(len, table.pages(RoomSelection(("TX",))))) == 50


async def test_page_ends_after_a_number_of_rows_scanned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshot, "ROWS_PER_STEP", 10)
    table = await built(*(row(n) for n in range(35)))
    assert [len(page) for page in table.pages()] == [10, 10, 10, 5]


async def test_a_snapshot_of_nothing_is_one_empty_page() -> None:
    assert (await built()).pages() == [[]]


@pytest.mark.parametrize("after", ["x", "1.2", "1.2.x", "-1.0.0", "1.0.0.0.0", "1.0." + "9" * 50])
async def test_a_cursor_that_is_none_is_a_bad_request(after: str) -> None:
    table = await built(row("a"))
    with pytest.raises(RequestRejected) as refused:
        table.snapshots.page(EVERYTHING, after)
    assert refused.value.code is Code.BAD_REQUEST


async def test_cursor_of_other_regions_or_another_order_is_rejected() -> None:
    rows = [row(n) for n in range(MIN_COMPACT_SLOTS * 2)]
    table = await built(*rows, row("other", state="CA"), page_bytes=1)
    more = table.snapshots.page(RoomSelection(("TX",)), None).more
    assert more
    for wanted, after in ((RoomSelection(("CA",)), more), (RoomSelection(("TX",)), "0.0.9999")):
        with pytest.raises(RequestRejected) as refused:
            table.snapshots.page(wanted, after)
        assert refused.value.code is Code.CURSOR_GONE
    for n in range(MIN_COMPACT_SLOTS + 1):
        table.write(n, None)
    with pytest.raises(RequestRejected) as refused:
        table.snapshots.page(RoomSelection(("TX",)), more)
    assert refused.value.code is Code.CURSOR_GONE
    assert table.ids("TX") == list(range(MIN_COMPACT_SLOTS + 1, MIN_COMPACT_SLOTS * 2))


async def test_cursor_of_another_machine_is_rejected() -> None:
    """The rows of a region have another order there."""
    rows = [row(n) for n in range(10)]
    one = await built(*rows, page_bytes=1)
    other = await built(*reversed(rows), page_bytes=1)
    more = one.snapshots.page(RoomSelection(("TX",)), None).more
    with pytest.raises(RequestRejected) as refused:
        other.snapshots.page(RoomSelection(("TX",)), more)
    assert refused.value.code is Code.CURSOR_GONE


async def test_index_that_is_reset_while_it_is_built_is_not_ready() -> None:
    table = await built(row("a"))
    table.snapshots.reset()
    building = asyncio.ensure_future(table.snapshots.build())
    await asyncio.sleep(0)
    table.snapshots.reset()
    await building
    assert not table.snapshots.ready.is_set()
    await table.snapshots.build()
    assert table.ids("TX") == ["a"]


async def test_collection_that_a_reset_interrupts_is_rejected() -> None:
    table = await built(row("a"))
    collecting = asyncio.ensure_future(table.snapshots.collect(EVERYTHING))
    await asyncio.sleep(0)
    table.snapshots.reset()
    with pytest.raises(RequestRejected) as refused:
        await collecting
    assert refused.value.code is Code.NOT_READY


def test_holes_are_closed_when_they_are_many() -> None:
    place = RegionBucket(0, ())
    for n in range(MIN_COMPACT_SLOTS * 4):
        place.add(n)
    for n in range(MIN_COMPACT_SLOTS * 2):
        place.remove(n)
        place.remove(n)
    assert len(place.keys) == MIN_COMPACT_SLOTS * 4
    place.remove(MIN_COMPACT_SLOTS * 2)
    assert place.keys == list(range(MIN_COMPACT_SLOTS * 2 + 1, MIN_COMPACT_SLOTS * 4))
    assert place.index_of[MIN_COMPACT_SLOTS * 4 - 1] == len(place.keys) - 1
    assert place.compactions == 1


async def test_pages_merged_with_events_equal_the_table() -> None:
    """A client that follows the module's rule, while rows change between any two pages."""
    table = await built(*(row(n, price=0) for n in range(60)), page_bytes=1000)
    wanted = RoomSelection(("TX",))
    known: dict[Any, dict[str, Any]] = {}
    after = None
    turn = 0
    while True:
        page = table.snapshots.page(wanted, after)
        for data in read(page.rows):
            known[data["property_id"]] = data
        if page.more is None:
            break
        after = page.more
        turn += 1
        for n in range(0, 60, 7):
            key = (n + turn) % 60
            envelopes = []
            if key not in table.rows:
                envelopes.append(table.write(key, row(key, price=turn)))
            elif turn % 3 == 0:
                envelopes.append(table.write(key, None))
            else:
                state = ("TX", "CA")[(key + turn) % 2]
                envelopes.append(table.write(key, row(key, price=turn, state=state)))
            for envelope in envelopes:
                hear(known, orjson.loads(envelope))
    assert turn > 5
    expected = {
        key: orjson.loads(table.snapshots.row(key) or b"")
        for key in table.rows
        if (table.snapshots.row(key) or b"").find(b'"state":"TX"') > 0
    }
    assert known == expected


def hear(known: dict[Any, dict[str, Any]], event: dict[str, Any]) -> None:
    """Apply an event to a client of region TX."""
    data = event["data"]
    key = data["property_id"]
    if event["event"] == "property-created":
        if data["state"] == "TX":
            known[key] = data
    elif event["event"] == "property-deleted":
        known.pop(key, None)
    elif "moved" in data:
        known.pop(key, None)
        if "TX" in data["moved"]["to"]:
            known[key] = data["property"]
    elif key in known:
        for column, change in data["changes"].items():
            known[key][column] = change["new"]


async def test_rows_are_collected_as_of_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "COLLECT_ROWS_PER_STEP", 2)
    table = await built(*(row(n) for n in range(10)), row("x", state="CA"))
    collecting = asyncio.create_task(table.snapshots.collect(RoomSelection(("TX",), ("x",))))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    table.write(0, row(0, price=5))
    table.write(1, None)
    table.write(2, row(2, state="CA"))
    table.write(9, row(9, price=5))
    table.write("x", row("x", state="CA", price=5))
    table.write("new", row("new"))
    table.write("not", row("not", state="CA"))
    found = await collecting
    assert set(found) == {0, *range(3, 10), "x", "new"}
    assert all(found[key] == table.rows.get(key) for key in found)
    assert table.snapshots._collecting == []


async def test_no_step_holds_the_loop_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """100,000 rows: the lists are built, a page is made and all is collected in short steps."""
    template = Table(row("x")).rows
    encoded = [template.encode(row("x", state=state)) for state in ("TX", "CA")]
    table = Table()
    table.rows.load((f"p{n:06}", encoded[n % 2]) for n in range(100_000))
    in_step = {"get": 0, "decode": 0}
    most = dict(in_step)

    def counted(name: str) -> None:
        method = getattr(table.rows, name)

        def call(argument: Any) -> Any:
            in_step[name] += 1
            most[name] = max(most[name], in_step[name])
            return method(argument)

        monkeypatch.setattr(table.rows, name, call)

    counted("get")
    counted("decode")

    async def each_step() -> None:
        while True:
            in_step.update(dict.fromkeys(in_step, 0))
            await asyncio.sleep(0)

    steps = asyncio.create_task(each_step())
    await asyncio.sleep(0)
    await table.snapshots.build()
    table.snapshots.page(RoomSelection(("TX",)), None)
    assert len(await table.snapshots.collect(RoomSelection(("TX",)))) == 50_000
    steps.cancel()
    assert 0 < most["decode"] <= 2 * ROWS_PER_STEP
    assert 0 < most["get"] <= 2 * COLLECT_ROWS_PER_STEP


# -- rights

MEMBERS = Projection(region=("state", "city"), member=("notes",))


async def test_row_in_a_page_equals_the_data_of_its_creation_in_the_view() -> None:
    new = {**row("p1"), "notes": "n"}
    table = await built(new, projection=MEMBERS)
    for view in MEMBERS.views:
        [data] = read(table.snapshots.page(EVERYTHING, None, Rights(view=view)).rows)
        event = orjson.loads(diff.created(MEMBERS, "p1", new, view).envelope)
        assert list(data.items()) == list(event["data"].items())


async def test_limited_rights_see_only_rows_of_their_regions() -> None:
    table = await built(
        row("a"),
        row("b", city="Reno"),
        row("c", state="CA"),
        row("d", state=None),
        row("e", state=""),
    )
    for regions, seen in (
        (("TX",), {"a", "b"}),
        (("TX/Reno", "CA"), {"b", "c"}),
        (("TX", "TX/Reno"), {"a", "b"}),
        ((), set()),
        (None, {"a", "b", "c", "d", "e"}),
    ):
        rights = Rights(regions)
        [*rows] = read(table.snapshots.page(EVERYTHING, None, rights).rows)
        assert {data["property_id"] for data in rows} == seen
        assert len(rows) == len(seen)
        assert set(await table.snapshots.collect(EVERYTHING, rights)) == seen
        named = RoomSelection((), ("a", "b", "c", "d", "e", "none"))
        [*rows] = read(table.snapshots.page(named, None, rights).rows)
        assert {data["property_id"] for data in rows} == seen


async def test_a_region_that_is_forbidden_has_no_snapshot() -> None:
    table = await built(row("a"))
    with pytest.raises(RequestRejected) as refused:
        table.snapshots.page(RoomSelection(("TX", "CA")), None, Rights(("TX",)))
    assert refused.value.code is Code.REGION_FORBIDDEN
    with pytest.raises(RequestRejected) as refused:
        await table.snapshots.collect(RoomSelection(("TX",)), Rights(("TX/Austin",)))
    assert refused.value.code is Code.REGION_FORBIDDEN


async def test_row_deleted_during_collect_is_not_returned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshot, "COLLECT_ROWS_PER_STEP", 2)
    table = await built(*(row(n) for n in range(8)), row("x", state="CA"))
    wanted = RoomSelection((), tuple(range(8)))
    for what in (EVERYTHING, wanted):
        collecting = asyncio.create_task(table.snapshots.collect(what, Rights(("TX",))))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        table.write(0, row(0, state="CA", price=1))
        table.write(1, row(1, state=None))
        table.write("x", row("x", state="CA", price=2))
        assert set(await collecting) == set(range(2, 8))
        table.write(0, row(0))
        table.write(1, row(1))
        table.write("x", row("x", state="CA"))


async def test_cursor_beyond_new_rights_is_rejected() -> None:
    table = await built(*(row(n) for n in range(9)), page_bytes=1)
    more = table.snapshots.page(EVERYTHING, None, Rights(("TX",))).more
    with pytest.raises(RequestRejected) as refused:
        table.snapshots.page(EVERYTHING, more, Rights(("CA",)))
    assert refused.value.code is Code.CURSOR_GONE


async def test_event_of_the_member_view_alone_moves_nothing_in_the_index() -> None:
    table = await built({**row("a"), "notes": None}, projection=MEMBERS)
    table.write("a", {**row("a"), "notes": "n"})
    assert table.ids("TX") == ["a"]
    assert [place.regions for place in table.snapshots._index.buckets_in(None)] == [
        ("TX", "TX/Austin")
    ]


async def test_index_follows_events_of_both_views() -> None:
    table = await built({**row("a"), "notes": None}, projection=MEMBERS)
    new = {**row("b", state="CA"), "notes": "n"}
    table.write_all("b", new)
    table.write_all("a", {**row("a", state="CA"), "notes": "n"})
    assert (table.ids("TX"), table.ids("CA")) == ([], ["b", "a"])
    table.write_all("b", None)
    assert table.ids() == ["a"]


async def test_regions_are_found_by_either_spelling_of_a_key() -> None:
    table = await built(row(7), row("8", state="CA"), row("x", state=None))
    where = table.snapshots.regions_of_key
    assert (where("7"), where(8), where("x"), where("none")) == (
        ("TX", "TX/Austin"), ("CA", "CA/Austin"), (), None,
    )  # fmt: skip


async def test_a_notification_moves_no_row() -> None:
    places = RegionIndex(("state",))
    told = entry(1, "TX", name="property-notification")
    places.apply([replace(told, event=replace(told.event, rooms=("user:ann", "user@2:TX:ann")))])
    assert places.buckets_in(None) == []
