from __future__ import annotations

from bridge.gateway.subscription import Subscription
from bridge.rights import Rights
from bridge.rooms import property_room, rooms_of, user_room


def test_a_property_is_in_its_own_room_its_regions_rooms_and_its_room_within_each_region() -> None:
    assert rooms_of("p1", ("TX", "TX/Austin")) == (
        "everything",
        "property:p1",
        "region:TX",
        "region:TX/Austin",
        "property@2:TX:p1",
        "property@9:TX/Austin:p1",
    )


def test_a_region_that_looks_like_a_region_and_a_key_has_rooms_of_its_own() -> None:
    assert property_room("A:7", "TX") != property_room("7", "TX:A")


def test_who_may_hear_some_regions_is_in_no_room_that_another_regions_events_reach() -> None:
    rights = Rights(regions=("TX",), user="u1")
    everything = Subscription(rights=rights)
    named = Subscription(("TX/Austin",), ("p1",), rights)
    elsewhere = {*rooms_of("p1", ("CA", "CA/Fresno")), user_room("u1"), user_room("u1", "CA")}
    assert not elsewhere.intersection(everything.rooms)
    assert not elsewhere.intersection(named.rooms)
    assert property_room("p1", "TX") in named.rooms
    assert user_room("u1", "TX") in everything.rooms


def test_members_are_in_rooms_of_their_own() -> None:
    public = Subscription(("TX",), ("p1",))
    member = Subscription(("TX",), ("p1",), Rights(view="member"))
    assert not set(public.rooms).intersection(member.rooms)
    assert len(public.rooms) == len(member.rooms)


def test_a_region_includes_those_inside_it_and_no_other() -> None:
    rights = Rights(regions=("TX", "CA/Fresno"))
    assert [r for r in ("TX", "TX/Austin", "CA/Fresno", "TXX", "CA", "CA/San") if
            rights.can_read_region(r)] == ["TX", "TX/Austin", "CA/Fresno"]  # fmt: skip
