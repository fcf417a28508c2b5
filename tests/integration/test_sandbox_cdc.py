"""What ends Realtime's stream without a word: its poller, the publication, and a database away."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest

from bridge.sandbox import Sandbox
from bridge.sandbox.realtime import poller as poller_module
from tests.integration.gated_sleep import GatedSleep
from tests.integration.raw_realtime import PATIENCE, RawClient, binding
from tests.integration.watched_table import create_table, insert, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from bridge.sandbox.realtime.faults import Faults
    from bridge.sandbox.realtime.poller import Poller

TIMEOUTS = '{:error, "Too many database timeouts"}'
REFUSED = (
    "Unable to subscribe to changes with given parameters. Please check Realtime is enabled for "
    "the given connect parameters: [event: *, schema: public, table: {}, filters: [], select: nil]"
)
SLOTS = "select slot_name from pg_replication_slots where slot_name like 'supabase_realtime_repl%'"


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[Sandbox]:
    async with Sandbox.open(seed=False, pace=0.05) as running:
        yield running


@pytest.fixture
async def faults(server: Sandbox) -> AsyncIterator[Faults]:
    yield server.faults
    server.faults.lift()


@pytest.fixture
def poller(server: Sandbox) -> Poller:
    return server.realtime.poller


@pytest.fixture
async def table(server: Sandbox) -> str:
    return await create_table(server, alone=True)


@pytest.fixture
async def raw(server: Sandbox, faults: Faults, table: str) -> AsyncIterator[RawClient]:
    """A client that is subscribed to `table`."""
    async with RawClient.open(server) as client:
        await client.subscribe(binding(table))
        yield client
        await server.realtime.stop_cdc()  # the next test begins with a cold start


async def until_no_slot(server: Sandbox) -> None:
    """Wait for the end of the backend that had the slot."""
    async with asyncio.timeout(PATIENCE):
        while await server.execute(SLOTS):
            await asyncio.sleep(0.01)


async def is_mute(server: Sandbox, client: RawClient, table: str, number: int) -> bool:
    """Write a row, which another channel receives. Return whether `client` did not."""
    async with RawClient.open(server) as other:
        await other.subscribe(binding(table))
        await insert(server, table, number)
        assert (await other.data())["record"]["id"] == number
    topic: str = (await client.heartbeat())["topic"]
    return topic == "phoenix"


async def system(client: RawClient) -> tuple[str, str]:
    """Return status and message of the next frame."""
    frame = await client.frame()
    assert frame["event"] == "system", frame
    assert frame["payload"]["extension"] == "postgres_changes"
    return frame["payload"]["status"], frame["payload"]["message"]


# The poller gives up.


async def test_six_failed_polls_in_a_row_end_the_poller_and_mute_joined_channels(
    server: Sandbox, faults: Faults, poller: Poller, raw: RawClient, table: str
) -> None:
    gave_up = poller.gave_up
    faults.fail_polls()
    await until(lambda: poller.gave_up > gave_up)
    assert poller.backend_pid is None
    await until_no_slot(server)
    assert await is_mute(server, raw, table, 1)


async def test_five_failed_polls_in_a_row_keep_the_subscription(
    server: Sandbox, faults: Faults, poller: Poller, raw: RawClient, table: str
) -> None:
    gave_up = poller.gave_up
    for number in (1, 2):  # a poll that succeeds ends the row
        faults.fail_polls(5)
        await until(lambda: not poller.failing_polls and poller.backend_pid is not None)
        await insert(server, table, number)
        assert (await raw.data())["record"]["id"] == number
    assert poller.gave_up == gave_up


async def test_database_away_for_long_ends_the_poller(
    server: Sandbox, poller: Poller, raw: RawClient, table: str
) -> None:
    gave_up = poller.gave_up
    await server.stop_postgres()
    try:
        await until(lambda: poller.gave_up > gave_up)
        assert (await raw.heartbeat())["topic"] == "phoenix"
    finally:
        await server.start_postgres()
    assert await is_mute(server, raw, table, 1)


async def test_rejoin_after_the_end_of_the_poller_starts_another(
    server: Sandbox, faults: Faults, raw: RawClient, table: str
) -> None:
    await faults.stop_cdc()
    await raw.join(binding(table), ref="2")
    assert [(await raw.frame())["event"] for _ in range(2)] == ["phx_close", "system"]
    await insert(server, table, 1)
    assert (await raw.data())["record"]["id"] == 1


async def test_channel_of_an_ended_poller_stays_mute_while_another_joins(
    server: Sandbox, faults: Faults, raw: RawClient, table: str
) -> None:
    await faults.stop_cdc()
    assert await is_mute(server, raw, table, 1)


# The publication is empty.


@asynccontextmanager
async def empty_publication(server: Sandbox, table: str) -> AsyncIterator[None]:
    """Keep the publication empty inside the block, from the loss of the slot on."""
    poller = server.realtime.poller
    dropped = poller.slots_dropped
    await server.execute(f"alter publication supabase_realtime drop table public.{table}")
    await until(lambda: poller.slots_dropped > dropped)
    yield
    await server.execute(f"alter publication supabase_realtime add table public.{table}")


async def test_empty_publication_drops_the_slot_and_refuses_joins(
    server: Sandbox, raw: RawClient, table: str
) -> None:
    async with empty_publication(server, table):
        await until(lambda: not server.realtime.poller.ready.is_set())
        await until_no_slot(server)
        await raw.join(binding(table), topic="realtime:other", ref="2")
        assert await system(raw) == ("error", REFUSED.format(table))


async def test_refilled_publication_is_noticed_after_sixty_seconds(
    server: Sandbox, raw: RawClient, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    minute = GatedSleep(monkeypatch, poller_module, 60.0)
    async with empty_publication(server, table):
        await asyncio.wait_for(minute.started.wait(), PATIENCE)
    # The subscription is accepted, and there is no slot.
    await raw.subscribe(binding(table), topic="realtime:other", ref="2")
    await insert(server, table, 1)
    await until_no_slot(server)
    assert (await raw.heartbeat())["topic"] == "phoenix"
    minute.release()
    await asyncio.wait_for(server.realtime.poller.ready.wait(), PATIENCE)
    await insert(server, table, 2)
    assert (await raw.data())["record"]["id"] == 2


async def test_recreated_publication_is_as_silent_as_an_empty_one(
    server: Sandbox, raw: RawClient, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    minute = GatedSleep(monkeypatch, poller_module, 60.0)
    await server.execute("drop publication supabase_realtime")
    await asyncio.wait_for(minute.started.wait(), PATIENCE)
    await server.execute(f"create publication supabase_realtime for table public.{table}")
    await insert(server, table, 1)
    assert (await raw.heartbeat())["topic"] == "phoenix"
    minute.release()
    await asyncio.wait_for(server.realtime.poller.ready.wait(), PATIENCE)
    await insert(server, table, 2)
    assert (await raw.data())["record"]["id"] == 2


# Subscriptions time out in the database.


async def test_join_without_a_database_times_out_until_it_is_back(
    server: Sandbox, raw: RawClient, table: str
) -> None:
    await server.stop_postgres()
    try:
        reply = await raw.join(binding(table), topic="realtime:other", ref="2")
        assert reply["payload"]["status"] == "ok"
        assert await system(raw) == ("error", TIMEOUTS)
        assert await system(raw) == ("error", TIMEOUTS)  # the channel is joined and retries
    finally:
        await server.start_postgres()
    while (found := await system(raw)) == ("error", TIMEOUTS):
        pass
    assert found == ("ok", "Subscribed to PostgreSQL")


async def test_join_with_a_slow_database_times_out(
    server: Sandbox, raw: RawClient, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.realtime.subscriptions, "check_seconds", 0.2)
    url = server.postgres.url("supabase_admin")
    async with await psycopg.AsyncConnection.connect(url) as locking:
        await locking.execute("lock table pg_publication in access exclusive mode")
        await raw.join(binding(table), topic="realtime:other", ref="2")
        assert await system(raw) == ("error", TIMEOUTS)
        await locking.rollback()
    while (found := await system(raw)) == ("error", TIMEOUTS):
        pass
    assert found == ("ok", "Subscribed to PostgreSQL")


async def test_database_timeouts_concern_joined_and_new_channels_until_lifted(
    faults: Faults, raw: RawClient, table: str
) -> None:
    faults.database_timeouts()
    assert await system(raw) == ("error", TIMEOUTS)
    await raw.send("realtime:new", "phx_join", {"config": {"postgres_changes": [binding(table)]}})
    topics: set[str] = set()
    while topics != {"realtime:props", "realtime:new"}:
        frame = await raw.frame()
        if frame["event"] == "system":
            assert frame["payload"]["message"] == TIMEOUTS
            topics.add(frame["topic"])
    faults.database_timeouts(lifted=True)
    subscribed: set[str] = set()
    while subscribed != topics:
        frame = await raw.frame()
        if frame["payload"]["status"] == "ok":
            subscribed.add(frame["topic"])


# The database takes long to shut down.


async def test_slow_shutdown_refuses_connections_and_keeps_the_socket(
    server: Sandbox, raw: RawClient, table: str, http: httpx.AsyncClient
) -> None:
    restart = asyncio.ensure_future(server.restart_postgres(shutdown_seconds=4))
    refusal = ""
    while "shutting down" not in refusal:
        assert not restart.done()
        try:
            await (await psycopg.AsyncConnection.connect(server.database_url)).close()
        except psycopg.OperationalError as error:
            refusal = str(error)
        await asyncio.sleep(0.01)
    answer = await http.get(
        f"{server.supabase_url}/rest/v1/{table}", headers={"apikey": server.supabase_key}
    )
    assert answer.status_code == 503
    assert (await raw.heartbeat())["topic"] == "phoenix"
    done, _ = await asyncio.wait([restart], timeout=1.5)  # a shutdown at once takes much less
    assert not done
    await restart
    assert await server.execute(f"select * from {table}") == []


async def test_restart_of_postgres_runs_by_name_and_is_counted(
    server: Sandbox, raw: RawClient, http: httpx.AsyncClient
) -> None:
    faults = f"{server.supabase_url}/_sandbox/faults"
    before = (await http.get(faults)).json()["restarts"]
    slow = {"name": "postgres-slow-shutdown", "seconds": 0.5}
    assert (await http.post(faults, json=slow)).status_code == 200
    assert (await http.post(faults, json=slow)).status_code == 400
    await until(lambda: server.postgres_faults.restarts > before)
    assert (await http.get(faults)).json()["restarts"] == before + 1
    assert (await raw.heartbeat())["topic"] == "phoenix"


@pytest.mark.parametrize(
    "fault", [{"name": "postgres-nosuch"}, {"name": "postgres-restart", "often": True}]
)
async def test_unknown_postgres_fault_or_option_is_rejected(
    server: Sandbox, http: httpx.AsyncClient, fault: dict[str, object]
) -> None:
    answer = await http.post(f"{server.supabase_url}/_sandbox/faults", json=fault)
    assert answer.status_code == 400
