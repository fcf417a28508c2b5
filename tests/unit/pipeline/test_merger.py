"""The rules of the merger, each alone; `tests/property` tries their combinations."""

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


class Merged:
    """A merger with one known row, and the events of its row changes."""

    def __init__(self, known: dict[str, Any] | None = ROW, *, projection: Projection = P) -> None:
        self.projection = projection
        self.rows = RowStore(projection.known)
        self.merger = ChangeMerger(projection, self.rows)
        if known is not None:
            self.rows.load([("k", self.rows.encode(known))])

    def stream(self, *changes: Change, now: float = 0.0) -> list[dict[str, Any]]:
        for change in changes:
            self.merger.apply_change(change, now)
        return self.drain()

    def read(self, record: dict[str, Any] | None, now: float = 0.0) -> list[dict[str, Any]]:
        self.merger.begin_read()
        return self.answer(record, now)

    def answer(self, record: dict[str, Any] | None, now: float = 0.0) -> list[dict[str, Any]]:
        full = None if record is None else {"id": "k", **record}
        self.merger.apply_read("k", full, now, "2026-01-01T00:01:00.000Z")
        self.merger.end_read()
        return self.drain()

    def drain(self) -> list[dict[str, Any]]:
        changes = self.merger.take()
        events = events_of(self.projection, self.rows, changes.changes)
        self.rows.apply(changes.rows.items())
        self.merger.applied()
        return [json.loads(event.envelope) for event in events]


def names(events: list[dict[str, Any]]) -> list[str]:
    return [event["event"].removeprefix("property-") for event in events]


def test_merger_yields_steps_in_order_and_the_resulting_rows() -> None:
    merged = Merged()
    rows = [merged.rows.encode(record) for record in (ROW, later(2, price=2), later(3, price=3))]
    for change in (update(later(2, price=2)), update(later(3, price=3)), delete()):
        merged.merger.apply_change(change, 0.0)
    assert merged.merger.take().changes == [
        RowChange("k", rows[0], rows[1], AT),
        RowChange("k", rows[1], rows[2], AT),
        RowChange("k", rows[2], None, AT),
    ]
    assert merged.merger.take().rows == {"k": None}


def test_initial_load_stores_rows_without_changes() -> None:
    merged = Merged(None)
    merged.merger.load_initial({"id": "k", **ROW})
    assert merged.merger.take().changes == []
    assert merged.merger.take().rows == {"k": merged.rows.encode(ROW)}


def test_update_has_the_last_emitted_value_as_old() -> None:
    [event] = Merged().stream(update(later(2, price=2)))
    assert event["data"]["changes"] == {"price": {"old": 1, "new": 2}}


def test_update_without_published_changes_is_not_emitted() -> None:
    assert Merged().stream(update(later(2))) == []


def test_duplicate_change_is_emitted_once() -> None:
    assert names(Merged().stream(update(later(2, price=2)), update(later(2, price=2)))) == [
        "updated"
    ]


def test_update_of_an_unknown_row_is_emitted_as_created() -> None:
    assert names(Merged(None).stream(update(later(2)))) == ["created"]


def test_insert_of_a_known_row_is_emitted_as_update() -> None:
    [event] = Merged().stream(insert(later(2, price=3)))
    assert event["data"]["changes"] == {"price": {"old": 1, "new": 3}}


def test_deletion_of_an_unknown_row_is_not_emitted() -> None:
    assert Merged(None).stream(delete()) == []


def test_deletion_has_the_commit_time() -> None:
    [event] = Merged().stream(delete())
    assert event["data"] == {"property_id": "k", "deleted_at": AT}


def test_unsent_value_is_the_known_one() -> None:
    record = later(2, price=2)
    del record["name"]
    merged = Merged()
    assert names(merged.stream(update(record))) == ["updated"]
    assert merged.rows.decode(merged.rows.get("k") or b"")["name"] == "Oak"


def test_unsent_value_of_an_unknown_row_is_read() -> None:
    merged = Merged(None)
    record = later(2)
    del record["name"]
    assert merged.stream(update(record)) == []
    assert merged.merger.rows_to_reread(10) == ["k"]
    assert names(merged.read(later(2))) == ["created"]


def test_truncated_change_is_emitted_from_a_read() -> None:
    merged = Merged()
    assert merged.stream(update({}, truncated=True)) == []
    [event] = merged.read(later(2, price=7))
    assert event["data"]["changes"] == {"price": {"old": 1, "new": 7}}
    assert merged.merger.pending_rereads == 0


def test_changed_key_is_a_deletion_and_a_creation() -> None:
    change = Change(Op.UPDATE, "k2", later(2), AT, old_key="k")
    events = Merged().stream(change)
    assert names(events) == ["deleted", "created"]
    assert [event["data"]["property_id"] for event in events] == ["k", "k2"]


def test_change_that_a_read_showed_is_not_emitted_again() -> None:
    merged = Merged()
    assert names(merged.read(later(3, price=3))) == ["updated"]
    assert merged.stream(update(later(2, price=2)), update(later(3, price=3))) == []


def test_change_after_the_one_that_a_read_showed_is_emitted() -> None:
    merged = Merged()
    merged.read(later(3, price=3))
    assert names(merged.stream(update(later(3, price=3)), update(later(4, price=4)))) == ["updated"]


def test_change_with_the_read_as_its_old_row_is_emitted_at_once() -> None:
    merged = Merged()
    merged.read(later(3, price=3))
    change = update(later(4, price=4), old=later(3, price=3))
    assert names(merged.stream(change)) == ["updated"]
    assert merged.merger.pending_rereads == 0


