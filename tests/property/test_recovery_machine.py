"""Clients drop, lag and reconnect at random: each one receives the log, filtered by its rooms."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bridge.clock import ManualClock
from bridge.contract.parse import RoomSelection
from bridge.events import Event
from bridge.gateway.recovery.persistence import SessionPersistence
from bridge.gateway.recovery.sessions import RecoveryLimits, RecoverySessions
from bridge.gateway.subscription import Subscription
from bridge.log.memory import MemoryEventLog
from bridge.log.sqlite.database import Database
from bridge.log.sqlite.event_log import SqliteEventLog
from bridge.log.sqlite.session_store import SqliteSessionStore
from bridge.rooms import rooms_of
from tests.fakes import HubBySid
from tests.support.examples import examples

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from bridge.log.base import Entry, EventLog

REGIONS = ("TX", "CA", "NV")
NAMES = ("a", "b")


@dataclass
class Client:
    """The entries that were sent, those that arrived, and those that should have been sent."""

    pid: str
    sid: str
    wire: list[Entry] = field(default_factory=list)  # sent and not yet arrived
    arrived: list[Entry] = field(default_factory=list)
    owed: list[Entry] = field(default_factory=list)
    hears: Subscription = field(default_factory=Subscription)  # as acknowledged to it
    connected: bool = True


class Recoveries(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.sids = 0
        self.log: EventLog = MemoryEventLog(30, 10**6)
        self.sessions = self._new_sessions()
        self.hub = HubBySid(deliver=self._deliver, max_rooms=10)
        self.clients: dict[str, Client] = {}

    @staticmethod
    def _new_sessions() -> RecoverySessions:
        return RecoverySessions(RecoveryLimits(20.0, 2, 12, 10**6))

    def _append(self, event: Event) -> Sequence[Entry]:
        return asyncio.run(self.log.append([event], [])).entries

    def _deliver(self, entry: Entry, recipients: Collection[str]) -> None:
        for client in self.clients.values():
            if client.connected and client.sid in recipients:
                client.wire.append(entry)

    # -- the world

    @rule(regions=st.lists(st.sampled_from(REGIONS), unique=True), key=st.sampled_from("xy"))
    def event(self, regions: list[str], key: str) -> None:
        rooms = rooms_of(key, regions)
        event = Event("property-updated", key, rooms, b"{}")
        entries = self._append(event)
        for client in self.clients.values():
            # Whether or not it is connected, for as long as its session exists.
            known = self.sessions.by_pid(client.pid) is not None
            if known and set(client.hears.rooms) & set(rooms):
                client.owed += entries
        self.hub.publish(entries)

    @rule(seconds=st.floats(0, 30))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    # -- clients

    @rule(name=st.sampled_from(NAMES), regions=st.lists(st.sampled_from(REGIONS), max_size=2))
    def comes(self, name: str, regions: list[str]) -> None:
        client = self.clients.get(name)
        if client is None:
            self._new(name, regions)
            return
        # By a new connection: the old one may still seem to be open.
        offset = str(client.arrived[-1].position) if client.arrived else None
        session = self.sessions.find(client.pid, self.clock.monotonic())
        self.hub.remove(client.sid)
        missed = None if session is None else self.sessions.resume(session, offset, self.log)
        if session is None or missed is None:
            self._new(name, regions)
            return
        client.connected = True
        client.wire = [entry for stretch in missed for entry in stretch.visible]
        self.hub.restore(client.sid, session.subscription)

    def _new(self, name: str, regions: list[str]) -> None:
        self.sids += 1
        sid = f"s{self.sids}"
        subscription = self.hub.join(sid, RoomSelection(tuple(regions)))
        pid = self.sessions.open(sid, subscription, self.log.head).pid
        self.clients[name] = Client(pid, sid, hears=subscription)

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), share=st.integers(0, 3))
    def arrives(self, data: st.DataObject, share: int) -> None:
        client = data.draw(st.sampled_from(list(self.clients.values())))
        if client.connected:
            client.arrived += client.wire[:share]
            del client.wire[:share]

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), noticed=st.booleans())
    def drops(self, data: st.DataObject, noticed: bool) -> None:
        client = data.draw(st.sampled_from(list(self.clients.values())))
        client.connected = False
        client.wire = []
        if noticed:
            self.hub.remove(client.sid)
            session = self.sessions.by_pid(client.pid)
            if session is not None:
                self.sessions.disconnected(session, self.clock.monotonic())

    @precondition(lambda self: any(c.connected for c in self.clients.values()))
    @rule(
        data=st.data(),
        regions=st.lists(st.sampled_from(REGIONS), max_size=2),
        away=st.booleans(),
    )
    def subscribes(self, data: st.DataObject, regions: list[str], away: bool) -> None:
        client = data.draw(st.sampled_from([c for c in self.clients.values() if c.connected]))
        if self.hub.subscription(client.sid) is None:
            return
        change = self.hub.unsubscribe if away else self.hub.subscribe
        subscription: Subscription = change(client.sid, RoomSelection(tuple(regions)))
        self._session_changed(client, subscription)
        self._acknowledge()
        client.hears = subscription

    def _session_changed(self, client: Client, subscription: Subscription) -> None:
        session = self.sessions.by_pid(client.pid)
        if session is not None:
            self.sessions.change(session, subscription, self.log.head)

    def _acknowledge(self) -> None:
        """Send the ack with the subscription."""

    # -- invariants

    @invariant()
    def nobody_is_told_what_is_not_owed_or_out_of_order(self) -> None:
        for client in self.clients.values():
            told = _content(client.arrived + client.wire)
            if client.connected:
                assert told == _content(client.owed)
            else:
                arrived = _content(client.arrived)
                assert arrived == _content(client.owed)[: len(arrived)]

    @invariant()
    def sessions_are_bounded(self) -> None:
        assert self.sessions.away <= 2
        assert len(self.sessions) <= self.sids


def _content(entries: Sequence[Entry]) -> list[tuple[int, Event]]:
    """Return what stays the same when a restart begins another epoch."""
    return [(entry.position.seq, entry.event) for entry in entries]


class Restarts(Recoveries):
    """The same, with restarts of the server."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.runner = asyncio.Runner()
        self._start()

    def teardown(self) -> None:
        self.runner.run(self.log.close())
        self.runner.close()
        self.folder.cleanup()

    def _append(self, event: Event) -> Sequence[Entry]:
        return self.runner.run(self.log.append([event], [])).entries

    def _start(self) -> None:
        database = Database(Path(self.folder.name) / "log.sqlite3")
        self.log = SqliteEventLog(database, shape="", events=30, seconds=10**6, clock=self.clock)
        self.runner.run(self.log.open())
        self.sessions = self._new_sessions()
        self.keeper = SessionPersistence(self.sessions, SqliteSessionStore(database), self.clock)
        self.runner.run(self.keeper.load(self.log.locate))
        self.hub = HubBySid(deliver=self._deliver, max_rooms=10)

    def _acknowledge(self) -> None:
        self.runner.run(self.keeper.store())

    def _new(self, name: str, regions: list[str]) -> None:
        super()._new(name, regions)
        self.runner.run(self.keeper.store())  # a moment later

    @rule()
    def is_killed_and_starts_again(self) -> None:
        for client in self.clients.values():
            client.connected = False
            client.wire = []
        self.runner.run(self.log.close())
        self._start()

    @precondition(lambda self: any(c.connected for c in self.clients.values()))
    @rule(data=st.data(), regions=st.lists(st.sampled_from(REGIONS), max_size=2))
    def is_killed_before_a_subscription_is_stored(
        self, data: st.DataObject, regions: list[str]
    ) -> None:
        client = data.draw(st.sampled_from([c for c in self.clients.values() if c.connected]))
        if self.hub.subscription(client.sid) is not None:
            subscription = self.hub.subscribe(client.sid, RoomSelection(tuple(regions)))
            self._session_changed(client, subscription)
        self.is_killed_and_starts_again()

    @rule(name=st.sampled_from(NAMES), regions=st.lists(st.sampled_from(REGIONS), max_size=2))
    def is_killed_before_a_client_is_stored(self, name: str, regions: list[str]) -> None:
        if name not in self.clients:
            super()._new(name, regions)
        self.is_killed_and_starts_again()


Restarts.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=30)
test_restarts = Restarts.TestCase

Recoveries.TestCase.settings = settings(max_examples=examples(150), stateful_step_count=40)
test_recoveries = Recoveries.TestCase
