"""What differs between what everybody is told and what members are told."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from bridge.events import Event
from bridge.pipeline import diff
from bridge.projection import Projection
from bridge.rooms import (
    ALL_ROOM,
    is_for_view,
    member_room,
    property_room,
    region_room,
    regions_of_rooms,
    rooms_of,
)
from tests.fakes import AT, row

PROJECTION = Projection(member=("owner_contact", "internal_notes"))
OWNER = "owner@example.org"


def listing(**columns: Any) -> dict[str, Any]:
    return row("p1", **{"owner_contact": OWNER, "internal_notes": None, **columns})


def tell(old: dict[str, Any] | None, new: dict[str, Any] | None) -> tuple[Event, ...]:
    return diff.events_between(PROJECTION, "p1", old, new, AT)


def data(event: Event) -> dict[str, Any]:
    out: dict[str, Any] = orjson.loads(event.envelope)["data"]
    return out


def views(event: Event) -> list[str]:
    return [view for view in PROJECTION.views if is_for_view(event.rooms, view)]


def test_a_creation_is_told_with_the_columns_of_each_view() -> None:
    public, member = tell(None, listing())
    assert (views(public), views(member)) == (["public"], ["member"])
    assert b"owner" not in public.envelope
    assert data(member) == {**data(public), "owner_contact": OWNER, "internal_notes": None}


def test_an_update_of_public_columns_is_one_event_for_both_views() -> None:
    [event] = tell(listing(), listing(price=5))
    assert views(event) == ["public", "member"]
    assert event.rooms == (
        *rooms_of("p1", ("TX",)),
        *map(member_room, rooms_of("p1", ("TX",))),
    )


def test_an_update_of_member_columns_alone_is_told_to_members_alone() -> None:
    [event] = tell(listing(), listing(owner_contact="b@example.org"))
    assert views(event) == ["member"]
    assert data(event)["changes"] == {"owner_contact": {"old": OWNER, "new": "b@example.org"}}


def test_an_update_of_both_is_told_to_each_view_as_it_is_there() -> None:
    public, member = tell(listing(), listing(price=5, owner_contact=None))
    assert (views(public), views(member)) == (["public"], ["member"])
    assert list(data(public)["changes"]) == ["price"]
    assert list(data(member)["changes"]) == ["price", "owner_contact"]
    assert b"owner" not in public.envelope


def test_a_move_carries_the_row_of_each_view() -> None:
    public, member = tell(listing(), listing(state="CA"))
    assert "owner_contact" not in data(public)["property"]
    assert data(member)["property"]["owner_contact"] == OWNER
    assert data(public)["moved"] == data(member)["moved"] == {"from": ["TX"], "to": ["CA"]}
    assert regions_of_rooms(public.rooms) == regions_of_rooms(member.rooms) == ("TX", "CA")


def test_a_move_by_which_only_member_columns_change_shows_the_others_nothing_of_them() -> None:
    hidden_place = Projection(published=("name",), member=("notes",), region=("state",))
    old = {"name": "Oak", "notes": "a", "state": "TX", "updated_at": AT}
    public, member = diff.events_between(
        hidden_place, "p1", old, {**old, "state": "CA", "notes": "b"}, AT
    )
    assert data(public)["changes"] == {}
    assert list(data(member)["changes"]) == ["notes"]


def test_a_deletion_is_one_event_for_both_views() -> None:
    [event] = tell(listing(), None)
    assert views(event) == ["public", "member"]
    assert data(event) == {"property_id": "p1", "deleted_at": AT}


def test_nothing_is_told_of_columns_in_neither_view() -> None:
    secret = Projection(member=("owner_contact",))
    old = {**listing(), "internal_notes": "a"}
    assert diff.events_between(secret, "p1", old, {**old, "internal_notes": "b"}, AT) == ()


def test_a_documented_column_can_be_the_members_and_keeps_its_place_in_a_creation() -> None:
    projection = Projection(published=("name", "state"), member=("price",))
    public, member = diff.events_between(projection, "p1", None, listing(), AT)
    assert data(public)["price"] is None
    assert data(member)["price"] == 1_000_000
    assert list(data(public)) == list(data(member))


def test_without_member_columns_there_are_no_rooms_of_members() -> None:
    for old, new in ((None, listing()), (listing(), listing(price=5)), (listing(), None)):
        [event] = diff.events_between(Projection(), "p1", old, new, AT)
        assert event.rooms == rooms_of("p1", ("TX",))
        assert not is_for_view(event.rooms, "member")


@pytest.mark.parametrize("room", [ALL_ROOM, region_room("member/TX"), property_room("member/x")])
def test_a_name_that_looks_like_the_members_is_not_theirs(room: str) -> None:
    assert is_for_view((room,), "public")
    assert not is_for_view((room,), "member")


def test_known_columns_are_those_of_all_views_and_the_key_is_not_among_them() -> None:
    projection = Projection(published=("name", "id"), member=("notes", "name", "id"))
    assert projection.known == ("name", "notes", "state", "updated_at")
    assert projection.diffed == ("name",)
    assert projection.diffed_for_members == ("notes",)
    assert projection.shown("member") == ("name", "id", "notes")
