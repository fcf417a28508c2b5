"""Clients with all kinds of rights connect, subscribe, receive other rights, drop and reconnect
while rows change: each has the part of the table that its rights cover, and received nothing
beyond it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, cast

import orjson
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from bridge.clock import ManualClock
from bridge.contract.parse import RoomSelection
from bridge.errors import Code, RequestRejected
from bridge.gateway.client import Connection
from bridge.gateway.clients import ClientRegistry
from bridge.gateway.connect import ConnectHandler
from bridge.gateway.delivery.batcher import Batcher
from bridge.gateway.hub import Hub
from bridge.gateway.recovery.sessions import RecoveryLimits, RecoverySessions
from bridge.gateway.snapshot import Snapshots
from bridge.gateway.subscription import Subscription
from bridge.log.memory import MemoryEventLog
from bridge.pipeline import diff
from bridge.projection import Projection
from bridge.rights import UNRESTRICTED, Rights
from bridge.rooms import regions_of
from bridge.rows import RowStore
from tests.property.world import stamp
from tests.support.examples import examples

if TYPE_CHECKING:
    from collections.abc import Collection

    from bridge.gateway.client import ClientSession
    from bridge.gateway.delivery.writer import ClientWriter
    from bridge.gateway.engineio.encoding import EncodedPackets
    from bridge.gateway.engineio.session import EngineSession
    from bridge.log.base import Entry

PROJECTION = Projection(
    published=("name", "state", "price"), member=("owner", "notes"), region=("state", "city")
)
PLACES = [("TX", "Austin"), ("TX", "Dallas"), ("CA", "Reno"), (None, "Nowhere")]
KEYS = ["p1", "p2", 3]
NAMES = ["ann", "bob", "eve"]

rights = st.sampled_from(
    [
        UNRESTRICTED,
        Rights(view="member", user="m"),
        Rights(user="u"),
        Rights(("TX",), user="u"),
        Rights(("TX",), "member", "u"),
        Rights(("TX", "CA"), user="u"),
        Rights(("TX", "CA"), "member", "u"),
        Rights(("TX/Austin", "CA"), user="u"),
        Rights((), user="u"),
        Rights(("TX",), user="other"),
    ]
)
wanteds = st.sampled_from(
    [
        RoomSelection(),
        RoomSelection(),
        RoomSelection(("TX",)),
        RoomSelection(("CA", "TX/Austin")),
        RoomSelection((), ("p1",)),
        RoomSelection(("CA",), ("p1", 3)),
    ]
)


@dataclass
class Client:
    """Applies events as the contract specifies, and checks every byte."""

    batch: bool
    sid: str = ""
    pid: str = ""
    offset: str | None = None
    connected: bool = True
    rights: Rights = UNRESTRICTED
    subscription: Subscription = field(default_factory=Subscription)
    known: dict[Any, dict[str, Any]] = field(default_factory=dict)
    asked: int = 0  # requests without a complete answer yet
    astray: bool = False  # an answer was lost: its state is of no use until the next full snapshot
    wire: list[tuple[str, Any, str]] = field(default_factory=list)

    def told(self, name: str, what: Any, position: str = "") -> None:
        """Send to the client, under its present rights."""
        if isinstance(what, bytes):
            self._check(what)
        self.wire.append((name, what, position))

    def _check(self, told: bytes) -> None:
        if self.rights.view == "public":
            for secret in (b"SECRET", b'"owner"', b'"notes"'):
                assert secret not in told
        for state, city in PLACES:
            place = regions_of({"state": state, "city": city}, PROJECTION.region)
            if not self.rights.can_read_row(place):
                assert f"at:{state}/{city}:".encode() not in told

    def arrive(self, count: int) -> None:
        for name, told, position in self.wire[:count]:
            if name == "snapshot":
                for row in orjson.loads(b"[" + told + b"]"):
                    self.known[row["property_id"]] = row
            elif name == "subscription":
                self.subscription = told
                self.known = {k: row for k, row in self.known.items() if self._mine(k, row)}
            elif name == "fresh":
                self.known, self.astray = {}, False
            elif name == "answered":
                self.asked -= 1
            else:
                data = orjson.loads(told)["data"]
                for event in data["events"] if name == "properties-batch" else [orjson.loads(told)]:
                    self._hear(event["event"], event["data"])
                self.offset = position
        del self.wire[:count]

    def _hear(self, name: str, data: dict[str, Any]) -> None:
        key = data["property_id"]
        if self.astray:
            return
        if name == "property-created":
            self.known[key] = data
        elif name == "property-deleted":
            self.known.pop(key, None)
        elif "moved" in data:
            self.known.pop(key, None)
            if self._follows(key, data["moved"]["to"]):
                self.known[key] = data["property"]
        elif key in self.known:
            assert data["changes"], "an update that says nothing"
            for column, change in data["changes"].items():
                assert self.known[key][column] == change["old"], "an old value never told"
                assert change["old"] != change["new"]
                self.known[key][column] = change["new"]

    def _follows(self, key: Any, regions: list[str]) -> bool:
        mine = self.subscription
        return (
            mine.regions is None
            or str(key) in map(str, mine.properties)
            or not set(regions).isdisjoint(mine.regions)
        )

    def _mine(self, key: Any, row: dict[str, Any]) -> bool:
        # In these tests the name of a row has its exact regions.
        state, _, place = row["name"].split(":")[1].partition("/")
        return self._follows(key, [state, f"{state}/{place}"] if state != "None" else [])


class Wire:
    """Stands for the writer and the connections: packets reach clients in order."""

    closed = False

    def __init__(self, registry: ClientRegistry) -> None:
        self.registry = registry
        self.clients: dict[ClientSession, Client] = {}  # the connected ones
        self.arriving: Client | None = None
        self.refusals: list[dict[str, Any]] = []

    # -- as a connection

    def send_packets(self, packets: EncodedPackets) -> None:
        [packet] = packets.packets
        assert packet.data[0] == "4"
        self.refusals.append(orjson.loads(packet.data[1:])["data"])

    # -- as the writer

    def attach(self, client: ClientSession, *, positions: bool) -> bool:
        assert self.arriving is not None
        self.clients[client] = self.arriving
        return positions

    def detach(self, client: ClientSession) -> None:
        self.clients.pop(client, None)

    def abort(self, client: ClientSession) -> None:
        self.registry.remove(client)

    def pause(self, client: ClientSession, _seconds: float) -> None:
        assert client in self.clients  # packets wait anyway, until the machine runs `arrives`

    def send_packet(self, to: ClientSession, text: str) -> None:
        client, said = self.clients[to], orjson.loads(text[1:])
        if said["pid"] != client.pid:
            client.offset, client.known, client.astray = None, {}, False
        client.sid, client.pid = said["sid"], said["pid"]

    def send_event(self, to: ClientSession, name: str, envelope: bytes, position: str) -> None:
        self.clients[to].told(name, envelope, position)

    def broadcast(self, entry: Entry, clients: Collection[ClientSession]) -> None:
        for client in clients:
            if client in self.clients:
                event = entry.event
                self.clients[client].told(event.name, event.envelope, str(entry.position))


class Rightful(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.commits = 0
        self.table: dict[Any, dict[str, Any]] = {}
        self.rows = RowStore(PROJECTION.known)
        self.log = MemoryEventLog(10**6, 10**6)
        self.registry = ClientRegistry()
        self.edge = Wire(self.registry)
        self.sessions = RecoverySessions(RecoveryLimits(10**6, 100, 10**6, 10**9))
        self.snapshots = Snapshots(self.rows, PROJECTION, page_bytes=200)
        self.runner.run(self.snapshots.build())
        self.hub = Hub(
            deliver=self.edge.broadcast,
            max_rooms=10,
            regions_of_key=self.snapshots.regions_of_key,
        )
        self.window = Batcher(deliver=self.edge.broadcast, seconds=10**6, updated_at="updated_at")
        self.arrival = ConnectHandler(
            clients=self.registry,
            writer=cast("ClientWriter", self.edge),
            hub=self.hub,
            batcher=self.window,
            sessions=self.sessions,
            log=self.log,
            clock=ManualClock(),
            updated_at="updated_at",
            new_sid=map("s{}".format, count(1)).__next__,
        )
        self.registry.on_remove(
            (self._end_session, self.hub.remove, self.window.remove, self.edge.detach)
        )
        self.clients: dict[str, Client] = {}

    def teardown(self) -> None:
        try:
            self.settle()
        finally:
            self.window.close()
            self.runner.close()

    # -- the table

    @rule(
        key=st.sampled_from(KEYS),
        place=st.none() | st.sampled_from(PLACES),
        public=st.booleans(),
        secret=st.booleans(),
    )
    def write(self, key: Any, place: Any, public: bool, secret: bool) -> None:
        self.commits += 1
        before = self.table.get(key)
        row = dict(before or {"price": 0, "owner": None, "notes": None})
        if before is None or place is not None:
            row["state"], row["city"] = place or PLACES[0]
        here = f"at:{row['state']}/{row['city']}:"
        if public or not row.get("name", "").startswith(here):
            row["name"], row["price"] = f"{here}{self.commits}", self.commits
        if secret:
            row["owner"], row["notes"] = f"SECRET{self.commits}", [{"SECRET": self.commits}]
        row["updated_at"] = stamp(self.commits)
        self.table[key] = row
        self._tell(key, before, row)

    @precondition(lambda self: self.table)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        self.commits += 1
        key = data.draw(st.sampled_from(list(self.table)))
        self._tell(key, self.table.pop(key), None)

    def _tell(self, key: Any, old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
        events = diff.events_between(PROJECTION, key, old, new, stamp(self.commits))

        async def publish() -> None:
            entries = (await self.log.append(events, [])).entries
            self.rows.apply([(key, None if new is None else self.rows.encode(new))])
            self.snapshots.apply(entries)
            self.hub.publish(entries)
            self.window.add(entries)

        self.runner.run(publish())

    # -- clients

    @rule(name=st.sampled_from(NAMES), what=wanteds, has=rights, batch=st.booleans())
    def comes(self, name: str, what: RoomSelection, has: Rights, batch: bool) -> None:
        client = self.clients.get(name)
        if client is None:
            client = Client(batch)
        session = self.sessions.by_pid(client.pid)
        before = None if session is None else [s.rights for _, s in session.subscriptions]
        auth: dict[str, Any] = {
            "regions": list(what.regions),
            "properties": list(what.properties),
            "batch": client.batch,
        }
        if client.pid:
            auth |= {"pid": client.pid, "offset": client.offset}
        former, unanswered = client.sid, client.asked > 0 or client.astray
        client.asked = 0
        client.wire, client.connected, client.rights = [], True, has
        self.edge.arriving = client
        self.edge.refusals.clear()
        connection = Connection("eio", cast("EngineSession", self.edge))
        session_client = self.arrival.accept(connection, auth, has)
        if session_client is None:
            [refusal] = self.edge.refusals
            self._check_refusal(refusal["code"], what, has)
            self.clients.pop(name, None)
            self._leave(former)
            return
        self.clients[name] = client
        if session_client.sid == former:
            assert before is not None
            assert {(r.user, r.view) for r in before[-1:]} == {(has.user, has.view)}
            if unanswered:
                client.astray = True
                self._asks_for_all(client)
            return
        assert before is None or set(before) != {has}, "it had to recover"
        if former:
            self._leave(former)
        self._subscribed(client, what)

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def comes_back_as_it_was(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(list(self.clients)))
        client = self.clients[name]
        self.comes(name, RoomSelection(), client.rights, client.batch)

    @precondition(lambda self: any(c.connected for c in self.clients.values()))
    @rule(data=st.data(), what=wanteds, away=st.booleans())
    def subscribes(self, data: st.DataObject, what: RoomSelection, away: bool) -> None:
        client = self._connected(data)
        before = self._session(client).subscription
        change = self.hub.unsubscribe if away else self.hub.subscribe
        try:
            after = change(self._session(client), what)
        except RequestRejected as refused:
            self._check_refusal(refused.code, what, client.rights)
            assert self._session(client).subscription == before
            return
        self._changed(client, after)
        self._subscribed(client, RoomSelection((), ("none",)) if away else what)

    @precondition(lambda self: any(c.connected for c in self.clients.values()))
    @rule(data=st.data(), has=rights)
    def is_given_other_rights(self, data: st.DataObject, has: Rights) -> None:
        client = self._connected(data)
        after = self.hub.set_rights(self._session(client), has)
        self._changed(client, after)
        client.rights = has
        self._asks_for_all(client)

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), noticed=st.booleans())
    def drops(self, data: st.DataObject, noticed: bool) -> None:
        client = data.draw(st.sampled_from(list(self.clients.values())))
        client.connected = False
        client.wire = []
        if noticed:
            self._leave(client.sid)

    @precondition(lambda self: any(c.connected for c in self.clients.values()))
    @rule(data=st.data(), count=st.integers(1, 5))
    def arrives(self, data: st.DataObject, count: int) -> None:
        self._connected(data).arrive(count)

    @rule()
    def a_window_ends(self) -> None:
        self.window.flush()

    @rule()
    def settle(self) -> None:
        self.window.flush()
        for client in self.clients.values():
            if client.connected:
                client.arrive(len(client.wire))
                assert self._shown(client.known) == self._visible(client)

    # -- inside

    def _connected(self, data: st.DataObject) -> Client:
        return data.draw(st.sampled_from([c for c in self.clients.values() if c.connected]))

    def _changed(self, client: Client, after: Subscription) -> None:
        """As the gateway does."""
        session = self._session(client)
        assert session.recovery is not None
        self.sessions.change(session.recovery, after, self.log.head)
        if session.batching:
            self.window.set(session)

    def _session(self, client: Client) -> ClientSession:
        session = self.registry.get(client.sid)
        assert session is not None
        return session

    def _end_session(self, client: ClientSession) -> None:
        if client.recovery is not None:
            self.sessions.disconnected(client.recovery, 0.0)

    def _asks_for_all(self, client: Client) -> None:
        """The client drops its state and requests the rows of its whole subscription."""
        now = self._session(client).subscription
        assert now is not None
        self.window.flush_one(self._session(client))
        client.told("fresh", None)
        what = RoomSelection(now.regions or (), now.properties)
        self._subscribed(client, what, all_=now.regions is None)

    def _subscribed(self, client: Client, what: RoomSelection, *, all_: bool = False) -> None:
        """The client receives its subscription, with a snapshot of what was added."""
        self.window.flush_one(self._session(client))
        now = self._session(client).subscription
        assert now is not None
        client.told("subscription", now)
        client.asked += 1
        nothing = what.is_empty and now.regions is not None and not all_
        after = None
        while not nothing:
            page = self.snapshots.page(what, after, now.rights)
            client.told("snapshot", page.rows)
            after = page.more
            if after is None:
                break
        client.told("answered", None)

    def _leave(self, sid: str) -> None:
        session = self.registry.get(sid)
        if session is not None:
            self.registry.remove(session)

    def _check_refusal(self, code: str, what: RoomSelection, has: Rights) -> None:
        assert code == Code.REGION_FORBIDDEN
        assert not all(map(has.can_read_region, what.regions)) or any(
            not has.can_read_row(self.snapshots.regions_of_key(key) or ())
            for key in what.properties
        )

    def _visible(self, client: Client) -> dict[Any, dict[str, Any]]:
        mine = self._session(client).subscription
        assert mine is not None
        out = {}
        for key, row in self.table.items():
            place = regions_of(row, PROJECTION.region)
            if client.rights.can_read_row(place) and (
                mine.regions is None
                or str(key) in map(str, mine.properties)
                or not set(place).isdisjoint(mine.regions)
            ):
                columns = PROJECTION.shown(client.rights.view)
                out[key] = {column: row[column] for column in columns}
        return out

    @staticmethod
    def _shown(known: dict[Any, dict[str, Any]]) -> dict[Any, dict[str, Any]]:
        """Return the rows without documented columns that this table lacks."""
        every = PROJECTION.shown("member")
        return {
            key: {column: value for column, value in row.items() if column in every}
            for key, row in known.items()
        }


Rightful.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=30)
test_rightful = Rightful.TestCase
