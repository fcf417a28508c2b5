from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson

from bridge.events import Event
from bridge.gateway.delivery import coalesce as batch
from bridge.log.base import Entry, Position
from bridge.pipeline import diff
from bridge.projection import Projection
from bridge.rooms import region_room
from tests.fakes import AT, row

PROJECTION = Projection()


def told(*states: dict[str, Any] | None, key: str = "p1") -> list[Entry]:
    """Return the entries that take a property through these states."""
    entries = []
    for number, (old, new) in enumerate(pairwise(states)):
        [event] = diff.events_between(PROJECTION, key, old, new, AT)
        entries.append(Entry(Position("e", number), event, 0.0))
    return entries


def folded(entries: list[Entry]) -> list[tuple[str, tuple[str, ...], dict[str, Any]]]:
    """Return name, region rooms and data of each coalesced event."""
    return [
        (event.name, _regions(event), orjson.loads(event.envelope)["data"])
        for event in batch.coalesce(entries, "updated_at")
    ]


def _regions(event: Event) -> tuple[str, ...]:
    """Return its region rooms, which are those of its regions."""
    rooms = tuple(room for room in event.rooms if room.startswith("region:"))
    assert rooms == tuple(map(region_room, event.regions))
    return rooms


def test_single_event_is_not_changed() -> None:
    entries = told(row("p1"), row("p1", price=1))
    assert batch.coalesce(entries, None) == [entries[0].event]


def test_updates_fold_into_first_old_and_last_new() -> None:
    entries = told(row("p1", price=1), row("p1", price=2, units=3), row("p1", price=3, units=3))
    [(name, regions, data)] = folded(entries)
    assert name == "property-updated"
    assert regions == ("region:TX",)
    assert data["changes"] == {"price": {"old": 1, "new": 3}, "units": {"old": 10, "new": 3}}
    assert "moved" not in data


def test_restored_value_is_left_out() -> None:
    there, back = row("p1", price=1), row("p1", price=2)
    assert folded(told(there, back, there)) == []
    [(_, _, data)] = folded(told(there, row("p1", price=2, units=1), row("p1", price=1, units=1)))
    assert data["changes"] == {"units": {"old": 10, "new": 1}}


def test_true_did_not_become_one() -> None:
    entries = told(row("p1", units=True), row("p1", units=5), row("p1", units=1))
    [(_, _, data)] = folded(entries)
    assert data["changes"] == {"units": {"old": True, "new": 1}}


def test_a_creation_takes_updates_in_and_ends_where_the_property_is() -> None:
    entries = told(None, row("p1"), row("p1", price=5), row("p1", price=5, state="CA"))
    [(name, regions, data)] = folded(entries)
    assert (name, regions) == ("property-created", ("region:CA",))
    assert (data["price"], data["state"]) == (5, "CA")


def test_creation_and_deletion_cancel_out() -> None:
    assert folded(told(None, row("p1"), row("p1", price=5), None)) == []


def test_a_deletion_goes_to_where_the_property_was_first() -> None:
    entries = told(row("p1"), row("p1", state="CA"), None)
    [(name, regions, data)] = folded(entries)
    assert (name, regions) == ("property-deleted", ("region:TX",))
    assert data == {"property_id": "p1", "deleted_at": AT}


def test_deletion_and_creation_stay_two_events() -> None:
    entries = told(row("p1"), None, row("p1", state="CA"), row("p1", state="CA", price=2))
    assert [(name, regions) for name, regions, _ in folded(entries)] == [
        ("property-deleted", ("region:TX",)),
        ("property-created", ("region:CA",)),
    ]
    assert [name for name, _, _ in folded([*entries, *told(row("p1", state="CA"), None)])] == [
        "property-deleted"
    ]


def test_moves_fold_from_the_first_to_the_last_place() -> None:
    entries = told(
        row("p1"), row("p1", state="CA"), row("p1", state="NV"), row("p1", state="NV", price=2)
    )
    [(_, regions, data)] = folded(entries)
    assert regions == ("region:TX", "region:NV")
    assert data["moved"] == {"from": ["TX"], "to": ["NV"]}
    assert (data["property"]["state"], data["property"]["price"]) == ("NV", 2)
    assert data["changes"]["price"] == {"old": 1_000_000, "new": 2}


def test_move_there_and_back_keeps_only_the_changes() -> None:
    entries = told(
        row("p1"), row("p1", state="CA"), row("p1", state="CA", price=2), row("p1", price=2)
    )
    [(_, regions, data)] = folded(entries)
    assert regions == ("region:TX",)
    assert "moved" not in data
    assert data["changes"] == {"price": {"old": 1_000_000, "new": 2}}


def test_properties_stand_in_the_order_of_their_last_events() -> None:
    a = told(row("a", price=1), row("a", price=2), row("a", price=3), key="a")
    [b] = told(row("b", price=1), row("b", price=2), key="b")
    assert [data["property_id"] for _, _, data in folded([a[0], b, a[1]])] == ["b", "a"]


def test_notification_is_not_coalesced_with_its_property() -> None:
    first, second = told(row("p1", price=1), row("p1", price=5), row("p1", price=9))
    said = Event("property-notification", "p1", ("user:ann",), b'{"event":"x","data":{}}')
    between = Entry(Position("e", 1), said, 0.0)
    [kept, update] = batch.coalesce([first, between, second], None)
    assert kept is said
    assert orjson.loads(update.envelope)["data"]["changes"]["price"] == {"old": 1, "new": 9}
