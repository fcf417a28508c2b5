"""Events of the public view and of the member view."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from bridge.events import Event
from bridge.pipeline import diff
from bridge.projection import Projection
from bridge.rooms import (
    member_room,
    rooms_of,
)
from tests.fakes import AT, row

PROJECTION = Projection(member=("owner_contact", "internal_notes"))
OWNER = "owner@example.org"


def listing(**columns: Any) -> dict[str, Any]:
    return row("p1", **{"owner_contact": OWNER, "internal_notes": None, **columns})


def events_of(old: dict[str, Any] | None, new: dict[str, Any] | None) -> tuple[Event, ...]:
    return diff.events_between(PROJECTION, "p1", old, new, AT)


def data(event: Event) -> dict[str, Any]:
    out: dict[str, Any] = orjson.loads(event.envelope)["data"]
    return out


def views(event: Event) -> list[str]:
    """Return its views, which must be those of its rooms."""
    members = [room for room in event.rooms if room.startswith("member/")]
    assert ("member" in event.views) == bool(members)
    assert ("public" in event.views) == (len(members) < len(event.rooms))
    return list(event.views)


def test_creation_has_the_columns_of_each_view() -> None:
    public, member = events_of(None, listing())
    assert (views(public), views(member)) == (["public"], ["member"])
    assert b"owner" not in public.envelope
    assert data(member) == {**data(public), "owner_contact": OWNER, "internal_notes": None}


def test_update_of_public_columns_is_one_event_for_both_views() -> None:
    [event] = events_of(listing(), listing(price=5))
    assert views(event) == ["public", "member"]
    assert event.rooms == (
        *rooms_of("p1", ("TX",)),
        *map(member_room, rooms_of("p1", ("TX",))),
    )


def test_update_of_member_columns_is_for_the_member_view_only() -> None:
    [event] = events_of(listing(), listing(owner_contact="b@example.org"))
    assert views(event) == ["member"]
    assert data(event)["changes"] == {"owner_contact": {"old": OWNER, "new": "b@example.org"}}


def test_update_of_both_views_is_one_event_for_each() -> None:
    public, member = events_of(listing(), listing(price=5, owner_contact=None))
    assert (views(public), views(member)) == (["public"], ["member"])
    assert list(data(public)["changes"]) == ["price"]
    assert list(data(member)["changes"]) == ["price", "owner_contact"]
    assert b"owner" not in public.envelope


def test_move_has_the_row_of_each_view() -> None:
    public, member = events_of(listing(), listing(state="CA"))
    assert "owner_contact" not in data(public)["property"]
    assert data(member)["property"]["owner_contact"] == OWNER
    assert data(public)["moved"] == data(member)["moved"] == {"from": ["TX"], "to": ["CA"]}
    assert public.regions == member.regions == ("TX", "CA")


def test_move_with_member_changes_has_none_of_them_in_the_public_view() -> None:
    hidden_place = Projection(published=("name",), member=("notes",), region=("state",))
    old = {"name": "Oak", "notes": "a", "state": "TX", "updated_at": AT}
    public, member = diff.events_between(
        hidden_place, "p1", old, {**old, "state": "CA", "notes": "b"}, AT
    )
    assert data(public)["changes"] == {}
    assert list(data(member)["changes"]) == ["notes"]


def test_deletion_is_one_event_for_both_views() -> None:
    [event] = events_of(listing(), None)
    assert views(event) == ["public", "member"]
    assert data(event) == {"property_id": "p1", "deleted_at": AT}


def test_change_of_columns_in_no_view_emits_no_event() -> None:
    secret = Projection(member=("owner_contact",))
    old = {**listing(), "internal_notes": "a"}
    assert diff.events_between(secret, "p1", old, {**old, "internal_notes": "b"}, AT) == ()


def test_documented_member_column_keeps_its_place_in_created() -> None:
    projection = Projection(published=("name", "state"), member=("price",))
    public, member = diff.events_between(projection, "p1", None, listing(), AT)
    assert data(member)["price"] == 1_000_000
    assert list(data(public)) == [name for name in data(member) if name != "price"]


def test_without_member_columns_events_have_no_member_rooms() -> None:
    for old, new in ((None, listing()), (listing(), listing(price=5)), (listing(), None)):
        [event] = diff.events_between(Projection(), "p1", old, new, AT)
        assert event.rooms == rooms_of("p1", ("TX",))
        assert views(event) == ["public"]


@pytest.mark.parametrize(("key", "state"), [("p1", None), ("p1", "member/TX"), ("member/x", "TX")])
def test_name_that_resembles_a_member_room_is_public(key: str, state: str | None) -> None:
    for old, new in ((None, row(key, state=state)), (row(key, state=state), None)):
        [event] = diff.events_between(Projection(), key, old, new, AT)
        assert views(event) == ["public"]


@pytest.mark.parametrize(
    ("old", "new", "before", "after", "changed"),
    [
        (None, listing(), (), ("TX",), ()),
        (listing(), None, ("TX",), (), ()),
        (listing(), listing(price=5, units=3), ("TX",), ("TX",), ("price", "units")),
        (listing(), listing(state="CA"), ("TX",), ("CA",), ("state",)),
        (listing(state=None), listing(), (), ("TX",), ("state",)),
        (None, listing(state=None), (), (), ()),
    ],
)
def test_event_carries_the_facts_of_its_change(
    old: Any, new: Any, before: tuple[str, ...], after: tuple[str, ...], changed: tuple[str, ...]
) -> None:
    for event in events_of(old, new):
        assert (event.regions_before, event.regions_after) == (before, after)
        assert event.changed == changed == tuple(data(event).get("changes", ()))
        assert event.moved == ("moved" in data(event))
        if event.moved:
            assert data(event)["moved"] == {"from": list(before), "to": list(after)}
        assert set(event.regions) == {*before, *after}


def test_event_that_changes_columns_of_both_views_names_those_of_each() -> None:
    public, member = events_of(listing(), listing(price=5, owner_contact=None))
    assert (public.changed, member.changed) == (("price",), ("price", "owner_contact"))


def test_equal_facts_are_one_object() -> None:
    [one] = events_of(listing(), listing(price=5))
    [other] = events_of(listing(price=7), listing(price=8))
    for fact in ("views", "regions_before", "regions_after", "changed"):
        assert getattr(one, fact) is getattr(other, fact)


def test_known_columns_are_those_of_all_views_without_the_key() -> None:
    projection = Projection(published=("name", "id"), member=("notes", "name", "id"))
    assert projection.known == ("name", "notes", "state", "updated_at")
    assert projection.diffed == ("name",)
    assert projection.diffed_for_members == ("notes",)
    assert projection.shown("member") == ("name", "id", "notes")
