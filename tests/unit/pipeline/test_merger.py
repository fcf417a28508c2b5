"""The ledger's rules, one at a time; `tests/property` tries all their combinations."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bridge.changes import Change, Op
from bridge.pipeline.event_sink import events_of
from bridge.pipeline.merger import READ_AHEAD_SECONDS, ChangeMerger
from bridge.projection import Projection
from bridge.rows import RowChange, RowStore

P = Projection(published=("name", "state", "price"), region=("state",))
ROW = {"name": "Oak", "state": "TX", "price": 1, "updated_at": "2026-01-01T00:00:01Z"}
AT = "2026-01-01T00:00:09.000Z"


def row(**values: Any) -> dict[str, Any]:
    return {**ROW, **values}


def later(second: int, **values: Any) -> dict[str, Any]:
    return row(updated_at=f"2026-01-01T00:00:{second:02d}Z", **values)


def insert(record: dict[str, Any], **fields: Any) -> Change:
    return Change(Op.INSERT, "k", record, AT, **fields)


def update(record: dict[str, Any], **fields: Any) -> Change:
    return Change(Op.UPDATE, "k", record, AT, **fields)


def delete(**fields: Any) -> Change:
    return Change(Op.DELETE, "k", {}, AT, **fields)


class Told:
    """A ledger with one known row, and what it tells."""

    def __init__(self, known: dict[str, Any] | None = ROW, *, projection: Projection = P) -> None:
        self.projection = projection
        self.rows = RowStore(projection.known)
        self.ledger = ChangeMerger(projection, self.rows)
        if known is not None:
            self.rows.load([("k", self.rows.encode(known))])

    def stream(self, *changes: Change, now: float = 0.0) -> list[dict[str, Any]]:
        for change in changes:
            self.ledger.apply_change(change, now)
        return self.drain()

    def read(self, record: dict[str, Any] | None, now: float = 0.0) -> list[dict[str, Any]]:
        self.ledger.begin_read()
        return self.answer(record, now)

    def answer(self, record: dict[str, Any] | None, now: float = 0.0) -> list[dict[str, Any]]:
        full = None if record is None else {"id": "k", **record}
        self.ledger.apply_read("k", full, now, "2026-01-01T00:01:00.000Z")
        self.ledger.end_read()
        return self.drain()

    def drain(self) -> list[dict[str, Any]]:
        changes = self.ledger.take()
        events = events_of(self.projection, self.rows, changes.changes)
        self.rows.apply(changes.rows.items())
        self.ledger.applied()
        return [json.loads(event.envelope) for event in events]


def names(events: list[dict[str, Any]]) -> list[str]:
    return [event["event"].removeprefix("property-") for event in events]


def test_merger_yields_steps_in_order_and_the_resulting_rows() -> None:
    told = Told()
    rows = [told.rows.encode(record) for record in (ROW, later(2, price=2), later(3, price=3))]
    for change in (update(later(2, price=2)), update(later(3, price=3)), delete()):
        told.ledger.apply_change(change, 0.0)
    assert told.ledger.take().changes == [
        RowChange("k", rows[0], rows[1], AT),
        RowChange("k", rows[1], rows[2], AT),
        RowChange("k", rows[2], None, AT),
    ]
    assert told.ledger.take().rows == {"k": None}


def test_initial_load_stores_rows_without_changes() -> None:
    told = Told(None)
    told.ledger.load_initial({"id": "k", **ROW})
    assert told.ledger.take().changes == []
    assert told.ledger.take().rows == {"k": told.rows.encode(ROW)}


def test_an_update_is_told_with_the_old_value_that_was_told_before() -> None:
    [event] = Told().stream(update(later(2, price=2)))
    assert event["data"]["changes"] == {"price": {"old": 1, "new": 2}}


def test_an_update_that_changes_nothing_published_is_not_told() -> None:
    assert Told().stream(update(later(2))) == []


def test_the_same_change_twice_is_told_once() -> None:
    assert names(Told().stream(update(later(2, price=2)), update(later(2, price=2)))) == ["updated"]


def test_an_update_of_an_unknown_row_is_told_as_created() -> None:
    assert names(Told(None).stream(update(later(2)))) == ["created"]


def test_an_insert_of_a_known_row_is_told_as_what_changed() -> None:
    [event] = Told().stream(insert(later(2, price=3)))
    assert event["data"]["changes"] == {"price": {"old": 1, "new": 3}}


def test_a_delete_of_an_unknown_row_is_not_told() -> None:
    assert Told(None).stream(delete()) == []


def test_a_delete_carries_the_commit_time() -> None:
    [event] = Told().stream(delete())
    assert event["data"] == {"property_id": "k", "deleted_at": AT}


def test_a_value_that_was_not_sent_again_stays_as_it_was() -> None:
    record = later(2, price=2)
    del record["name"]
    told = Told()
    assert names(told.stream(update(record))) == ["updated"]
    assert told.rows.decode(told.rows.get("k") or b"")["name"] == "Oak"


def test_a_value_that_was_not_sent_of_an_unknown_row_has_to_be_read() -> None:
    told = Told(None)
    record = later(2)
    del record["name"]
    assert told.stream(update(record)) == []
    assert told.ledger.rows_to_reread(10) == ["k"]
    assert names(told.read(later(2))) == ["created"]


def test_a_change_whose_values_were_cut_off_is_told_from_the_table() -> None:
    told = Told()
    assert told.stream(update({}, truncated=True)) == []
    [event] = told.read(later(2, price=7))
    assert event["data"]["changes"] == {"price": {"old": 1, "new": 7}}
    assert told.ledger.pending_rereads == 0


def test_a_changed_key_is_one_property_gone_and_another_new() -> None:
    change = Change(Op.UPDATE, "k2", later(2), AT, old_key="k")
    events = Told().stream(change)
    assert names(events) == ["deleted", "created"]
    assert [event["data"]["property_id"] for event in events] == ["k", "k2"]


def test_a_change_that_the_table_showed_already_is_not_told_again() -> None:
    told = Told()
    assert names(told.read(later(3, price=3))) == ["updated"]
    assert told.stream(update(later(2, price=2)), update(later(3, price=3))) == []


def test_a_change_after_the_one_that_the_table_showed_is_told() -> None:
    told = Told()
    told.read(later(3, price=3))
    assert names(told.stream(update(later(3, price=3)), update(later(4, price=4)))) == ["updated"]


def test_a_change_whose_old_row_is_what_the_table_showed_is_told_at_once() -> None:
    told = Told()
    told.read(later(3, price=3))
    change = update(later(4, price=4), old=later(3, price=3))
    assert names(told.stream(change)) == ["updated"]
    assert told.ledger.pending_rereads == 0


def test_without_the_old_row_a_change_after_a_repair_is_told_from_a_read() -> None:
    told = Told()
    told.read(later(3, price=3))
    assert told.stream(update(later(4, price=4))) == []
    [event] = told.read(later(4, price=4))
    assert event["data"]["changes"] == {"price": {"old": 3, "new": 4}}


def test_an_older_change_after_a_repair_is_dropped_by_a_read() -> None:
    told = Told()
    told.read(later(3, price=3))
    assert told.stream(update(later(2, price=2))) == []
    assert told.read(later(3, price=3)) == []
    assert told.ledger.pending_rereads == 0


def test_a_late_insert_does_not_bring_back_what_the_table_no_longer_has() -> None:
    told = Told()
    assert names(told.read(None)) == ["deleted"]
    assert told.stream(update(later(2, price=2))) == []
    assert told.stream(delete()) == []
    assert told.ledger.pending_rereads == 0


def test_a_read_that_began_before_a_change_does_not_take_it_back() -> None:
    told = Told()
    told.ledger.begin_read()
    assert names(told.stream(update(later(2, price=2)))) == ["updated"]
    assert told.answer(ROW) == []


def test_a_change_that_comes_late_out_of_order_is_not_told() -> None:
    told = Told(later(5, price=5))
    assert told.stream(update(later(4, price=4))) == []
    assert told.read(later(5, price=5)) == []


def test_updated_at_may_run_backwards_where_the_old_row_vouches_for_the_order() -> None:
    told = Told(later(5, price=5))
    change = update(later(4, price=4), old=later(5, price=5))
    assert names(told.stream(change)) == ["updated"]


def test_a_row_is_not_ahead_of_the_stream_for_ever() -> None:
    told = Told()
    told.read(later(3, price=3))
    told.ledger.expire(READ_AHEAD_SECONDS + 1)
    assert names(told.stream(update(later(4, price=4)), now=READ_AHEAD_SECONDS + 1)) == ["updated"]


def test_after_the_first_fill_an_older_change_is_not_told() -> None:
    told = Told(None)
    told.ledger.load_initial({"id": "k", **later(3, price=3)})
    told.ledger.initial_load_done(0.0)
    assert told.drain() == []
    assert told.stream(update(later(2, price=2)), now=1.0) == []
    assert told.stream(update(later(3, price=3)), now=1.0) == []
    assert names(told.stream(update(later(4, price=4)), now=1.0)) == ["updated"]


def test_a_suspected_row_that_the_stream_told_meanwhile_is_not_told_twice() -> None:
    told = Told()
    told.ledger.request_reread("k")
    assert names(told.stream(update(later(2, price=2)))) == ["updated"]
    assert told.read(later(2, price=2)) == []
    assert names(told.stream(update(later(3, price=3)))) == ["updated"]


def test_a_delete_told_by_a_read_carries_the_commit_time_of_the_change_that_it_settles() -> None:
    told = Told()
    told.read(later(3, price=3))
    assert told.stream(delete()) == []
    [event] = told.read(None)
    assert event["data"]["deleted_at"] == AT


def test_observing_outside_a_read_is_a_fault_of_the_caller() -> None:
    with pytest.raises(AssertionError, match="between begin_read and end_read"):
        Told().ledger.apply_read("k", None, 0.0, AT)


# -- columns that only members see

VIEWS = Projection(published=("name", "state", "price"), member=("notes",), region=("state",))


def test_a_large_value_of_the_members_that_was_not_sent_is_the_one_that_was_known() -> None:
    told = Told(row(notes="large"), projection=VIEWS)
    [event] = told.stream(update(later(2, price=2)))
    assert event["data"]["changes"] == {"price": {"old": 1, "new": 2}}
    [event] = told.stream(update(later(3, price=2, notes="other")))
    assert event["data"]["changes"] == {"notes": {"old": "large", "new": "other"}}


def test_a_read_repairs_each_view() -> None:
    told = Told(row(notes="a"), projection=VIEWS)
    events = told.read(later(2, price=2, notes="b"))
    assert [list(event["data"]["changes"]) for event in events] == [["price"], ["price", "notes"]]
    assert told.read(later(2, price=2, notes="b")) == []


def test_a_deletion_that_members_hear_too_is_one_event() -> None:
    told = Told(row(notes="a"), projection=VIEWS)
    assert names(told.stream(delete())) == ["deleted"]
    assert names(told.stream(insert(later(3, notes="b")))) == ["created", "created"]
