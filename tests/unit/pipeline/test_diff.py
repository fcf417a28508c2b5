"""Events in the form of the wire contract."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from bridge.changes import json_equal
from bridge.contract import events
from bridge.pipeline.diff import events_between
from bridge.projection import Projection
from bridge.rooms import rooms_of

P = Projection()
ROW = {
    "name": "Oak View Apartments",
    "city": "Austin",
    "state": "TX",
    "price": 12500000,
    "units": 120,
    "latitude": 30.2742,
    "longitude": -97.74,
    "created_at": "2023-02-01T00:00:00Z",
    "address": "1 Main St",
    "status": "available",
    "updated_at": "2023-02-02T00:00:00Z",
}
AT = "2023-02-03T00:00:00Z"


def events_of(old: dict[str, Any] | None, new: dict[str, Any] | None, **fields: Any) -> Any:
    events = events_between(Projection(**fields), "k", old, new, AT)
    assert len(events) <= 1, "there is one view"
    return json.loads(events[0].envelope) if events else None


def test_created_has_the_documented_columns_before_others() -> None:
    envelope = events_of(None, ROW)
    assert envelope["event"] == "property-created"
    assert list(envelope["data"]) == [
        "property_id", "name", "city", "state", "price", "units", "latitude", "longitude",
        "created_at", "address", "status",
    ]  # fmt: skip


def test_created_has_the_published_columns_only() -> None:
    row = {"state": "TX", "area": 7, "name": None, "notes": "read"}
    envelope = events_of(None, row, published=("area", "state", "name"))
    assert list(envelope["data"].items()) == [
        ("property_id", "k"),
        ("name", None),
        ("state", "TX"),
        ("area", 7),
    ]


def test_updated_has_only_changed_columns() -> None:
    envelope = events_of(ROW, {**ROW, "price": 1, "status": "pending"})
    assert envelope["data"] == {
        "property_id": "k",
        "changes": {
            "price": {"old": 12500000, "new": 1},
            "status": {"old": "available", "new": "pending"},
        },
        "updated_at": "2023-02-02T00:00:00Z",
    }


@pytest.mark.parametrize(("old", "new"), [(None, 1), (1, None), (0, None), (False, None)])
def test_change_from_or_to_null_is_emitted(old: object, new: object) -> None:
    envelope = events_of({**ROW, "price": old}, {**ROW, "price": new})
    assert envelope["data"]["changes"] == {"price": {"old": old, "new": new}}


def test_change_of_updated_at_alone_emits_no_event() -> None:
    assert events_of(ROW, {**ROW, "updated_at": AT}) is None


def test_published_updated_at_is_not_among_the_changes() -> None:
    fields = {"published": ("name", "updated_at"), "region": ("state",)}
    envelope = events_of(ROW, {**ROW, "updated_at": AT, "name": "Elm"}, **fields)
    assert list(envelope["data"]["changes"]) == ["name"]


def test_update_has_the_commit_time_without_updated_at() -> None:
    for row in ({**ROW, "updated_at": None, "price": 1}, {**ROW, "price": 1}):
        fields = {} if row["updated_at"] is None else {"updated_at": None}
        assert events_of(ROW, row, **fields)["data"]["updated_at"] == AT


def test_change_of_an_unpublished_column_emits_no_event() -> None:
    assert events_of(ROW, {**ROW, "status": "sold"}, published=("name",)) is None


def test_move_has_both_regions_and_the_row() -> None:
    envelope = events_of(ROW, {**ROW, "state": "CA"})
    assert envelope["data"]["moved"] == {"from": ["TX"], "to": ["CA"]}
    assert envelope["data"]["property"]["state"] == "CA"
    assert envelope["data"]["property"]["property_id"] == "k"


def test_row_of_a_move_has_the_fields_of_created() -> None:
    fields = {"published": ("name", "address")}
    moved = events_of(ROW, {**ROW, "state": "CA"}, **fields)["data"]["property"]
    assert moved == events_of(None, {**ROW, "state": "CA"}, **fields)["data"]
    assert "price" not in moved


def test_row_of_a_move_is_encoded_as_in_created() -> None:
    row = {**ROW, "state": "CA", "latitude": 30, "price": 2**60 + 1}
    [moved] = events_between(P, "k", ROW, row, AT)
    [created] = events_between(P, "k", None, row, AT)
    data = created.envelope.partition(b'"data":')[2].removesuffix(b"}")
    assert b'"property":' + data in moved.envelope


def test_move_is_sent_to_the_rooms_of_both_regions() -> None:
    [event] = events_between(P, "k", ROW, {**ROW, "state": "CA"}, AT)
    assert event.rooms == rooms_of("k", ("TX", "CA"))


def test_update_without_a_move_has_no_moved_field() -> None:
    assert not {"moved", "property"} & set(events_of(ROW, {**ROW, "price": 1})["data"])


def test_move_within_a_wider_region_is_in_each_room_once() -> None:
    projection = Projection(region=("state", "city"))
    [event] = events_between(projection, "k", ROW, {**ROW, "city": "Dallas"}, AT)
    assert event.rooms == rooms_of("k", ("TX", "TX/Austin", "TX/Dallas"))


def test_deleted_is_sent_to_the_room_of_the_last_region() -> None:
    [event] = events_between(P, "k", ROW, None, AT)
    assert json.loads(event.envelope)["data"] == {"property_id": "k", "deleted_at": AT}
    assert event.rooms == rooms_of("k", ("TX",))


def test_row_without_a_state_is_in_no_region() -> None:
    [event] = events_between(P, "k", None, {**ROW, "state": None}, AT)
    assert event.rooms == ("everything", "property:k")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(old=JSON, new=JSON)
def test_update_has_the_exact_values_of_any_column(old: Any, new: Any) -> None:
    envelope = events_of({**ROW, "status": old}, {**ROW, "status": new})
    if json_equal(old, new):
        assert envelope is None
    else:
        change = envelope["data"]["changes"]["status"]
        assert json_equal(change["old"], old)
        assert json_equal(change["new"], new)


@pytest.mark.parametrize(
    ("old", "new"), [(None, ROW), (ROW, {**ROW, "price": 1, "state": "CA"}), (ROW, None)]
)
def test_events_are_valid_by_the_models_of_the_contract(old: Any, new: Any) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(events.Envelope)
    adapter.validate_python(events_of(old, new), strict=True)


def test_true_and_one_are_not_equal_in_json() -> None:
    assert not json_equal(True, 1)
    assert json_equal(1, 1.0)
