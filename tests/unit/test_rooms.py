from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.gateway.subscription import Subscription
from bridge.rights import Rights
from bridge.rooms import property_room, regions_of, rooms_of, user_room


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


@pytest.mark.parametrize(
    ("row", "regions"),
    [
        (("TX", "Austin"), ("TX", "TX/Austin")),
        (("TX/Austin", None), ("TX%2FAustin",)),
        (("TX", "Austin/East"), ("TX", "TX/Austin%2FEast")),
        (("TX%2FAustin", None), ("TX%252FAustin",)),
        (("TX%252FAustin", None), ("TX%25252FAustin",)),
        (("50%", "100%25"), ("50%", "50%/100%25")),
        ((["TX", "CA"], {"b": 1, "a": "ü"}), ('["TX","CA"]', '["TX","CA"]/{"a":"ü","b":1}')),
        ((True, 0.5), ("true", "true/0.5")),
        (("", "Austin"), ()),
    ],
)
def test_region_is_the_path_of_its_columns(row: Any, regions: tuple[str, ...]) -> None:
    assert regions_of(dict(zip(("state", "city"), row, strict=True)), ("state", "city")) == regions


@pytest.mark.parametrize(
    "case", json.loads((Path(__file__).parents[1] / "support" / "regions.json").read_text("utf-8"))
)
def test_regions_are_those_of_the_web_app(case: dict[str, Any]) -> None:
    """The web app's own tests run the same cases."""
    assert list(regions_of(case["row"], case["columns"])) == case["regions"]


@given(st.lists(st.tuples(*[st.text("a/%25F", min_size=1)] * 2), unique=True, min_size=2))
def test_no_two_places_are_one_region(places: list[tuple[str, str]]) -> None:
    rows = [dict(zip(("state", "city"), place, strict=True)) for place in places]
    found = [regions_of(row, ("state", "city")) for row in rows]
    assert len(set(found)) == len(found)
    for row, (state, city) in zip(rows, found, strict=True):
        assert city.startswith(f"{state}/")
        assert "/" not in state
        assert regions_of({**row, "city": None}, ("state", "city")) == (state,)


def test_right_to_a_region_is_none_to_a_value_with_a_slash() -> None:
    rights = Rights(regions=("TX",))
    assert rights.can_read_row(regions_of({"state": "TX", "city": "Austin"}, ("state", "city")))
    assert not rights.can_read_row(regions_of({"state": "TX/Austin"}, ("state",)))


def test_members_have_their_own_rooms() -> None:
    public = Subscription(("TX",), ("p1",))
    member = Subscription(("TX",), ("p1",), Rights(view="member"))
    assert not set(public.rooms).intersection(member.rooms)
    assert len(public.rooms) == len(member.rooms)


def test_region_includes_nested_regions_only() -> None:
    rights = Rights(regions=("TX", "CA/Fresno"))
    assert [r for r in ("TX", "TX/Austin", "CA/Fresno", "TXX", "CA", "CA/San") if
            rights.can_read_region(r)] == ["TX", "TX/Austin", "CA/Fresno"]  # fmt: skip
