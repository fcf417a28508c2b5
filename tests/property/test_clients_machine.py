"""Clients connect, reconnect and are removed in every way there is: every part of the gateway has
the clients of the registry and no others, and nothing is left of a client after it was removed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bridge.gateway.engineio.session import EngineSession
from bridge.gateway.presence import Presence
from bridge.log.memory import MemoryEventLog
from bridge.security.concurrency import ConcurrencyLimiter, Slot
from tests.fakes import build, entry, settings
from tests.support.examples import examples
from tests.tokens import SECRET, claims, legacy

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from bridge.gateway.client import ClientSession, Connection

T = TypeVar("T")

ISSUER = "http://127.0.0.1:9/auth/v1"
REGIONS = st.lists(st.sampled_from(["TX", "CA", "NV"]), max_size=2, unique=True)


@dataclass
class Page:
    """One connection, and what its client sends."""

    connection: Connection
    engine: EngineSession
    session_id: str | None = None


class Clients(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.presence = Presence()
        self.log = MemoryEventLog(100, 900)
        self.gateway = build(
            settings(
                supabase_jwt_secret=SECRET,
                regions_claim="app_metadata.regions",
                recovery_clients=2,
                batch_seconds=60,
            ),
            log=self.log,
            presence=self.presence,
        )
        self.limiter = ConcurrencyLimiter(1000, 1000)
        self.pages: dict[str, Page] = {}
        self.pids: list[str] = []
        self.seen: set[ClientSession] = set()
        self.number = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        async def and_what_it_starts() -> T:
            result = await work
            for _ in range(5):
                await asyncio.sleep(0)
            return result

        return self.runner.run(and_what_it_starts())

    # -- connections

    @rule()
    def connection_opens(self) -> None:
        self.number += 1
        eio_sid = f"connection {self.number}"
        server = self.gateway.server

        async def open_connection() -> Page:
            engine = server.eio.sockets[eio_sid] = EngineSession(server.eio, eio_sid, 10**6)
            await server._handle_eio_connect(eio_sid, {})
            connection = self.gateway.clients.connection(eio_sid)
            assert connection is not None
            slot = self.limiter.acquire(None)
            assert isinstance(slot, Slot)
            connection.slot = slot
            return Page(connection, engine)

        self.pages[eio_sid] = self.run(open_connection())

    def a_page(self, data: st.DataObject) -> Page:
        return data.draw(st.sampled_from(list(self.pages.values())))

    def a_client(self, data: st.DataObject) -> ClientSession:
        return data.draw(st.sampled_from(list(self.gateway.clients)))

    @precondition(lambda self: self.pages)
    @rule(data=st.data())
    def connection_ends(self, data: st.DataObject) -> None:
        page = self.a_page(data)
        self.run(page.engine.close(abort=True, reason="transport close"))

    # -- clients

    @precondition(lambda self: self.pages)
    @rule(
        data=st.data(),
        batch=st.booleans(),
        user=st.sampled_from([None, "ada", "bob"]),
        regions=REGIONS,
        limited=st.booleans(),
        recovers=st.booleans(),
    )
    def client_connects(
        self,
        data: st.DataObject,
        *,
        batch: bool,
        user: str | None,
        regions: list[str],
        limited: bool,
        recovers: bool,
    ) -> None:
        page = self.a_page(data)
        auth: dict[str, Any] = {"regions": regions, "batch": batch}
        if user is not None:
            self.number += 1
            page.session_id = f"session {self.number}"
            values = claims(ISSUER, sub=user, session_id=page.session_id)
            values["app_metadata"] = {"regions": ["TX", "CA"] if limited else ["TX", "CA", "NV"]}
            auth["token"] = legacy(values)
        if recovers and self.pids:
            auth["pid"] = data.draw(st.sampled_from(self.pids))
        packet = b"0" + orjson.dumps(auth)
        eio_sid = page.connection.eio_sid
        self.run(self.gateway.server._handle_eio_message(eio_sid, packet.decode()))
        client = page.connection.client
        if client is not None and client.recovery is not None:
            self.pids.append(client.recovery.pid)

    @precondition(lambda self: len(self.gateway.clients) > 0)
    @rule(data=st.data(), name=st.sampled_from(["subscribe", "unsubscribe"]), regions=REGIONS)
    def client_sends_a_request(self, data: st.DataObject, name: str, regions: list[str]) -> None:
        client = self.a_client(data)
        self.run(self.gateway.on_event(client, name, [{"regions": regions}], 1))

    @rule(regions=REGIONS)
    def event_is_published(self, regions: list[str]) -> None:
        self.number += 1

        async def publish() -> None:
            event = entry(self.number, *regions).event
            commit = await self.log.append([event], [])
            self.gateway.publish(commit.entries)

        self.run(publish())

    # -- every way to be removed

    @precondition(lambda self: len(self.gateway.clients) > 0)
    @rule(data=st.data())
    def client_sends_disconnect(self, data: st.DataObject) -> None:
        client = self.a_client(data)
        self.run(self.gateway.server._handle_eio_message(client.connection.eio_sid, "1"))
        assert self.gateway.clients.get(client.sid) is None

    @precondition(lambda self: len(self.gateway.clients) > 0)
    @rule(data=st.data())
    def client_is_slow(self, data: st.DataObject) -> None:
        client = self.a_client(data)

        async def overflow() -> None:
            self.gateway.server.eio.on_overflow(client.connection.engine, 10**9)
            assert self.gateway.clients.get(client.sid) is None

        self.run(overflow())

    @precondition(lambda self: len(self.gateway.clients) > 0)
    @rule(data=st.data())
    def pings_time_out(self, data: st.DataObject) -> None:
        engine = self.a_client(data).connection.engine
        assert engine is not None

        async def time_out() -> None:
            engine.timed_out()

        self.run(time_out())

    @precondition(lambda self: any(page.session_id for page in self.pages.values()))
    @rule(data=st.data())
    def session_is_signed_out(self, data: st.DataObject) -> None:
        ids = [page.session_id for page in self.pages.values() if page.session_id]
        self.run(self.gateway.sign_out(session_id=data.draw(st.sampled_from(ids))))

    # -- invariants

    @invariant()
    def every_part_has_the_clients_of_the_registry(self) -> None:
        gateway = self.gateway
        clients = set(gateway.clients)
        open_pages = {sid: page for sid, page in self.pages.items() if not page.engine.closed}
        self.pages = open_pages
        assert {each.eio_sid for each in gateway.clients.connections} == set(open_pages)
        assert self.limiter.total == len(open_pages)
        assert {client.connection.client for client in clients} == clients
        assert {each.client for each in gateway.clients.connections} - {None} == clients
        assert gateway.hub.counts().clients == len(clients)
        members = {client for room in gateway.hub._rooms.values() for client in room}
        assert members <= clients
        assert members.isdisjoint(client for client in clients if client.batching)
        limited = {client for client in members if _has_limited_rights(client)}
        assert gateway.hub._limited >= len(limited)
        batched = {client for group in gateway.batcher._groups.values() for client in group}
        assert batched == {client for client in clients if client.batching}
        assert set(gateway.batcher._delivered) <= batched
        with_token = {client for client in clients if client.token is not None}
        assert len(gateway.token_expiry) == len(with_token)
        for index in (gateway.token_expiry._of_user, gateway.token_expiry._of_session):
            assert {client for indexed in index.values() for client in indexed} == with_token
        assert set(gateway.request_handlers._limiter._full_at) <= clients
        connected = [client.recovery for client in clients if client.recovery is not None]
        assert len(gateway.sessions) == len(connected) + gateway.sessions.away
        assert all(gateway.sessions.by_pid(session.pid) is session for session in connected)
        users = {client.subscription.rights.user for client in clients if client.subscription}
        away = {session.subscription.rights.user for session in gateway.sessions._away.values()}
        assert set(self.presence.users) == (users | away) - {None}
        self.seen |= clients
        for client in self.seen - clients:
            left = (client.queue, client.subscription, client.batch_group, client.token)
            assert left == (None, None, None, None)
        for client in clients:
            assert client.queue is client.connection.engine.queue  # type: ignore[union-attr]

    def teardown(self) -> None:
        gateway = self.gateway

        async def end_everything() -> None:
            for page in list(self.pages.values()):
                await page.engine.close(abort=True, reason="transport close")
            gateway.sessions.expire(10**12)
            await gateway.close()

        try:
            self.run(end_everything())
            assert len(gateway.clients) == len(gateway.clients.connections) == 0
            assert self.limiter.total == 0
            counts = gateway.hub.counts()
            assert (counts.clients, counts.rooms, gateway.hub._limited) == (0, 0, 0)
            assert not gateway.batcher._groups
            assert not gateway.batcher._delivered
            assert gateway.token_expiry._of_user == gateway.token_expiry._of_session == {}
            assert len(gateway.token_expiry) == gateway.request_handlers.limited_clients == 0
            assert len(gateway.sessions) == gateway.sessions.away == 0
            assert not self.presence.users
        finally:
            self.runner.close()


def _has_limited_rights(client: ClientSession) -> bool:
    return client.subscription is not None and client.subscription.rights.regions is not None


Clients.TestCase.settings = hypothesis_settings(max_examples=examples(60), stateful_step_count=40)
test_clients = Clients.TestCase
