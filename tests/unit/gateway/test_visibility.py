"""Moves are translated for clients with rights to some regions only."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from bridge.errors import Code, RequestRejected
from bridge.events import Event
from bridge.gateway.visibility import visible_event
from bridge.pipeline import diff
from bridge.projection import Projection
from bridge.rights import UNRESTRICTED, Rights
from tests.fakes import AT, row

PROJECTION = Projection(region=("state", "city"))
LATER = "2026-01-06T10:00:00Z"


def move(before: tuple[str, str], after: tuple[str, str]) -> Event:
    old = row("p1", state=before[0], city=before[1])
    new = row("p1", state=after[0], city=after[1], price=5, updated_at=LATER)
    [event] = diff.events_between(PROJECTION, "p1", old, new, AT)
    return event


TO_CA = move(("TX", "Austin"), ("CA", "Reno"))


def spelled(event: Event) -> list[tuple[str, Any]]:
    """Return names and values in their order."""
    return list(orjson.loads(event.envelope)["data"].items())


def heard(event: Event, *regions: str) -> Event | None:
    return visible_event(event, (Rights(regions),))


def test_move_is_unchanged_for_unrestricted_rights() -> None:
    assert visible_event(TO_CA, (UNRESTRICTED,)) is TO_CA
    assert visible_event(TO_CA, ()) is TO_CA


def test_move_is_unchanged_for_rights_to_both_places() -> None:
    assert heard(TO_CA, "TX", "CA") is TO_CA
    assert heard(TO_CA, "TX/Austin", "CA/Reno") is TO_CA


@pytest.mark.parametrize("region", ["TX", "TX/Austin"])
def test_move_is_a_deletion_for_rights_to_the_old_place(region: str) -> None:
    event = heard(TO_CA, region)
    assert event is not None
    assert event.name == "property-deleted"
    assert orjson.loads(event.envelope) == {
        "event": "property-deleted",
        "data": {"property_id": "p1", "deleted_at": LATER},
    }
    assert b"CA" not in event.envelope
    assert (event.regions_before, event.regions_after) == (("TX", "TX/Austin"), ())


@pytest.mark.parametrize("region", ["CA", "CA/Reno"])
def test_move_is_a_creation_for_rights_to_the_new_place(region: str) -> None:
    event = heard(TO_CA, region)
    new = row("p1", state="CA", city="Reno", price=5, updated_at=LATER)
    assert event is not None
    assert (event.name, event.key) == ("property-created", "p1")
    assert (event.regions_before, event.regions_after) == ((), ("CA", "CA/Reno"))
    assert spelled(event) == spelled(diff.created(PROJECTION, "p1", new))


def test_creation_has_documented_columns_that_are_not_published() -> None:
    bare = Projection(published=("notes", "state"))
    old = {**row("p1"), "notes": "n"}
    new = {**old, "state": "CA"}
    [event] = diff.events_between(bare, "p1", old, new, AT)
    come = heard(event, "CA")
    assert come is not None
    assert spelled(come) == spelled(diff.created(bare, "p1", new))


def test_move_is_hidden_from_rights_to_neither_place() -> None:
    assert heard(TO_CA, "NV", "CA/Austin") is None


def test_move_within_a_region_is_unchanged_for_rights_to_the_region() -> None:
    event = move(("TX", "Austin"), ("TX", "Dallas"))
    assert heard(event, "TX") is event
    gone = heard(event, "TX/Austin")
    assert gone is not None
    assert gone.name == "property-deleted"


def test_a_row_without_a_region_is_not_there_for_limited_rights() -> None:
    old, new = row("p1", state=None), row("p1", updated_at=LATER)
    [event] = diff.events_between(PROJECTION, "p1", old, new, AT)
    come = heard(event, "TX")
    assert come is not None
    assert come.name == "property-created"


def test_a_word_in_a_value_is_no_move() -> None:
    [event] = diff.events_between(PROJECTION, "p1", row("p1"), row("p1", name='"moved":{'), AT)
    assert not event.moved
    assert heard(event, "TX") is event


@pytest.mark.parametrize(
    ("then", "now", "name"),
    [
        (None, ("TX",), "property-deleted"),
        (("TX",), None, "property-deleted"),
        (("TX", "CA"), ("TX",), "property-deleted"),
        (("CA",), ("TX", "CA"), "property-created"),
        (("TX", "CA"), None, "property-updated"),
        (("NV",), None, None),
    ],
)
def test_visible_event_needs_all_of_the_rights(then: Any, now: Any, name: str | None) -> None:
    event = visible_event(TO_CA, (Rights(then), Rights(now)))
    assert (event and event.name) == name


def test_rights_to_a_region_include_inner_regions_and_no_similar_names() -> None:
    rights = Rights(("TX", "CA/San Diego"))
    assert rights.can_read_region("TX/Austin")
    assert not rights.can_read_region("TXA")
    assert not rights.can_read_region("CA")
    assert rights.can_read_row(("CA", "CA/San Diego"))
    assert not rights.can_read_row(("CA", "CA/Reno"))
    assert not rights.can_read_row(())
    assert UNRESTRICTED.can_read_row(())
    with pytest.raises(RequestRejected) as refused:
        rights.check("CA")
    assert refused.value.code is Code.REGION_FORBIDDEN


def test_rights_without_regions_cover_nothing() -> None:
    assert not Rights(()).can_read_region("TX")
    assert heard(TO_CA) is None
