"""The checker of the random runs reports each violation, and none in a correct run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from bridge.projection import Projection
from bridge.rooms import regions_of
from tests.chaos.checker import Checker
from tests.chaos.client_session import ClientSession
from tests.chaos.published_log import PublishedLog
from tests.support.expected_table import UNPUBLISHED_MARK, ExpectedTable
from tests.support.violations import Kind

PROJECTION = Projection(published=("name", "state", "price", "address"), region=("state",))
AT = "2026-01-05T09:00:00Z"
EMPTY: dict[str, Any] = {"name": "Here", "state": "TX", "price": 1, "address": None}
Row = dict[str, Any]


def envelope(key: str, before: Row | None, after: Row | None) -> dict[str, Any]:
    """Return the event between two states, as the contract defines it."""
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
class Bridge:
    """A table with clients. `commit` changes the table, `publish` sends the change to clients."""

    table: ExpectedTable = field(default_factory=lambda: ExpectedTable(PROJECTION))
    published: dict[str, Row] = field(default_factory=dict)
    clients: dict[str, ClientSession] = field(default_factory=dict)
    seq: int = 0
    now: float = 0.0

    def __post_init__(self) -> None:
        self.log = PublishedLog(PROJECTION)
        self.checker = Checker(self.table, self.log)
        self.table.load([{"id": "a", **EMPTY}])
        self.published["a"] = dict(EMPTY)

    def client(self, name: str, *, snapshots: bool = True, **auth: Any) -> ClientSession:
        """Return a client that has connected and has taken its snapshot."""
        client = ClientSession(
            name,
            PROJECTION,
            self.log,
            lambda: self.now,
            snapshots=snapshots,
            batches=bool(auth.get("batch")),
        )
        self.clients[name] = client
        self.connect(client, auth)
        return client

    def connect(self, client: ClientSession, auth: Row, *, recovered: bool = False) -> None:
        client.on_connect(auth, recovered=recovered)
        status = {"event": "bridge-status", "data": {"state": "live"}}
        client.receive(status, f"e-{self.seq}")
        if not recovered and client.snapshots:
            self.request(client, "subscribe", auth.get("regions"), snapshot=True)

    def request(
        self, client: ClientSession, name: str, regions: Any, *, snapshot: bool = False
    ) -> None:
        """Send a request whose ack names `regions`."""
        client.on_request()
        ack: Row = {"ok": True, "regions": regions, "properties": []}
        if snapshot:
            rows = [
                {"property_id": key, **row}
                for key, row in self.published.items()
                if regions is None or row["state"] in regions
            ]
            ack |= {"offset": f"e-{self.seq}", "snapshot": rows}
        client.on_ack({"name": name, "argument": {"regions": regions}}, ack)

    def commit(self, key: str, **row: Any) -> None:
        self.table.commit(key, {**(self.table.rows.get(key) or EMPTY), **row})

    def delete(self, key: str) -> None:
        self.table.commit(key, None)

    def publish(self, key: str, *clients: ClientSession) -> dict[str, Any]:
        """Send the present state of the property, as an event, to these clients."""
        after = self.table.rows.get(key)
        event = envelope(key, self.published.pop(key, None), after)
        if after is not None:
            self.published[key] = after
        self.seq += 1
        self.send(event, *clients)
        return event

    def send(self, event: dict[str, Any], *clients: ClientSession) -> None:
        """Send an event at the present position."""
        for client in clients:
            client.receive(event, f"e-{self.seq}")

    def found(self) -> set[Kind]:
        """Return the kinds of all violations."""
        clients = list(self.clients.values())
        found = self.checker.unconverged(clients, self.now)
        return {violation.kind for violation in (*found, *self.checker.check(clients))}


@pytest.fixture
def bridge() -> Bridge:
    return Bridge()


def test_correct_run_has_no_violation(bridge: Bridge) -> None:
    reference, texan = bridge.client("reference"), bridge.client("texan", regions=["TX"])
    blind = bridge.client("blind", snapshots=False)
    bridge.commit("a", price=2)
    bridge.publish("a", reference, texan, blind)
    bridge.commit("b", state="CA")
    bridge.publish("b", reference, blind)
    bridge.commit("b", price=7)
    bridge.commit("b", price=8, name="Not published")
    bridge.publish("b", reference, blind)
    bridge.commit("b", state="TX")
    bridge.publish("b", reference, texan, blind)
    bridge.commit("a", state=None)
    bridge.publish("a", reference, texan, blind)
    bridge.delete("b")
    bridge.publish("b", reference, texan, blind)
    bridge.commit("b", price=9)
    bridge.publish("b", reference, texan, blind)
    assert bridge.found() == set()
    bridge.commit("b", price=10)
    bridge.publish("b", reference, texan, blind)
    assert bridge.found() == set()


def test_new_session_forgets_the_rows_of_the_session_before(bridge: Bridge) -> None:
    reference, client = bridge.client("reference"), bridge.client("client")
    client.on_disconnect("cut")
    bridge.commit("a", price=2)
    bridge.publish("a", reference)
    bridge.connect(client, {})
    bridge.commit("a", price=3)
    bridge.publish("a", reference, client)
    assert bridge.found() == set()


def test_repeated_snapshot_is_not_taken_for_a_later_equal_state(bridge: Bridge) -> None:
    reference, client = bridge.client("reference"), bridge.client("client")
    client.on_disconnect("cut")
    bridge.connect(client, {})
    bridge.commit("a", price=2)
    bridge.publish("a", reference, client)
    bridge.commit("a", price=1)
    bridge.publish("a", reference, client)
    assert bridge.found() == set()


def test_event_of_an_unacknowledged_subscription_is_no_violation(
    bridge: Bridge,
) -> None:
    reference, client = bridge.client("reference"), bridge.client("client", regions=["TX"])
    client.on_request()
    client.on_disconnect("cut")
    bridge.commit("b", state="CA")
    bridge.publish("b", reference)
    bridge.connect(client, {"regions": ["TX"]}, recovered=True)
    client.receive(envelope("b", None, bridge.published["b"]), f"e-{bridge.seq}")
    bridge.request(client, "subscribe", ["TX", "CA"], snapshot=True)
    assert bridge.found() == set()


def test_event_missed_under_an_unacknowledged_subscription_is_no_wrong_old_value(
    bridge: Bridge,
) -> None:
    client = bridge.client("c")
    client.on_request()  # a subscription to CA alone, without an ack
    client.on_disconnect("transport error")
    bridge.commit("a", price=2)
    bridge.publish("a")
    bridge.connect(client, {}, recovered=True)
    bridge.commit("a", price=3, state="CA")
    bridge.publish("a", client)
    bridge.request(client, "subscribe", ["CA"])
    assert bridge.found() == set()


def test_wrong_old_value_is_reported_again_after_the_ack_of_a_subscription(bridge: Bridge) -> None:
    client = bridge.client("c")
    client.on_request()
    client.on_disconnect("transport error")
    bridge.connect(client, {}, recovered=True)
    bridge.request(client, "subscribe", ["TX"])
    bridge.commit("a", price=2)
    bridge.publish("a")
    bridge.commit("a", price=3)
    bridge.publish("a", client)
    assert Kind.WRONG_OLD in bridge.found()


def test_earlier_large_value_is_counted_where_the_stream_omits_it(bridge: Bridge) -> None:
    bridge.table.omits_large_values = True
    reference = bridge.client("reference")
    old, new = "x" * 2000, "y" * 2000
    bridge.commit("a", address=old)
    bridge.publish("a", reference)
    bridge.commit("a", address=new)  # lost
    bridge.commit("a", price=2)
    blend = {**bridge.published["a"], "price": 2}
    bridge.seq += 1
    bridge.send(envelope("a", bridge.published["a"], blend), reference)
    bridge.published["a"] = blend
    bridge.publish("a", reference)
    assert bridge.found() == set()
    assert bridge.checker.states.blended == 1


def test_lost_event_is_reported(bridge: Bridge) -> None:
    reference, client = bridge.client("reference"), bridge.client("client")
    bridge.commit("a", price=2)
    bridge.publish("a", reference)
    bridge.commit("a", name="Other")
    bridge.publish("a", reference, client)
    assert bridge.found() == {Kind.LOST, Kind.UNCONVERGED, Kind.INVENTED}


def test_lost_property_is_reported_though_it_was_deleted(bridge: Bridge) -> None:
    reference, client = bridge.client("reference"), bridge.client("client")
    client.on_disconnect("cut")
    bridge.commit("b", price=2)
    bridge.publish("b", reference)
    bridge.delete("b")
    bridge.publish("b", reference)
    bridge.connect(client, {}, recovered=True)
    assert bridge.found() == {Kind.LOST}


def test_partial_recovery_is_reported(bridge: Bridge) -> None:
    reference, client = bridge.client("reference"), bridge.client("client")
    client.on_disconnect("cut")
    for price in (2, 3):
        bridge.commit("a", price=price)
        event = bridge.publish("a", reference)
    bridge.connect(client, {}, recovered=True)
    client.receive(event, f"e-{bridge.seq}")
    assert bridge.found() == {Kind.LOST, Kind.WRONG_OLD}


def test_repeated_event_is_reported(bridge: Bridge) -> None:
    reference, client = bridge.client("reference"), bridge.client("client")
    bridge.commit("a", price=2)
    event = bridge.publish("a", reference, client)
    bridge.send(event, client)
    assert bridge.found() == {Kind.REPEATED, Kind.WRONG_OLD}


def test_change_published_twice_is_reported(bridge: Bridge) -> None:
    reference = bridge.client("reference")
    bridge.commit("a", price=2)
    event = bridge.publish("a", reference)
    bridge.seq += 1
    bridge.send(event, reference)
    assert bridge.found() == {Kind.REPEATED, Kind.WRONG_OLD}


def test_earlier_state_is_reported(bridge: Bridge) -> None:
    reference = bridge.client("reference")
    bridge.commit("a", price=2)
    bridge.commit("a", price=3)
    first, second, third = EMPTY, {**EMPTY, "price": 2}, {**EMPTY, "price": 3}
    for step in ((first, third), (third, second), (second, third)):
        bridge.seq += 1
        bridge.send(envelope("a", *step), reference)
    # The third state was received before the second one.
    assert bridge.found() == {Kind.DISORDERED, Kind.REPEATED}


def test_earlier_position_is_reported(bridge: Bridge) -> None:
    reference = bridge.client("reference")
    bridge.commit("a", price=2)
    bridge.seq = 7
    bridge.publish("a", reference)
    bridge.commit("a", price=3)
    bridge.seq = 2
    bridge.publish("a", reference)
    assert Kind.DISORDERED in bridge.found()


def test_state_that_was_never_committed_is_reported(bridge: Bridge) -> None:
    reference = bridge.client("reference")
    bridge.seq += 1
    bridge.send(envelope("a", EMPTY, {**EMPTY, "price": 99}), reference)
    assert bridge.found() == {Kind.INVENTED, Kind.UNCONVERGED}


def test_earlier_large_value_is_reported_where_the_stream_omits_none(bridge: Bridge) -> None:
    reference = bridge.client("reference")
    for text in ("x" * 2000, "y" * 2000):
        bridge.commit("a", address=text)
    bridge.commit("a", price=2)
    blended = {**EMPTY, "address": "x" * 2000}
    bridge.seq += 1
    bridge.send(envelope("a", EMPTY, blended), reference)
    bridge.seq += 1
    bridge.send(envelope("a", blended, {**blended, "price": 2}), reference)
    assert bridge.found() == {Kind.INVENTED, Kind.UNCONVERGED}


def test_old_value_that_was_never_published_is_reported(bridge: Bridge) -> None:
    reference = bridge.client("reference")
    bridge.commit("a", price=2)
    bridge.commit("a", price=3)
    bridge.seq += 1
    bridge.send(envelope("a", {**EMPTY, "price": 2}, {**EMPTY, "price": 3}), reference)
    assert bridge.found() == {Kind.WRONG_OLD}


def test_wrong_old_value_for_a_client_without_snapshots_is_reported(bridge: Bridge) -> None:
    bridge.client("reference")
    blind = bridge.client("blind", snapshots=False)
    bridge.commit("a", price=3)
    bridge.seq += 1
    bridge.send(envelope("a", {**EMPTY, "price": 2}, {**EMPTY, "price": 3}), blind)
    assert Kind.WRONG_OLD in bridge.found()


@pytest.mark.parametrize("where", ["a value", "a field"])
def test_unpublished_value_or_field_is_reported(bridge: Bridge, where: str) -> None:
    reference = bridge.client("reference")
    bridge.commit("b", name=UNPUBLISHED_MARK if where == "a value" else "Fine")
    event = envelope("b", None, bridge.table.rows["b"])
    if where == "a field":
        event["data"]["owner_contact"] = "somebody"
    bridge.seq += 1
    bridge.send(event, reference)
    assert bridge.found() == {Kind.UNPUBLISHED}


def test_client_without_the_last_state_is_reported(bridge: Bridge) -> None:
    bridge.client("reference")
    bridge.commit("a", price=2)
    assert bridge.found() == {Kind.UNCONVERGED}


def test_client_with_a_deleted_row_is_reported(bridge: Bridge) -> None:
    reference, client = bridge.client("reference"), bridge.client("client")
    bridge.delete("a")
    bridge.publish("a", reference)
    assert client.connected
    assert bridge.found() == {Kind.LOST, Kind.UNCONVERGED}


def test_event_outside_of_the_subscription_is_reported(bridge: Bridge) -> None:
    reference, texan = bridge.client("reference"), bridge.client("texan", regions=["TX"])
    bridge.commit("b", state="CA")
    bridge.publish("b", reference, texan)
    assert bridge.found() == {Kind.UNSUBSCRIBED, Kind.UNCONVERGED}


def test_position_with_two_events_is_reported(bridge: Bridge) -> None:
    reference, client = bridge.client("reference"), bridge.client("client")
    bridge.commit("a", price=2)
    event = bridge.publish("a", reference)
    other = {**event, "data": {**event["data"], "updated_at": "2026-01-05T09:00:01Z"}}
    bridge.send(other, client)
    assert bridge.found() == {Kind.FORKED}


def test_snapshot_that_differs_from_the_events_is_reported(bridge: Bridge) -> None:
    reference = bridge.client("reference")
    bridge.commit("a", price=2)
    bridge.publish("a", reference)
    bridge.published["a"] = dict(EMPTY)
    bridge.client("late")
    assert bridge.found() == {Kind.SNAPSHOT, Kind.UNCONVERGED}


def test_move_from_a_wrong_region_is_reported(bridge: Bridge) -> None:
    reference = bridge.client("reference")
    bridge.commit("a", state="CA")
    bridge.seq += 1
    event = envelope("a", EMPTY, bridge.table.rows["a"])
    event["data"]["moved"]["from"] = ["NY"]
    bridge.send(event, reference)
    assert bridge.found() == {Kind.WRONG_OLD}


def test_batch_that_does_not_follow_is_reported(bridge: Bridge) -> None:
    bridge.client("reference", snapshots=False)
    client = bridge.client("client", batch=True)
    bridge.commit("a", price=2)
    bridge.commit("a", price=3)
    event = envelope("a", {**EMPTY, "price": 2}, {**EMPTY, "price": 3})
    client.receive({"event": "properties-batch", "data": {"events": [event]}}, "e-2")
    assert bridge.found() == {Kind.WRONG_OLD}
