from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from bridge.contract.parse import NAME_LENGTH, RoomSelection, parse_selection, parse_snapshot_flag
from bridge.errors import Code, RequestRejected
from bridge.gateway.hub import HubCounts
from bridge.gateway.subscription import Subscription
from bridge.rooms import ALL_ROOM, property_room, region_room
from tests.fakes import HubBySid, entry

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from types import FrameType

    from bridge.log.base import Entry

TX, CA, NV = map(region_room, ("TX", "CA", "NV"))


class Post:
    """Records deliveries of a hub as (seq, recipients), in order."""

    def __init__(self) -> None:
        self.deliveries: list[tuple[int, list[str]]] = []

    def __call__(self, entry: Entry, recipients: Collection[str]) -> None:
        self.deliveries.append((entry.position.seq, list(recipients)))


@pytest.fixture
def post() -> Post:
    return Post()


@pytest.fixture
def hub(post: Post) -> HubBySid:
    return HubBySid(deliver=post, max_rooms=4)


def regions(*names: str) -> RoomSelection:
    return RoomSelection(regions=names)


def properties(*keys: str | int) -> RoomSelection:
    return RoomSelection(properties=keys)


def hears(hub: HubBySid, *rooms: str) -> list[str]:
    return hub.recipients(rooms)


def steps(call: Callable[[], object]) -> int:
    """Return the number of instructions that the interpreter runs for `call`."""
    count = 0

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


# -- subscriptions


def test_client_without_names_is_subscribed_to_everything(hub: HubBySid) -> None:
    assert hub.join("a", RoomSelection()) == Subscription(None, ())
    assert hears(hub, ALL_ROOM, TX) == ["a"]


def test_client_that_names_a_region_receives_only_its_events(hub: HubBySid) -> None:
    hub.join("a", regions("TX"))
    assert hears(hub, ALL_ROOM, TX) == ["a"]
    assert hears(hub, ALL_ROOM, CA) == []


def test_the_first_name_replaces_everything_and_further_ones_add_up(hub: HubBySid) -> None:
    hub.join("a", RoomSelection())
    assert hub.subscribe("a", regions("TX")) == Subscription(("TX",))
    assert hears(hub, ALL_ROOM, CA) == []
    assert hub.subscribe("a", properties("p1", 7)) == Subscription(("TX",), ("p1", 7))
    assert hears(hub, ALL_ROOM, TX) == ["a"]
    assert hears(hub, ALL_ROOM, property_room(7)) == ["a"]


def test_a_property_too_replaces_everything(hub: HubBySid) -> None:
    hub.join("a", RoomSelection())
    assert hub.subscribe("a", properties("p1")) == Subscription((), ("p1",))
    assert hears(hub, ALL_ROOM, TX) == []


def test_naming_nothing_means_everything_again(hub: HubBySid) -> None:
    hub.join("a", regions("TX"))
    assert hub.subscribe("a", RoomSelection()) == Subscription(None, ())
    assert hears(hub, ALL_ROOM, CA) == ["a"]
    assert hears(hub, TX) == []


def test_client_without_its_last_name_receives_nothing(hub: HubBySid) -> None:
    hub.join("a", regions("TX"))
    assert hub.unsubscribe("a", regions("TX")) == Subscription(())
    assert hears(hub, ALL_ROOM, TX, CA) == []


def test_unsubscribed_name_leaves_the_other_names(hub: HubBySid) -> None:
    hub.join("a", RoomSelection(("TX", "CA"), ("p1",)))
    assert hub.unsubscribe("a", RoomSelection(("TX",), ("p1",))) == Subscription(("CA",))
    assert hears(hub, TX, property_room("p1")) == []
    assert hears(hub, CA) == ["a"]


def test_unsubscribe_that_names_nothing_takes_all_away(hub: HubBySid) -> None:
    hub.join("a", RoomSelection())
    assert hub.unsubscribe("a", RoomSelection()) == Subscription(())
    assert hears(hub, ALL_ROOM) == []


def test_a_region_cannot_be_taken_out_of_everything(hub: HubBySid) -> None:
    hub.join("a", RoomSelection())
    assert hub.unsubscribe("a", regions("TX")) == Subscription(None)
    assert hears(hub, ALL_ROOM, TX) == ["a"]


def test_names_that_were_never_subscribed_are_no_matter_to_unsubscribe(hub: HubBySid) -> None:
    hub.join("a", regions("TX"))
    assert hub.unsubscribe("a", regions("CA")) == Subscription(("TX",))


