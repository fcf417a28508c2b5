"""Effects of each fault on the wire and, where it matters, on the official client."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from realtime import (
    AsyncRealtimeClient,
    RealtimePostgresChangesListenEvent,
    RealtimeSubscribeStates,
)
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from bridge.sandbox import Sandbox
from bridge.sandbox.realtime import faults as faults_module
from bridge.sandbox.realtime import server as realtime_server
from bridge.sandbox.realtime.faults import NAMES, Faults, UnknownFaultError
from tests.integration.gated_sleep import GatedSleep
from tests.integration.raw_realtime import PATIENCE, RawClient, binding, url
from tests.integration.watched_table import create_table, insert, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from realtime.types import PostgresChangesPayload

# The official client reads two attributes that `websockets` is about to drop. As an error, the
# warning would end its listener.
pytestmark = pytest.mark.filterwarnings(
    "ignore:ConnectionClosed.(code|reason) is deprecated:DeprecationWarning"
)

PACE = 0.05
SUBSCRIBED = RealtimeSubscribeStates.SUBSCRIBED
EVERY = RealtimePostgresChangesListenEvent.All
CLOSED = RealtimeSubscribeStates.CLOSED
CHANNEL_ERROR = RealtimeSubscribeStates.CHANNEL_ERROR


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[Sandbox]:
    async with Sandbox.open(seed=False) as running:
        running.realtime.pace = PACE
        yield running


@pytest.fixture
async def faults(server: Sandbox) -> AsyncIterator[Faults]:
    yield server.faults
    server.faults.lift()


@pytest.fixture
async def table(server: Sandbox) -> str:
    return await create_table(server)


@pytest.fixture
async def raw(server: Sandbox, faults: Faults, table: str) -> AsyncIterator[RawClient]:
    """A client that is subscribed to `table`."""
    async with RawClient.open(server) as client:
        await client.subscribe(binding(table))
        yield client


class Official:
    """The official client with one channel; queues its states, rows and `system` messages."""

    def __init__(self) -> None:
        self.states: asyncio.Queue[RealtimeSubscribeStates] = asyncio.Queue()
        self.rows: asyncio.Queue[int] = asyncio.Queue()
        self.systems: asyncio.Queue[str] = asyncio.Queue()

    @classmethod
    @asynccontextmanager
    async def open(cls, server: Sandbox, table: str) -> AsyncIterator[Official]:
        self = cls()
        client = AsyncRealtimeClient(
            f"{server.supabase_url}/realtime/v1".replace("http", "ws", 1),
            server.supabase_key,
            initial_backoff=0.05,
        )
        channel = client.channel("props")
        channel.on_postgres_changes(EVERY, self._change, table=table, schema="public")
        channel.on_system(lambda payload: self.systems.put_nowait(payload.status))
        await channel.subscribe(lambda state, _: self.states.put_nowait(state))
        assert await self.state() == SUBSCRIBED
        assert await self.system() == "ok"
        try:
            yield self
        finally:
            await client.close()

    def _change(self, payload: PostgresChangesPayload) -> None:
        record = payload["data"]["record"]
        assert record is not None
        self.rows.put_nowait(int(record["id"]))

    async def state(self) -> RealtimeSubscribeStates:
        return await asyncio.wait_for(self.states.get(), 10)

    async def row(self) -> int:
        return await asyncio.wait_for(self.rows.get(), 10)

    async def system(self) -> str:
        return await asyncio.wait_for(self.systems.get(), 10)


# Changes.


async def test_muted_channel_receives_heartbeat_replies_only(
    server: Sandbox, faults: Faults, raw: RawClient, table: str
) -> None:
    muted = faults.muted
    faults.mute()
    await insert(server, table, 1)
    await until(lambda: faults.muted > muted)
    assert (await raw.heartbeat())["topic"] == "phoenix"


async def test_rejoin_ends_a_mute(
    server: Sandbox, faults: Faults, raw: RawClient, table: str
) -> None:
    faults.mute()
    await raw.join(binding(table), ref="2")
    assert [(await raw.frame())["event"] for _ in range(2)] == ["phx_close", "system"]
    await insert(server, table, 1)
    assert (await raw.data())["record"]["id"] == 1


async def test_mute_with_new_includes_later_channels(
    server: Sandbox, faults: Faults, raw: RawClient, table: str
) -> None:
    faults.mute(new=True)
    await raw.subscribe(binding(table), topic="realtime:new", ref="2")
    muted = faults.muted
    await insert(server, table, 1)
    await until(lambda: faults.muted == muted + 2)


async def test_unmute_resumes_changes_and_loses_earlier_ones(
    server: Sandbox, faults: Faults, raw: RawClient, table: str
) -> None:
    muted = faults.muted
    faults.mute()
    await insert(server, table, 1)
    await until(lambda: faults.muted > muted)
    faults.unmute()
    await insert(server, table, 2)
    assert (await raw.data())["record"]["id"] == 2


async def test_dropped_changes_are_not_sent_and_are_counted(
    server: Sandbox, faults: Faults, raw: RawClient, table: str
) -> None:
    before = faults.dropped
    faults.drop(2)
    for number in (1, 2, 3):
        await insert(server, table, number)
    assert (await raw.data())["record"]["id"] == 3
    assert faults.dropped - before == 2


async def test_duplicate_sends_the_same_frame_twice(
    server: Sandbox, faults: Faults, raw: RawClient, table: str
) -> None:
    faults.duplicate()
    await insert(server, table, 1)
    await insert(server, table, 2)
    first, second, third = [await raw.text() for _ in range(3)]
    assert first == second != third


async def test_oversized_frame_makes_the_official_client_reconnect(
    server: Sandbox, faults: Faults, table: str
) -> None:
    async with Official.open(server, table) as client:
        faults.oversize()
        await insert(server, table, 1)
        assert await client.state() == CHANNEL_ERROR
        assert await client.state() == SUBSCRIBED
        assert await client.system() == "ok"
        await insert(server, table, 2)
        assert await client.row() == 2


async def test_oversized_frame_is_valid_and_over_a_mebibyte(
    server: Sandbox, faults: Faults, raw: RawClient, table: str
) -> None:
    faults.oversize()
    await insert(server, table, 1)
    await insert(server, table, 2)
    big, small = await raw.data(), await raw.text()
    assert big["record"]["id"] == 1
    assert len(small) < 1_048_576
    assert faults.oversized >= 1


async def test_garbled_frame_is_not_json(
    server: Sandbox, faults: Faults, raw: RawClient, table: str
) -> None:
    faults.garble()
    await insert(server, table, 1)
    with pytest.raises(ValueError, match=r"delimiter|Expecting|Unterminated"):
        await raw.frame()


# Subscriptions.


async def test_late_system_delays_system_and_changes(
    server: Sandbox, faults: Faults, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    delay = GatedSleep(monkeypatch, faults_module, 7.0)
    faults.late_system(7.0)
    async with RawClient.open(server) as early, RawClient.open(server) as client:
        assert (await client.join(binding(table)))["payload"]["status"] == "ok"
        await asyncio.wait_for(delay.started.wait(), PATIENCE)
        faults.late_system(0)
        await early.subscribe(binding(table))
        await insert(server, table, 1)
        assert (await early.data())["record"]["id"] == 1
        assert (await client.heartbeat())["topic"] == "phoenix"
        delay.release()
        assert (await client.frame())["payload"]["status"] == "ok"
        await insert(server, table, 2)
        assert (await client.data())["record"]["id"] == 2


async def test_no_system_leaves_a_joined_channel_without_subscription(
    server: Sandbox, faults: Faults, table: str
) -> None:
    faults.no_system()
    async with RawClient.open(server) as client:
        assert (await client.join(binding(table)))["payload"]["status"] == "ok"
        assert (await client.heartbeat())["topic"] == "phoenix"
        faults.no_system(lifted=True)
        assert (await client.frame())["payload"]["status"] == "ok"


async def test_system_error_leaves_a_joined_channel_without_subscription(
    server: Sandbox, faults: Faults, raw: RawClient, table: str
) -> None:
    faults.system_error("boom")
    system = await raw.frame()
    assert system["payload"] == {
        "channel": "props",
        "extension": "postgres_changes",
        "message": "boom",
        "status": "error",
    }
    await insert(server, table, 1)
    await raw.subscribe(binding(table), topic="realtime:other", ref="2")


async def test_system_error_makes_the_official_client_apply_the_stale_close(
    server: Sandbox, faults: Faults, table: str
) -> None:
    async with Official.open(server, table) as client:
        faults.system_error()
        assert [await client.state() for _ in range(3)] == [CHANNEL_ERROR, SUBSCRIBED, CLOSED]


async def test_system_error_of_extension_system_closes_the_channel(
    faults: Faults, raw: RawClient
) -> None:
    faults.system_error_close("bye")
    system, close = [await raw.frame() for _ in range(2)]
    assert (system["payload"]["extension"], system["payload"]["message"]) == ("system", "bye")
    assert (close["event"], close["ref"]) == ("phx_close", "1")


async def test_stale_close_has_another_join_ref_and_changes_continue(
    server: Sandbox, faults: Faults, raw: RawClient, table: str
) -> None:
    faults.stale_phx_close()
    close = await raw.frame()
    assert (close["event"], close["ref"]) == ("phx_close", "0")
    await insert(server, table, 1)
    assert (await raw.data())["record"]["id"] == 1


async def test_stale_close_closes_the_official_clients_channel(
    server: Sandbox, faults: Faults, table: str
) -> None:
    async with Official.open(server, table) as client:
        faults.stale_phx_close()
        assert await client.state() == CLOSED


async def test_phx_close_ends_the_channel_and_not_the_socket(
    faults: Faults, raw: RawClient
) -> None:
    faults.phx_close()
    assert await raw.frame() == {
        "event": "phx_close",
        "payload": {},
        "ref": "1",
        "topic": "realtime:props",
    }
    assert (await raw.heartbeat())["topic"] == "phoenix"


async def test_phx_error_makes_the_official_client_rejoin(
    server: Sandbox, faults: Faults, table: str
) -> None:
    async with Official.open(server, table) as client:
        faults.phx_error()
        assert [await client.state() for _ in range(2)] == [CHANNEL_ERROR, SUBSCRIBED]


async def test_expire_tokens_closes_channels_as_a_real_expiry(
    faults: Faults, raw: RawClient
) -> None:
    faults.expire_tokens()
    system, close = [await raw.frame() for _ in range(2)]
    assert system["payload"]["message"] == "Token has expired 0 seconds ago"
    assert close["event"] == "phx_close"


# Connections.


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012])
async def test_sockets_close_with_the_requested_code(
    faults: Faults, raw: RawClient, code: int
) -> None:
    await faults.close(code)
    with pytest.raises(ConnectionClosed) as closed:
        await raw.text()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == code


async def test_close_1006_sends_no_close_frame(faults: Faults, raw: RawClient) -> None:
    await faults.close(1006)
    with pytest.raises(ConnectionClosed) as closed:
        await raw.text()
    assert closed.value.rcvd is None


@pytest.mark.parametrize("code", [1001, 1006, 1012])
async def test_official_client_reconnects_after_a_close(
    server: Sandbox, faults: Faults, table: str, code: int
) -> None:
    async with Official.open(server, table) as client:
        await faults.close(code)
        assert [await client.state() for _ in range(2)] == [CHANNEL_ERROR, SUBSCRIBED]
        assert await client.system() == "ok"
        await insert(server, table, 1)
        assert await client.row() == 1


async def test_refused_connection_receives_no_response(server: Sandbox, faults: Faults) -> None:
    before = faults.refused
    faults.refuse()
    with pytest.raises((InvalidHandshake, OSError, EOFError)):
        await connect(url(server))
    assert faults.refused == before + 1


async def test_refuse_ends_after_its_seconds(
    server: Sandbox, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(faults_module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    faults.refuse(5.0)
    clock.now += 4.9
    with pytest.raises((InvalidHandshake, OSError, EOFError)):
        await connect(url(server))
    clock.now += 0.2
    connection = await connect(url(server))
    await connection.close()


async def test_half_open_connection_sends_nothing_and_stays_open(
    server: Sandbox, faults: Faults, raw: RawClient, table: str
) -> None:
    swallowed = faults.swallowed
    faults.half_open()
    pong = await raw.connection.ping()
    await insert(server, table, 1)
    await until(lambda: faults.swallowed > swallowed)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pong, 0.2)
    assert raw.connection.close_code is None
    raw.connection.transport.abort()


async def test_connection_opened_after_half_open_is_unaffected(
    server: Sandbox, faults: Faults, raw: RawClient, table: str
) -> None:
    faults.half_open()
    async with RawClient.open(server) as other:
        await other.subscribe(binding(table))
        await insert(server, table, 1)
        assert (await other.data())["record"]["id"] == 1
    raw.connection.transport.abort()


async def test_restart_closes_with_1012_and_needs_a_cold_start(
    server: Sandbox,
    faults: Faults,
    raw: RawClient,
    table: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await faults.restart(seconds=0)
    with pytest.raises(ConnectionClosed) as closed:
        await raw.text()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    monkeypatch.setattr(realtime_server, "COLD_START", (900.0, 900.0))
    delay = GatedSleep(monkeypatch, realtime_server, 900.0 * PACE)
    async with RawClient.open(server) as client:
        assert (await client.join(binding(table)))["payload"]["status"] == "ok"
        await asyncio.wait_for(delay.started.wait(), PATIENCE)
        assert (await client.heartbeat())["topic"] == "phoenix"
        delay.release()
        assert (await client.frame())["payload"]["status"] == "ok"


# The slot.


async def test_stall_delays_changes_and_loses_none(
    server: Sandbox, faults: Faults, raw: RawClient, table: str
) -> None:
    await faults.stall()
    await insert(server, table, 1)
    assert (await raw.heartbeat())["topic"] == "phoenix"
    faults.resume()
    assert (await raw.data())["record"]["id"] == 1


async def test_lose_pending_loses_changes_without_a_message(
    server: Sandbox, faults: Faults, raw: RawClient, table: str
) -> None:
    await faults.stall()
    await insert(server, table, 1)
    await faults.lose_pending()
    faults.resume()
    await insert(server, table, 2)
    assert (await raw.data())["record"]["id"] == 2


async def test_rebuild_loses_pending_changes_and_sends_system_ok(
    server: Sandbox, faults: Faults, table: str
) -> None:
    async with Official.open(server, table) as client:
        await faults.stall()
        await insert(server, table, 1)
        await faults.rebuild()
        assert await client.system() == "ok"
        await insert(server, table, 2)
        assert await client.row() == 2


async def test_kill_poller_loses_pending_changes_and_recreates_the_slot(
    server: Sandbox, faults: Faults, raw: RawClient, table: str
) -> None:
    poller = server.realtime.poller
    lost, first = poller.slots_lost, poller.backend_pid
    await faults.stall()
    await insert(server, table, 1)
    await faults.kill_poller()
    faults.resume()
    await until(lambda: poller.slots_lost > lost and poller.backend_pid is not None)
    assert poller.backend_pid != first
    await insert(server, table, 2)
    assert (await raw.data())["record"]["id"] == 2


async def test_restart_of_postgres_keeps_channels_without_a_message(
    server: Sandbox, faults: Faults, raw: RawClient, table: str
) -> None:
    lost = server.realtime.poller.slots_lost
    await server.restart_postgres()
    await until(lambda: server.realtime.poller.slots_lost > lost)
    await asyncio.wait_for(server.realtime.poller.ready.wait(), 20)
    await insert(server, table, 1)
    assert (await raw.data())["record"]["id"] == 1


# By name.


async def test_faults_are_applied_by_name(
    server: Sandbox, faults: Faults, raw: RawClient, table: str
) -> None:
    await faults.apply("drop", count=1)
    await insert(server, table, 1)
    await insert(server, table, 2)
    assert (await raw.data())["record"]["id"] == 2


async def test_async_fault_is_awaited_by_name(faults: Faults, raw: RawClient) -> None:
    await faults.apply("close", code=1001)
    with pytest.raises(ConnectionClosed):
        await raw.text()


@pytest.mark.parametrize(
    ("name", "options"),
    [("nosuch", {}), ("attach", {"server": None}), ("drop", {"many": 1})],
    ids=["unknown", "not a fault", "wrong option"],
)
async def test_unknown_fault_or_option_raises(
    faults: Faults, name: str, options: dict[str, Any]
) -> None:
    with pytest.raises(UnknownFaultError, match="expected"):
        await faults.apply(name, **options)


async def test_every_fault_has_a_docstring() -> None:
    assert all(getattr(Faults, name).__doc__ for name in NAMES)


async def test_lift_ends_every_lasting_fault(server: Sandbox, faults: Faults, table: str) -> None:
    faults.mute(new=True)
    faults.drop(5)
    faults.no_system()
    faults.refuse()
    await faults.stall()
    faults.rate_limit(0)
    await faults.apply("lift")
    async with RawClient.open(server) as client:
        await client.subscribe(binding(table))
        await insert(server, table, 1)
        assert (await client.data())["record"]["id"] == 1


def test_faults_without_a_server_raise() -> None:
    with pytest.raises(RuntimeError, match="RealtimeServer"):
        Faults().mute()