def test_change_without_old_row_after_a_repair_is_emitted_from_a_read() -> None:
    merged = Merged()
    merged.read(later(3, price=3))
    assert merged.stream(update(later(4, price=4))) == []
    [event] = merged.read(later(4, price=4))
    assert event["data"]["changes"] == {"price": {"old": 3, "new": 4}}


def test_older_change_after_a_repair_is_dropped_by_a_read() -> None:
    merged = Merged()
    merged.read(later(3, price=3))
    assert merged.stream(update(later(2, price=2))) == []
    assert merged.read(later(3, price=3)) == []
    assert merged.merger.pending_rereads == 0


def test_late_change_does_not_restore_a_deleted_row() -> None:
    merged = Merged()
    assert names(merged.read(None)) == ["deleted"]
    assert merged.stream(update(later(2, price=2))) == []
    assert merged.stream(delete()) == []
    assert merged.merger.pending_rereads == 0


def test_read_that_began_before_a_change_does_not_undo_it() -> None:
    merged = Merged()
    merged.merger.begin_read()
    assert names(merged.stream(update(later(2, price=2)))) == ["updated"]
    assert merged.answer(ROW) == []


def test_late_change_out_of_order_is_not_emitted() -> None:
    merged = Merged(later(5, price=5))
    assert merged.stream(update(later(4, price=4))) == []
    assert merged.read(later(5, price=5)) == []


def test_older_updated_at_is_accepted_if_the_old_row_proves_the_order() -> None:
    merged = Merged(later(5, price=5))
    change = update(later(4, price=4), old=later(5, price=5))
    assert names(merged.stream(change)) == ["updated"]


def test_row_is_read_ahead_for_a_limited_time() -> None:
    merged = Merged()
    merged.read(later(3, price=3))
    merged.merger.expire(READ_AHEAD_SECONDS + 1)
    assert names(merged.stream(update(later(4, price=4)), now=READ_AHEAD_SECONDS + 1)) == [
        "updated"
    ]


def test_older_change_after_the_initial_load_is_not_emitted() -> None:
    merged = Merged(None)
    merged.merger.load_initial({"id": "k", **later(3, price=3)})
    merged.merger.initial_load_done(0.0)
    assert merged.drain() == []
    assert merged.stream(update(later(2, price=2)), now=1.0) == []
    assert merged.stream(update(later(3, price=3)), now=1.0) == []
    assert names(merged.stream(update(later(4, price=4)), now=1.0)) == ["updated"]


def test_reread_row_that_the_stream_delivered_is_emitted_once() -> None:
    merged = Merged()
    merged.merger.request_reread("k")
    assert names(merged.stream(update(later(2, price=2)))) == ["updated"]
    assert merged.read(later(2, price=2)) == []
    assert names(merged.stream(update(later(3, price=3)))) == ["updated"]


def test_deletion_emitted_from_a_read_has_the_commit_time_of_its_change() -> None:
    merged = Merged()
    merged.read(later(3, price=3))
    assert merged.stream(delete()) == []
    [event] = merged.read(None)
    assert event["data"]["deleted_at"] == AT


def test_apply_read_outside_a_read_raises() -> None:
    with pytest.raises(AssertionError, match="between begin_read and end_read"):
        Merged().merger.apply_read("k", None, 0.0, AT)


# -- member columns

VIEWS = Projection(published=("name", "state", "price"), member=("notes",), region=("state",))


def test_unsent_large_member_value_is_the_known_one() -> None:
    merged = Merged(row(notes="large"), projection=VIEWS)
    [event] = merged.stream(update(later(2, price=2)))
    assert event["data"]["changes"] == {"price": {"old": 1, "new": 2}}
    [event] = merged.stream(update(later(3, price=2, notes="other")))
    assert event["data"]["changes"] == {"notes": {"old": "large", "new": "other"}}


def test_read_repairs_each_view() -> None:
    merged = Merged(row(notes="a"), projection=VIEWS)
    events = merged.read(later(2, price=2, notes="b"))
    assert [list(event["data"]["changes"]) for event in events] == [["price"], ["price", "notes"]]
    assert merged.read(later(2, price=2, notes="b")) == []


def test_deletion_is_one_event_for_both_views() -> None:
    merged = Merged(row(notes="a"), projection=VIEWS)
    assert names(merged.stream(delete())) == ["deleted"]
    assert names(merged.stream(insert(later(3, notes="b")))) == ["created", "created"]


# -- a stream with positions ------------------------------------------------------------------


def test_change_with_a_position_is_emitted_although_its_updated_at_is_earlier() -> None:
    older = {**row(price=2), "updated_at": "2025-12-31T00:00:00Z"}
    merged = Merged()
    assert names(merged.stream(update(older, lsn=7))) == ["updated"]
    assert merged.merger.pending_rereads == 0


def test_change_without_a_position_is_re_read_if_its_updated_at_is_earlier() -> None:
    older = {**row(price=2), "updated_at": "2025-12-31T00:00:00Z"}
    merged = Merged()
    assert merged.stream(update(older)) == []
    assert merged.merger.pending_rereads == 1


def test_snapshot_row_is_emitted_and_settles_a_re_read() -> None:
    merged = Merged()
    merged.merger.request_reread("k")
    assert merged.merger.apply_snapshot("k", merged.rows.encode(row(price=3)), AT)
    assert names(merged.drain()) == ["updated"]
    assert merged.merger.pending_rereads == 0
    assert names(merged.stream(update(row(price=4), lsn=8))) == ["updated"]


def test_known_keys_are_those_of_the_last_emitted_states() -> None:
    merged = Merged()
    merged.merger.apply_change(Change(Op.INSERT, "new", row(), AT, lsn=7), 0.0)
    merged.merger.apply_change(delete(lsn=7), 0.0)
    assert merged.merger.known_keys() == ["new"]
    assert merged.merger.delete(["new", "k"], AT) == 1
