"""The chaos suite's checker finds what is wrong in a story, and nothing in a true one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from bridge.projection import Projection
from bridge.rooms import regions_of
from tests.chaos.checker import Checker
from tests.chaos.story import Story
from tests.chaos.truth import MARK, Truth
from tests.chaos.violation import Kind
from tests.chaos.world import World

PROJECTION = Projection(published=("name", "state", "price", "address"), region=("state",))
AT = "2026-01-05T09:00:00Z"
EMPTY: dict[str, Any] = {"name": "Here", "state": "TX", "price": 1, "address": None}
Row = dict[str, Any]


def envelope(key: str, before: Row | None, after: Row | None) -> dict[str, Any]:
    """The event of a step, as the contract has it."""
    if after is None:
        data: dict[str, Any] = {"property_id": key, "deleted_at": AT}
        return {"event": "property-deleted", "data": data}
    if before is None:
        return {"event": "property-created", "data": {"property_id": key, **after}}
    changes = {c: {"old": before[c], "new": after[c]} for c in after if before[c] != after[c]}
    data = {"property_id": key, "changes": changes, "updated_at": AT}
    places = [list(regions_of(row, PROJECTION.region)) for row in (before, after)]
    if places[0] != places[1]:
        data["moved"] = dict(zip(("from", "to"), places, strict=True))
        data["property"] = {"property_id": key, **after}
    return {"event": "property-updated", "data": data}


@dataclass
class Play:
    """A table with clients before it. Steps are committed by `commit` and told by `tell`."""

    truth: Truth = field(default_factory=lambda: Truth(PROJECTION))
    told: dict[str, Row] = field(default_factory=dict)
    stories: dict[str, Story] = field(default_factory=dict)
    seq: int = 0
    now: float = 0.0

    def __post_init__(self) -> None:
        self.world = World(PROJECTION)
        self.checker = Checker(self.truth, self.world)
        self.truth.begin([{"id": "a", **EMPTY}])
        self.told["a"] = dict(EMPTY)

    def client(self, name: str, *, snapshots: bool = True, **auth: Any) -> Story:
        """Connects, and takes its snapshot."""
        story = Story(
            name,
            PROJECTION,
            self.world,
            lambda: self.now,
            snapshots=snapshots,
            batches=bool(auth.get("batch")),
        )
        self.stories[name] = story
        self.connect(story, auth)
        return story

    def connect(self, story: Story, auth: Row, *, recovered: bool = False) -> None:
        story.came(auth, recovered=recovered)
        status = {"event": "bridge-status", "data": {"state": "live"}}
        story.told(status, f"e-{self.seq}")
        if not recovered and story.snapshots:
            self.ask(story, "subscribe", auth.get("regions"), snapshot=True)

    def ask(self, story: Story, name: str, regions: Any, *, snapshot: bool = False) -> None:
        """`regions`: all that it hears then."""
        story.asked()
        answer: Row = {"ok": True, "regions": regions, "properties": []}
        if snapshot:
            rows = [
                {"property_id": key, **row}
                for key, row in self.told.items()
                if regions is None or row["state"] in regions
            ]
            answer |= {"offset": f"e-{self.seq}", "snapshot": rows}
        story.answered({"name": name, "argument": {"regions": regions}}, answer)

    def commit(self, key: str, **row: Any) -> None:
        self.truth.commit(key, {**(self.truth.now.get(key) or EMPTY), **row})

    def delete(self, key: str) -> None:
        self.truth.commit(key, None)

    def tell(self, key: str, *clients: Story) -> dict[str, Any]:
        """The present state of the property becomes an event, told to these clients."""
        after = self.truth.now.get(key)
        event = envelope(key, self.told.pop(key, None), after)
        if after is not None:
            self.told[key] = after
        self.seq += 1
        self.repeat(event, *clients)
        return event

    def repeat(self, event: dict[str, Any], *clients: Story) -> None:
        for client in clients:
            client.told(event, f"e-{self.seq}")

    def found(self) -> set[Kind]:
        """What the checker says, once all is quiet."""
        stories = list(self.stories.values())
        found = self.checker.unconverged(stories, self.now)
        return {violation.kind for violation in (*found, *self.checker.judge(stories))}


@pytest.fixture
def play() -> Play:
    return Play()


def test_a_true_story_passes(play: Play) -> None:
    witness, texan = play.client("witness"), play.client("texan", regions=["TX"])
    blind = play.client("blind", snapshots=False)
    play.commit("a", price=2)
    play.tell("a", witness, texan, blind)
    play.commit("b", state="CA")
    play.tell("b", witness, blind)
    play.commit("b", price=7)
    play.commit("b", price=8, name="Unheard of between")
    play.tell("b", witness, blind)
    play.commit("b", state="TX")
    play.tell("b", witness, texan, blind)
    play.commit("a", state=None)
    play.tell("a", witness, texan, blind)
    play.delete("b")
    play.tell("b", witness, texan, blind)
    play.commit("b", price=9)
    play.tell("b", witness, texan, blind)
    assert play.found() == set()
    play.commit("b", price=10)
    play.tell("b", witness, texan, blind)
    assert play.found() == set()


def test_a_client_that_comes_anew_begins_anew(play: Play) -> None:
    witness, client = play.client("witness"), play.client("client")
    client.went("cut")
    play.commit("a", price=2)
    play.tell("a", witness)
    play.connect(client, {})
    play.commit("a", price=3)
    play.tell("a", witness, client)
    assert play.found() == set()


def test_a_snapshot_again_is_no_later_state_that_looks_the_same(play: Play) -> None:
    witness, client = play.client("witness"), play.client("client")
    client.went("cut")
    play.connect(client, {})
    play.commit("a", price=2)
    play.tell("a", witness, client)
    play.commit("a", price=1)
    play.tell("a", witness, client)
    assert play.found() == set()


def test_what_was_asked_for_just_before_the_end_of_a_connection_may_have_been_heard(
    play: Play,
) -> None:
    witness, client = play.client("witness"), play.client("client", regions=["TX"])
    client.asked()
    client.went("cut")
    play.commit("b", state="CA")
    play.tell("b", witness)
    play.connect(client, {"regions": ["TX"]}, recovered=True)
    client.told(envelope("b", None, play.told["b"]), f"e-{play.seq}")
    play.ask(client, "subscribe", ["TX", "CA"], snapshot=True)
    assert play.found() == set()


def test_what_passes_a_client_by_that_may_have_left_a_region_is_no_wrong_old_value(
    play: Play,
) -> None:
    client = play.client("c")
    client.asked()  # to hear CA alone; no ack comes
    client.went("transport error")
    play.commit("a", price=2)
    play.tell("a")
    play.connect(client, {}, recovered=True)
    play.commit("a", price=3, state="CA")
    play.tell("a", client)
    play.ask(client, "subscribe", ["CA"])
    assert play.found() == set()


def test_a_wrong_old_value_is_found_again_once_it_is_known_what_a_client_hears(play: Play) -> None:
    client = play.client("c")
    client.asked()
    client.went("transport error")
    play.connect(client, {}, recovered=True)
    play.ask(client, "subscribe", ["TX"])
    play.commit("a", price=2)
    play.tell("a")
    play.commit("a", price=3)
    play.tell("a", client)
    assert Kind.WRONG_OLD in play.found()


def test_a_large_value_may_be_of_before_for_a_while(play: Play) -> None:
    play.truth.leaves_out = True
    witness = play.client("witness")
    old, new = "x" * 2000, "y" * 2000
    play.commit("a", address=old)
    play.tell("a", witness)
    play.commit("a", address=new)  # lost
    play.commit("a", price=2)
    blend = {**play.told["a"], "price": 2}
    play.seq += 1
    play.repeat(envelope("a", play.told["a"], blend), witness)
    play.told["a"] = blend
    play.tell("a", witness)
    assert play.found() == set()
    assert play.checker.blended == 1


def test_a_lost_event_is_found(play: Play) -> None:
    witness, client = play.client("witness"), play.client("client")
    play.commit("a", price=2)
    play.tell("a", witness)
    play.commit("a", name="Other")
    play.tell("a", witness, client)
    assert play.found() == {Kind.LOST, Kind.UNCONVERGED, Kind.INVENTED}


def test_a_property_that_came_and_went_unheard_is_found(play: Play) -> None:
    witness, client = play.client("witness"), play.client("client")
    client.went("cut")
    play.commit("b", price=2)
    play.tell("b", witness)
    play.delete("b")
    play.tell("b", witness)
    play.connect(client, {}, recovered=True)
    assert play.found() == {Kind.LOST}


def test_a_recovery_in_part_is_found(play: Play) -> None:
    witness, client = play.client("witness"), play.client("client")
    client.went("cut")
    for price in (2, 3):
        play.commit("a", price=price)
        event = play.tell("a", witness)
    play.connect(client, {}, recovered=True)
    client.told(event, f"e-{play.seq}")
    assert play.found() == {Kind.LOST, Kind.WRONG_OLD}


def test_an_event_that_comes_again_is_found(play: Play) -> None:
    witness, client = play.client("witness"), play.client("client")
    play.commit("a", price=2)
    event = play.tell("a", witness, client)
    play.repeat(event, client)
    assert play.found() == {Kind.REPEATED, Kind.WRONG_OLD}


def test_a_change_that_is_told_twice_to_all_is_found(play: Play) -> None:
    witness = play.client("witness")
    play.commit("a", price=2)
    event = play.tell("a", witness)
    play.seq += 1
    play.repeat(event, witness)
    assert play.found() == {Kind.REPEATED, Kind.WRONG_OLD}


def test_a_state_of_before_is_found(play: Play) -> None:
    witness = play.client("witness")
    play.commit("a", price=2)
    play.commit("a", price=3)
    first, second, third = EMPTY, {**EMPTY, "price": 2}, {**EMPTY, "price": 3}
    for step in ((first, third), (third, second), (second, third)):
        play.seq += 1
        play.repeat(envelope("a", *step), witness)
    # The third place was told already when the second one came.
    assert play.found() == {Kind.DISORDERED, Kind.REPEATED}


def test_a_position_of_before_is_found(play: Play) -> None:
    witness = play.client("witness")
    play.commit("a", price=2)
    play.seq = 7
    play.tell("a", witness)
    play.commit("a", price=3)
    play.seq = 2
    play.tell("a", witness)
    assert Kind.DISORDERED in play.found()


def test_a_state_that_never_was_is_found(play: Play) -> None:
    witness = play.client("witness")
    play.seq += 1
    play.repeat(envelope("a", EMPTY, {**EMPTY, "price": 99}), witness)
    assert play.found() == {Kind.INVENTED, Kind.UNCONVERGED}


def test_a_large_value_of_before_is_found_where_none_is_left_out(play: Play) -> None:
    witness = play.client("witness")
    for text in ("x" * 2000, "y" * 2000):
        play.commit("a", address=text)
    play.commit("a", price=2)
    told = {**EMPTY, "address": "x" * 2000}
    play.seq += 1
    play.repeat(envelope("a", EMPTY, told), witness)
    play.seq += 1
    play.repeat(envelope("a", told, {**told, "price": 2}), witness)
    assert play.found() == {Kind.INVENTED, Kind.UNCONVERGED}


def test_an_old_value_that_was_never_told_is_found(play: Play) -> None:
    witness = play.client("witness")
    play.commit("a", price=2)
    play.commit("a", price=3)
    play.seq += 1
    play.repeat(envelope("a", {**EMPTY, "price": 2}, {**EMPTY, "price": 3}), witness)
    assert play.found() == {Kind.WRONG_OLD}


def test_a_wrong_old_value_of_a_property_new_to_a_client_is_found(play: Play) -> None:
    play.client("witness")
    blind = play.client("blind", snapshots=False)
    play.commit("a", price=3)
    play.seq += 1
    play.repeat(envelope("a", {**EMPTY, "price": 2}, {**EMPTY, "price": 3}), blind)
    assert Kind.WRONG_OLD in play.found()


@pytest.mark.parametrize("where", ["a value", "a field"])
def test_what_is_not_published_is_found(play: Play, where: str) -> None:
    witness = play.client("witness")
    play.commit("b", name=MARK if where == "a value" else "Fine")
    event = envelope("b", None, play.truth.now["b"])
    if where == "a field":
        event["data"]["owner_contact"] = "somebody"
    play.seq += 1
    play.repeat(event, witness)
    assert play.found() == {Kind.UNPUBLISHED}


def test_who_does_not_come_to_the_table_is_found(play: Play) -> None:
    play.client("witness")
    play.commit("a", price=2)
    assert play.found() == {Kind.UNCONVERGED}


def test_who_holds_what_is_gone_is_found(play: Play) -> None:
    witness, client = play.client("witness"), play.client("client")
    play.delete("a")
    play.tell("a", witness)
    assert client.connected
    assert play.found() == {Kind.LOST, Kind.UNCONVERGED}


def test_an_event_of_another_region_is_found(play: Play) -> None:
    witness, texan = play.client("witness"), play.client("texan", regions=["TX"])
    play.commit("b", state="CA")
    play.tell("b", witness, texan)
    assert play.found() == {Kind.STRANGER, Kind.UNCONVERGED}


def test_one_position_with_two_events_is_found(play: Play) -> None:
    witness, client = play.client("witness"), play.client("client")
    play.commit("a", price=2)
    event = play.tell("a", witness)
    other = {**event, "data": {**event["data"], "updated_at": "2026-01-05T09:00:01Z"}}
    play.repeat(other, client)
    assert play.found() == {Kind.FORKED}


def test_a_snapshot_that_is_not_what_was_told_is_found(play: Play) -> None:
    witness = play.client("witness")
    play.commit("a", price=2)
    play.tell("a", witness)
    play.told["a"] = dict(EMPTY)
    play.client("late")
    assert play.found() == {Kind.SNAPSHOT, Kind.UNCONVERGED}


def test_a_move_that_was_not_told_is_found(play: Play) -> None:
    witness = play.client("witness")
    play.commit("a", state="CA")
    play.seq += 1
    event = envelope("a", EMPTY, play.truth.now["a"])
    event["data"]["moved"]["from"] = ["NY"]
    play.repeat(event, witness)
    assert play.found() == {Kind.WRONG_OLD}


def test_a_batch_that_does_not_follow_is_found(play: Play) -> None:
    play.client("witness", snapshots=False)
    client = play.client("client", batch=True)
    play.commit("a", price=2)
    play.commit("a", price=3)
    event = envelope("a", {**EMPTY, "price": 2}, {**EMPTY, "price": 3})
    client.told({"event": "properties-batch", "data": {"events": [event]}}, "e-2")
    assert play.found() == {Kind.WRONG_OLD}