def test_a_key_is_the_same_as_text_and_as_number(hub: HubBySid) -> None:
    hub.join("a", properties(7))
    assert hub.subscribe("a", properties("7")).properties == ("7",)
    assert hub.unsubscribe("a", properties(7)) == Subscription(())


# -- recipients


def test_a_client_in_several_of_the_rooms_is_a_recipient_once(hub: HubBySid) -> None:
    hub.join("a", RoomSelection(("TX", "CA"), ("p1",)))
    hub.join("b", RoomSelection())
    assert sorted(hears(hub, ALL_ROOM, TX, CA, property_room("p1"))) == ["a", "b"]


def test_removed_client_is_no_recipient(hub: HubBySid) -> None:
    hub.join("a", regions("TX"))
    hub.remove("a")
    hub.remove("a")
    assert hears(hub, ALL_ROOM, TX) == []
    assert hub.subscription("a") is None


def test_rooms_vanish_with_their_last_member(hub: HubBySid) -> None:
    hub.join("a", regions("TX", "CA"))
    hub.join("b", regions("CA"))
    assert hub.counts() == HubCounts(clients=2, rooms=2)
    hub.unsubscribe("a", regions("TX"))
    assert hub.counts() == HubCounts(clients=2, rooms=1)
    hub.remove("a")
    hub.remove("b")
    assert hub.counts() == HubCounts(clients=0, rooms=0)


@pytest.mark.parametrize("rooms", [(TX,), (ALL_ROOM, TX), (TX, NV)])
def test_recipients_cost_nothing_for_clients_of_other_rooms(
    hub: HubBySid, rooms: tuple[str, ...]
) -> None:
    hub.join("t", regions("TX"))
    hub.join("n", regions("NV"))
    alone = steps(lambda: hub.hub.recipients(rooms))
    for number in range(1000):
        hub.join(f"c{number}", regions("CA"))
    assert steps(lambda: hub.hub.recipients(rooms)) == alone
    assert len(hub.recipients((ALL_ROOM, CA))) == 1000


def test_recipients_of_one_room_are_not_copied(hub: HubBySid) -> None:
    for number in range(3):
        hub.join(f"c{number}", regions("CA"))
    members = hub.hub.recipients((ALL_ROOM, CA))
    hub.remove("c0")
    assert [client.sid for client in members] == ["c1", "c2"]


# -- publish


def test_publish_delivers_in_order_before_returning(hub: HubBySid, post: Post) -> None:
    hub.join("a", regions("TX"))
    hub.join("b", regions("CA"))
    hub.publish([entry(1, "TX"), entry(2, "CA"), entry(3, "TX", "CA")])
    assert post.deliveries == [(1, ["a"]), (2, ["b"]), (3, ["a", "b"])]


def test_event_without_recipients_is_not_delivered(hub: HubBySid, post: Post) -> None:
    hub.join("a", regions("CA"))
    hub.publish([entry(1, "TX")])
    assert post.deliveries == []


# -- rejected requests change nothing


def test_more_rooms_than_the_bound_are_refused_and_change_nothing(hub: HubBySid) -> None:
    hub.join("a", regions("TX", "CA"))
    with pytest.raises(RequestRejected) as refused:
        hub.subscribe("a", properties(1, 2, 3))
    assert refused.value.code is Code.TOO_MANY_ROOMS
    assert "at most 4" in refused.value.message
    assert hub.subscription("a") == Subscription(("TX", "CA"))
    assert hears(hub, property_room(1)) == []


def test_exactly_the_bound_is_fine_and_repeats_do_not_count(hub: HubBySid) -> None:
    hub.join("a", regions("TX", "CA"))
    hub.subscribe("a", RoomSelection(("TX", "CA", "CA"), (1, 2, "2")))
    assert hub.counts().rooms == 4


def test_a_refused_join_leaves_no_trace(hub: HubBySid) -> None:
    with pytest.raises(RequestRejected):
        hub.join("a", properties(1, 2, 3, 4, 5))
    assert hub.counts() == HubCounts(clients=0, rooms=0)
    assert hub.subscription("a") is None


def test_joining_twice_is_the_callers_fault(hub: HubBySid) -> None:
    hub.join("a", RoomSelection())
    with pytest.raises(ValueError, match="joined already"):
        hub.join("a", RoomSelection())


def test_ack_has_the_whole_subscription() -> None:
    assert Subscription().to_ack() == {"ok": True, "regions": None, "properties": []}
    assert Subscription(("TX",), (7,)).to_ack() == {
        "ok": True,
        "regions": ["TX"],
        "properties": [7],
    }


