"""The hub applies the rights of its clients, from the next event on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from bridge.contract.parse import RoomSelection
from bridge.errors import Code, RequestRejected
from bridge.gateway.hub import ROOMS_PER_NAME
from bridge.gateway.subscription import Subscription
from bridge.log.base import Entry, Position
from bridge.pipeline import diff
from bridge.projection import Projection
from bridge.rights import UNRESTRICTED, Rights
from tests.fakes import AT, HubBySid, row

if TYPE_CHECKING:
    from collections.abc import Collection

MAX_ROOMS = 4
PROJECTION = Projection(member=("owner_contact",))
TEXAS = Rights(("TX",), user="t")
MEMBER = Rights(view="member", user="m")
WHERE = {"in_tx": ("TX",), "in_ca": ("CA",), "nowhere": ()}


class House:
    """A hub, and the events that each client received, with their changed columns."""

    def __init__(self) -> None:
        self.hub = HubBySid(deliver=self._deliver, max_rooms=MAX_ROOMS, regions_of_key=self._where)
        self.told: dict[str, list[str]] = {}
        self.deliveries = 0
        self.seq = 0

    @staticmethod
    def _where(key: Any) -> tuple[str, ...] | None:
        return WHERE.get(key)

    def _deliver(self, entry: Entry, clients: Collection[str]) -> None:
        self.deliveries += 1
        data = orjson.loads(entry.event.envelope)["data"]
        said = "+".join([entry.event.name.removeprefix("property-"), *data.get("changes", ())])
        for client in clients:
            self.told.setdefault(client, []).append(said)

    def happens(self, old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
        entries = []
        for event in diff.events_between(PROJECTION, "p1", old, new, AT):
            self.seq += 1
            entries.append(Entry(Position("e", self.seq), event, 0.0))
        self.hub.publish(entries)


@pytest.fixture
def house() -> House:
    return House()


def listing(**columns: Any) -> dict[str, Any]:
    return row("p1", **{"owner_contact": "a", **columns})


def named(*regions: str, of: tuple[str, ...] = ()) -> RoomSelection:
    return RoomSelection(regions, of)


# -- views


def test_view_receives_its_own_events_once(house: House) -> None:
    house.hub.join("public", RoomSelection())
    house.hub.join("member", RoomSelection(), rights=MEMBER)
    house.happens(listing(), listing(price=5))
    assert house.deliveries == 1
    house.happens(listing(), listing(owner_contact="b"))
    house.happens(listing(), listing(price=5, owner_contact="b"))
    assert house.told == {
        "public": ["updated+price", "updated+price"],
        "member": ["updated+price", "updated+owner_contact", "updated+price+owner_contact"],
    }


@pytest.mark.parametrize("wanted", [RoomSelection(), named("TX"), named(of=("p1",))])
@pytest.mark.parametrize("regions", [None, ("TX",), ("TX", "CA")])
def test_members_are_in_rooms_of_members_only(
    house: House, wanted: RoomSelection, regions: tuple[str, ...] | None
) -> None:
    house.hub.join("member", wanted, rights=Rights(regions, "member"))
    house.hub.join("public", wanted, rights=Rights(regions))
    house.happens(listing(), listing(owner_contact="b"))
    assert house.told == {"member": ["updated+owner_contact"]}


# -- regions


def test_client_without_names_receives_all_that_its_rights_cover(house: House) -> None:
    assert house.hub.join("t", RoomSelection(), rights=TEXAS).to_ack()["regions"] is None
    house.happens(None, listing(state="CA"))
    house.happens(None, listing())
    assert house.told == {"t": ["created"]}


def test_property_is_followed_in_the_regions_of_the_rights(house: House) -> None:
    house.hub.join("t", named(of=("p1",)), rights=TEXAS)
    house.happens(listing(state="CA"), listing(state="CA", price=5))
    house.happens(listing(), listing(price=5))
    assert house.told == {"t": ["updated+price"]}


@pytest.mark.parametrize("wanted", [RoomSelection(), named("TX"), named(of=("p1",))])
def test_move_across_the_border_of_rights_is_a_deletion_or_a_creation(
    house: House, wanted: RoomSelection
) -> None:
    house.hub.join("t", wanted, rights=TEXAS)
    house.hub.join("all", RoomSelection())
    house.hub.join("both", named("TX"), rights=Rights(("TX", "CA")))
    house.happens(listing(), listing(state="CA"))
    house.happens(listing(state="CA"), listing())
    assert house.told == {
        "t": ["deleted", "created"],
        "all": ["updated+state"] * 2,
        "both": ["updated+state"] * 2,
    }


def test_move_is_translated_only_if_a_client_has_limited_rights(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(_event: object) -> None:
        raise AssertionError("nobody is limited")

    house.hub.join("all", RoomSelection())
    house.hub.join("t", RoomSelection(), rights=TEXAS)
    house.hub.set_rights("t", UNRESTRICTED)
    house.hub.join("gone", RoomSelection(), rights=TEXAS)
    house.hub.remove("gone")
    monkeypatch.setattr("bridge.gateway.hub.RegionMove", never)
    house.happens(listing(), listing(state="CA"))
    assert house.told == {"all": ["updated+state"], "t": ["updated+state"]}


# -- rejected subscriptions


@pytest.mark.parametrize(
    "wanted", [named("CA"), named("TX", "CA"), named(of=("in_ca",)), named(of=("nowhere",))]
)
def test_subscription_beyond_rights_is_rejected_and_changes_nothing(
    house: House, wanted: RoomSelection
) -> None:
    house.hub.join("t", named("TX"), rights=TEXAS)
    before = house.hub.counts()
    with pytest.raises(RequestRejected) as refused:
        house.hub.subscribe("t", wanted)
    assert refused.value.code is Code.REGION_FORBIDDEN
    with pytest.raises(RequestRejected) as refused:
        house.hub.join("new", wanted, rights=TEXAS)
    assert refused.value.code is Code.REGION_FORBIDDEN
    assert house.hub.subscription("t") == Subscription(("TX",), (), TEXAS)
    assert house.hub.counts() == before


def test_unknown_property_may_be_subscribed_to(house: House) -> None:
    after = house.hub.join("t", named(of=("none", "in_tx")), rights=TEXAS)
    assert after.properties == ("none", "in_tx")


def test_a_property_that_has_moved_away_does_not_spoil_the_next_request(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.hub.join("t", named(of=("in_tx",)), rights=TEXAS)
    monkeypatch.setitem(WHERE, "in_tx", ("CA",))
    assert house.hub.subscribe("t", named("TX")).regions == ("TX",)


def test_unlimited_rights_forbid_nothing(house: House) -> None:
    house.hub.join("m", named("CA", of=("in_ca", "nowhere")), rights=MEMBER)
    assert house.hub.counts().clients == 1


def test_properties_in_many_regions_are_bounded(house: House) -> None:
    many = Rights(tuple(f"R{n}" for n in range(MAX_ROOMS * ROOMS_PER_NAME)))
    house.hub.join("a", named(of=("p1",)), rights=many)
    before = house.hub.counts()
    with pytest.raises(RequestRejected) as refused:
        house.hub.subscribe("a", named(of=("p2",)))
    assert refused.value.code is Code.TOO_MANY_ROOMS
    assert "2 properties in each of your 20 regions" in refused.value.message
    assert house.hub.counts() == before


# -- changed rights


def test_new_rights_hold_from_the_next_event_on(house: House) -> None:
    house.hub.join("c", RoomSelection())
    house.hub.set_rights("c", TEXAS)
    house.happens(None, listing(state="CA"))
    house.happens(None, listing())
    house.hub.set_rights("c", MEMBER)
    house.happens(listing(), listing(owner_contact="b"))
    house.hub.set_rights("c", UNRESTRICTED)
    house.happens(listing(), listing(owner_contact="b"))
    house.happens(None, listing(state="CA"))
    assert house.told == {"c": ["created", "updated+owner_contact", "created"]}


def test_names_beyond_new_rights_are_removed_from_the_subscription(house: House) -> None:
    house.hub.join("c", named("TX", "CA", of=("in_tx", "in_ca")))
    after = house.hub.set_rights("c", TEXAS)
    assert after == Subscription(("TX",), ("in_tx",), TEXAS)
    assert house.hub.subscription("c") == after
    house.happens(None, listing(state="CA"))
    assert house.told == {}


def test_client_left_without_names_by_new_rights_receives_nothing(house: House) -> None:
    house.hub.join("c", named("CA"))
    assert house.hub.set_rights("c", TEXAS) == Subscription((), (), TEXAS)
    house.happens(None, listing())
    assert house.told == {}


def test_narrower_rights_never_leave_more_rooms_than_the_bound(house: House) -> None:
    house.hub.join("c", named(of=("p1", "p2", "p3")))
    regions = tuple(f"R{n}" for n in range(MAX_ROOMS * ROOMS_PER_NAME // 2))
    after = house.hub.set_rights("c", Rights(regions))
    assert after.properties == ("p1", "p2")
    assert house.hub.set_rights("c", Rights(regions * 20)).properties == ()


def test_rooms_of_former_rights_are_left(house: House) -> None:
    house.hub.join("c", named("TX", of=("p1",)), rights=Rights(("TX", "CA"), "member", "u"))
    house.hub.set_rights("c", UNRESTRICTED)
    house.hub.remove("c")
    assert house.hub.counts().rooms == 0


def test_equal_rights_change_nothing(house: House) -> None:
    before = house.hub.join("t", named("TX"), rights=TEXAS)
    assert house.hub.set_rights("t", TEXAS) == before


def test_set_rights_of_a_client_that_has_not_joined_raises_key_error(house: House) -> None:
    with pytest.raises(KeyError):
        house.hub.set_rights("nobody", TEXAS)
