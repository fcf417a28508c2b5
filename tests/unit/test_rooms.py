from __future__ import annotations

from bridge.gateway.subscription import Subscription
from bridge.rights import Rights
from bridge.rooms import property_room, rooms_of, user_room


def test_property_has_its_own_room_and_those_of_its_regions() -> None:
    assert rooms_of("p1", ("TX", "TX/Austin")) == (
        "everything",
        "property:p1",
        "region:TX",
        "region:TX/Austin",
        "property@2:TX:p1",
        "property@9:TX/Austin:p1",
    )


def test_region_that_resembles_a_scoped_room_has_its_own_rooms() -> None:
    assert property_room("A:7", "TX") != property_room("7", "TX:A")


def test_client_with_regional_rights_is_in_no_room_of_another_region() -> None:
    rights = Rights(regions=("TX",), user="u1")
    everything = Subscription(rights=rights)
    named = Subscription(("TX/Austin",), ("p1",), rights)
    elsewhere = {*rooms_of("p1", ("CA", "CA/Fresno")), user_room("u1"), user_room("u1", "CA")}
    assert not elsewhere.intersection(everything.rooms)
    assert not elsewhere.intersection(named.rooms)
    assert property_room("p1", "TX") in named.rooms
    assert user_room("u1", "TX") in everything.rooms


def test_members_have_their_own_rooms() -> None:
    public = Subscription(("TX",), ("p1",))
    member = Subscription(("TX",), ("p1",), Rights(view="member"))
    assert not set(public.rooms).intersection(member.rooms)
    assert len(public.rooms) == len(member.rooms)


def test_region_includes_nested_regions_only() -> None:
    rights = Rights(regions=("TX", "CA/Fresno"))
    assert [r for r in ("TX", "TX/Austin", "CA/Fresno", "TXX", "CA", "CA/San") if
            rights.can_read_region(r)] == ["TX", "TX/Austin", "CA/Fresno"]  # fmt: skip