# -- arguments


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (None, RoomSelection()),
        ({}, RoomSelection()),
        ({"regions": None, "properties": None}, RoomSelection()),
        ({"regions": [], "properties": []}, RoomSelection()),
        ({"regions": ["TX", "CA/San Diego"]}, RoomSelection(("TX", "CA/San Diego"))),
        ({"properties": ["p1", 7, -1]}, RoomSelection((), ("p1", 7, -1))),
        ({"properties": [2**53, 2**53 - 1]}, RoomSelection((), (str(2**53), 2**53 - 1))),
        ({"token": 5, "batch": "x", "offset": []}, RoomSelection()),
        ({"regions": ["x" * NAME_LENGTH]}, RoomSelection(("x" * NAME_LENGTH,))),
    ],
)
def test_arguments_of_the_documented_shape_are_read(argument: Any, expected: RoomSelection) -> None:
    assert parse_selection(argument) == expected


@pytest.mark.parametrize(
    ("argument", "came"),
    [
        ("TX", "a string"),
        ("", "an empty string"),
        ([], "a list"),
        (True, "true or false"),
        (0, "a number"),
        (b"TX", "binary data"),
        ({"regions": "TX"}, "a string"),
        ({"regions": {"TX": 1}}, "an object"),
        ({"regions": [""]}, "an empty string"),
        ({"regions": [None]}, "null"),
        ({"regions": [7]}, "a number"),
        ({"regions": [["TX"]]}, "a list"),
        ({"properties": 7}, "a number"),
        ({"properties": [True]}, "true or false"),
        ({"properties": [1.5]}, "a number"),
        ({"properties": [2**64]}, "a number"),
        ({"properties": [{}]}, "an object"),
        ({"properties": [b"x"]}, "binary data"),
    ],
)
def test_other_arguments_are_refused(argument: Any, came: str) -> None:
    with pytest.raises(RequestRejected, match=f"got {came}$") as refused:
        parse_selection(argument)
    assert refused.value.code is Code.BAD_REQUEST


def test_a_name_that_is_too_long_is_refused_without_being_repeated() -> None:
    with pytest.raises(RequestRejected) as refused:
        parse_selection({"regions": ["x" * (NAME_LENGTH + 1)]})
    assert refused.value.code is Code.BAD_REQUEST
    assert "xxx" not in refused.value.message


@pytest.mark.parametrize(
    ("argument", "answer"),
    [(None, False), ({}, False), ({"snapshot": None}, False), ({"snapshot": True}, True)],
)
def test_snapshot_flag_is_set_by_true_only(argument: Any, answer: bool) -> None:
    assert parse_snapshot_flag(argument) is answer


def test_a_snapshot_that_is_neither_true_nor_false_is_refused() -> None:
    with pytest.raises(RequestRejected):
        parse_snapshot_flag({"snapshot": "yes"})


# -- batching and restored clients


def test_batching_client_has_a_subscription_but_is_no_recipient(hub: HubBySid) -> None:
    hub.join("a", regions("TX"), batching=True)
    hub.join("b", regions("TX"))
    assert hears(hub, TX) == ["b"]
    assert hub.subscribe("a", regions("CA")) == Subscription(("TX", "CA"))
    assert hub.unsubscribe("a", regions("TX")) == Subscription(("CA",))
    assert hears(hub, CA) == []
    assert hub.sids == ["a", "b"]
    with pytest.raises(RequestRejected):
        hub.subscribe("a", regions("1", "2", "3", "4"))
    hub.remove("a")
    hub.join("a", regions("CA"))
    assert hears(hub, CA) == ["a"]


def test_restored_client_has_its_earlier_subscription(hub: HubBySid) -> None:
    subscription = Subscription(("TX", "CA"), ("p1",))
    hub.restore("a", subscription)
    assert hub.subscription("a") == subscription
    assert hears(hub, property_room("p1")) == ["a"]
    with pytest.raises(ValueError, match="joined already"):
        hub.restore("a", subscription)


@pytest.mark.parametrize("name", ["\ud800", "TX\udfff", "\ud800" * 10])
@pytest.mark.parametrize("what", ["regions", "properties"])
def test_name_with_half_a_surrogate_pair_is_rejected(what: str, name: str) -> None:
    with pytest.raises(RequestRejected, match="half a surrogate pair"):
        parse_selection({what: [name]})
    assert parse_selection({what: ["é\U0001f4a5"]})
