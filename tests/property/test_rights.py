"""Clients with all kinds of rights come, follow, are given other rights, drop and come back, while
rows change: what each has is the table as it may see it, and nothing it was told shows more.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import orjson
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from bridge.contract.parse import RoomSelection
from bridge.errors import Code, RequestRejected
from bridge.gateway.connect import ConnectHandler
from bridge.gateway.delivery.batcher import Batcher
from bridge.gateway.hub import Hub
from bridge.gateway.recovery.sessions import RecoverySessions
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

    from bridge.gateway.delivery.writer import ClientWriter
    from bridge.gateway.socketio.server import SocketServer
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
    """Does what the contract tells clients to do, and keeps every byte."""

    batch: bool
    sid: str = ""
    pid: str = ""
    offset: str | None = None
    connected: bool = True
    rights: Rights = UNRESTRICTED
    subscription: Subscription = field(default_factory=Subscription)
    known: dict[Any, dict[str, Any]] = field(default_factory=dict)
    asked: int = 0  # requests that are not answered wholly yet
    astray: bool = False  # an answer was lost: what it has is of no use until it has asked anew
    wire: list[tuple[str, Any, str]] = field(default_factory=list)

    def told(self, name: str, what: Any, position: str = "") -> None:
        """Put on its way to the client, whose rights are those of now."""
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
        # Where it is exactly, a name says in these tests.
        state, _, place = row["name"].split(":")[1].partition("/")
        return self._follows(key, [state, f"{state}/{place}"] if state != "None" else [])


class Edge:
    """Stands for the server and the wire: what is said goes to clients in order."""

    def __init__(self) -> None:
        self.clients: dict[str, Client] = {}  # by the sid of those who are connected
        self.arriving: Client | None = None
        self.refusals: list[dict[str, Any]] = []
        self.sids = 0

    # -- as the server

    def new_sid(self) -> str:
        self.sids += 1
        return f"s{self.sids}"

    def is_python_client(self, _eio_sid: str) -> bool:
        return False

    def connection(self, eio_sid: str) -> str:
        return eio_sid

    def register(self, _eio_sid: str, sid: str) -> None:
        assert self.arriving is not None
        self.clients[sid] = self.arriving

    def unregister(self, sid: str) -> None:
        self.clients.pop(sid, None)

    # -- as the wire

    def attach(self, _sid: str, *, positions: bool) -> bool:
        return positions

    def abort(self, sid: str) -> None:
        self.clients.pop(sid, None)

    def pause(self, sid: str, _seconds: float) -> None:
        assert sid in self.clients  # what it is told waits anyway, until the machine says `arrive`

    def send_packet(self, to: str, text: str) -> None:
        if text[0] == "4":
            self.refusals.append(orjson.loads(text[1:])["data"])
            return
        client, said = self.clients[to], orjson.loads(text[1:])
        if said["pid"] != client.pid:
            client.offset, client.known, client.astray = None, {}, False
        client.sid, client.pid = said["sid"], said["pid"]

    def send_event(self, sid: str, name: str, envelope: bytes, position: str) -> None:
        self.clients[sid].told(name, envelope, position)

    def broadcast(self, entry: Entry, sids: Collection[str]) -> None:
        for sid in sids:
            if sid in self.clients:
                event = entry.event
                self.clients[sid].told(event.name, event.envelope, str(entry.position))


class Rightful(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.commits = 0
        self.table: dict[Any, dict[str, Any]] = {}
        self.rows = RowStore(PROJECTION.known)
        self.log = MemoryEventLog(10**6, 10**6)
        self.edge = Edge()
        self.sessions = RecoverySessions(10**6, 100, 10**6, 10**9)
        self.snapshots = Snapshots(self.rows, PROJECTION, page_bytes=200)
        self.runner.run(self.snapshots.build())
        self.hub: Hub[str] = Hub(
            deliver=self.edge.broadcast, max_rooms=10, where=self.snapshots.regions_of_key
        )
        self.window = Batcher(deliver=self.edge.broadcast, seconds=10**6, updated_at="updated_at")
        self.arrival = ConnectHandler(
            server=cast("SocketServer", self.edge),
            wire=cast("ClientWriter", self.edge),
            hub=self.hub,
            window=self.window,
            sessions=self.sessions,
            log=self.log,
            clock=self,
            updated_at="updated_at",
            evicted=lambda _sid: None,
        )
        self.clients: dict[str, Client] = {}

    def teardown(self) -> None:
        try:
            self.settle()
        finally:
            self.window.close()
            self.runner.close()

    def monotonic(self) -> float:
        return 0.0

    def wall(self) -> float:
        return 0.0

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
        sid = self.arrival.accept("eio", auth, has)
        if sid is None:
            [refusal] = self.edge.refusals
            self._check_refusal(refusal["code"], what, has)
            self.clients.pop(name, None)
            self._leave(former)
            return
        self.clients[name] = client
        if sid == former:
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
        before = self.hub.subscription(client.sid)
        change = self.hub.unsubscribe if away else self.hub.subscribe
        try:
            after = change(client.sid, what)
        except RequestRejected as refused:
            self._check_refusal(refused.code, what, client.rights)
            assert self.hub.subscription(client.sid) == before
            return
        self._changed(client, after)
        self._subscribed(client, RoomSelection((), ("none",)) if away else what)

    @precondition(lambda self: any(c.connected for c in self.clients.values()))
    @rule(data=st.data(), has=rights)
    def is_given_other_rights(self, data: st.DataObject, has: Rights) -> None:
        client = self._connected(data)
        after = self.hub.set_rights(client.sid, has)
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
        self.sessions.changed(client.sid, after, self.log.head)
        if client.sid in self.window:
            self.window.set(client.sid, after)

    def _asks_for_all(self, client: Client) -> None:
        """The client asks for the rows of its whole subscription, and forgets what it has."""
        now = self.hub.subscription(client.sid)
        assert now is not None
        self.window.flush_one(client.sid)
        client.told("fresh", None)
        what = RoomSelection(now.regions or (), now.properties)
        self._subscribed(client, what, all_=now.regions is None)

    def _subscribed(self, client: Client, what: RoomSelection, *, all_: bool = False) -> None:
        """The client is answered what it hears, with a snapshot of what was added."""
        self.window.flush_one(client.sid)
        now = self.hub.subscription(client.sid)
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
        self.sessions.disconnected(sid, 0.0)
        self.hub.remove(sid)
        self.window.remove(sid)
        self.edge.unregister(sid)

    def _check_refusal(self, code: str, what: RoomSelection, has: Rights) -> None:
        assert code == Code.REGION_FORBIDDEN
        assert not all(map(has.can_read_region, what.regions)) or any(
            not has.can_read_row(self.snapshots.regions_of_key(key) or ())
            for key in what.properties
        )

    def _visible(self, client: Client) -> dict[Any, dict[str, Any]]:
        mine = self.hub.subscription(client.sid)
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
        """Without the documented columns that this table has not."""
        every = PROJECTION.shown("member")
        return {
            key: {column: value for column, value in row.items() if column in every}
            for key, row in known.items()
        }


Rightful.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=30)
test_rightful = Rightful.TestCase
