"""Machines over a real Redis server that are killed, paused, cut off and stopped: the official
client loses nothing, wherever it lands.
"""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.acceptance.cluster import cluster
from tests.acceptance.conftest import SECONDS
from tests.acceptance.test_restart import pick, property_events, set_price

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.sandbox import Sandbox
    from tests.acceptance.conftest import SeedClient, SeedClients, Start
    from tests.acceptance.restartable_bridge import RunBridge

TEXAS: dict[str, Any] = {"regions": ["TX"]}

LEASE_SECONDS = 30
DRAIN_SECONDS = 40
"""Long ones, so that a busy machine is faster."""


@pytest.fixture
def client(start_js: Start) -> SeedClients:
    return lambda url, **options: start_js("recovery_client.mjs", url, **options)


async def prices(client: SeedClient, number: int) -> list[tuple[int, int]]:
    """Return old and new price of the next events."""
    events = await property_events(client, number)
    changes = [event["data"]["changes"]["price"] for event in events]
    return [(change["old"], change["new"]) for change in changes]


def all_prices(client: SeedClient) -> list[tuple[int, int]]:
    """Return old and new price of all events so far."""
    changes = [
        event["data"]["changes"]["price"]
        for event in client.events
        if event["event"] == "property-updated"
    ]
    return [(change["old"], change["new"]) for change in changes]


async def until_state(client: SeedClient, state: str) -> None:
    """Wait until the last `bridge-status` has this state."""

    def last() -> str | None:
        events = [event for event in client.events if event["event"] == "bridge-status"]
        return events[-1]["data"]["state"] if events else None

    async with asyncio.timeout(SECONDS):
        while last() != state:
            await asyncio.sleep(0.02)


async def first_price(sandbox: Sandbox) -> tuple[str, int]:
    [row] = await pick(sandbox, 1)
    return row["id"], row["price"]


@pytest.mark.parametrize(
    "transport", [pytest.param("polling", marks=pytest.mark.once), "websocket"]
)
async def test_client_of_a_killed_leader_recovers_at_the_machine_that_takes_over(
    run_bridge: RunBridge, sandbox: Sandbox, client: SeedClients, transport: str
) -> None:
    key, price = await first_price(sandbox)
    async with cluster(run_bridge, sandbox, 2) as here:
        first, second = here.machines
        async with client(here.url, transports=[transport], auth=TEXAS) as js:
            sid = (await js.connected())["connected"]
            await set_price(sandbox, key, price + 1)
            assert await prices(js, 1) == [(price, price + 1)]
            await asyncio.sleep(0.2)  # a session that began just before the kill is not stored
            here.serve_at(second)
            first.kill()
            killed = time.monotonic()
            await set_price(sandbox, key, price + 2)
            back = await js.connected()
            assert (back["recovered"], back["connected"]) == (True, sid)
            await second.until_leading()
            print(f"took over after {time.monotonic() - killed:.2f} s")
            assert await prices(js, 1) == [(price + 1, price + 2)]
            await set_price(sandbox, key, price + 3)
            assert await prices(js, 1) == [(price + 2, price + 3)]


@pytest.mark.once
async def test_subscription_changed_just_before_a_kill_holds_at_the_other_machine(
    run_bridge: RunBridge, sandbox: Sandbox, client: SeedClients
) -> None:
    [row] = await pick(sandbox, 1, "CA")
    price = row["price"]
    async with cluster(run_bridge, sandbox, 2) as here:
        first, second = here.machines
        async with client(here.url, auth=TEXAS) as js:
            await js.connected()
            await asyncio.sleep(0.2)
            assert (await js.ack("subscribe", {"regions": ["CA"]}))["ok"]
            here.serve_at(second)
            first.kill()
            assert (await js.connected())["recovered"] is True
            await set_price(sandbox, row["id"], price + 7)
            assert await prices(js, 1) == [(price, price + 7)]


@pytest.mark.once
async def test_leader_paused_beyond_its_lease_follows_by_itself_and_its_client_misses_nothing(
    run_bridge: RunBridge, sandbox: Sandbox, client: SeedClients
) -> None:
    key, price = await first_price(sandbox)
    async with cluster(run_bridge, sandbox, 2) as here:
        first, second = here.machines
        async with (
            client(first.url, auth=TEXAS) as one,
            client(second.url, auth=TEXAS) as other,
        ):
            await one.connected()
            await other.connected()
            await set_price(sandbox, key, price + 1)
            assert await prices(one, 1) == await prices(other, 1) == [(price, price + 1)]
            first.pause()
            await set_price(sandbox, key, price + 2)
            await second.until_leading()
            assert await prices(other, 1) == [(price + 1, price + 2)]
            await set_price(sandbox, key, price + 3)
            first.resume()
            await first.until_following()
            await set_price(sandbox, key, price + 4)
            assert await prices(other, 2) == [(price + 2, price + 3), (price + 3, price + 4)]
            assert await prices(one, 3) == [
                (price + 1, price + 2),
                (price + 2, price + 3),
                (price + 3, price + 4),
            ]
            statuses = [await machine.status() for machine in here.machines]
            assert [status["term"] for status in statuses] == [2, 2]
            assert statuses[0]["log_head"] == statuses[1]["log_head"]
            assert all(status["log_server"]["role"] == "master" for status in statuses)
            assert all("appendonly yes" in str(status["log_server"]) for status in statuses)


@pytest.mark.once
async def test_leader_cut_from_redis_follows_once_it_is_back_and_its_client_misses_nothing(
    run_bridge: RunBridge, sandbox: Sandbox, client: SeedClients
) -> None:
    key, price = await first_price(sandbox)
    async with cluster(run_bridge, sandbox, 2) as here:
        first, second = here.machines
        async with client(first.url, auth=TEXAS) as js:
            await js.connected()
            await set_price(sandbox, key, price + 1)
            assert await prices(js, 1) == [(price, price + 1)]
            first.redis.cut()
            await until_state(js, "stale")
            await second.until_leading()
            await set_price(sandbox, key, price + 2)
            await second.until(lambda status: status["log_head"].endswith("-2"))
            first.redis.heal()
            assert await prices(js, 1) == [(price + 1, price + 2)]
            await first.until_following()
            await until_state(js, "live")
            assert "disconnected" not in js.text


@pytest.mark.once
async def test_leader_cut_from_supabase_gives_the_lease_to_a_machine_that_is_not(
    run_bridge: RunBridge, sandbox: Sandbox, client: SeedClients
) -> None:
    key, price = await first_price(sandbox)
    async with cluster(run_bridge, sandbox, 2) as here:
        first, second = here.machines
        async with client(first.url, auth=TEXAS) as js:
            await js.connected()
            first.supabase.connect_to(9)
            first.supabase.reset()
            await set_price(sandbox, key, price + 1)
            await second.until_leading()
            assert await prices(js, 1) == [(price, price + 1)]
            await first.until_following()
            assert (await first.status())["source"]["state"] == "live"


async def test_stopping_leader_releases_the_lease_and_its_clients_recover(
    run_bridge: RunBridge, sandbox: Sandbox, client: SeedClients
) -> None:
    key, price = await first_price(sandbox)
    async with cluster(run_bridge, sandbox, 2, BRIDGE_LEASE_SECONDS=str(LEASE_SECONDS)) as here:
        first, second = here.machines
        async with (
            client(here.url, transports=["websocket"], auth=TEXAS) as one,
            client(here.url, transports=["polling"], auth=TEXAS) as other,
        ):
            await one.connected()
            await other.connected()
            here.serve_at(second)
            stopped = time.monotonic()
            first.process.process.send_signal(signal.SIGTERM)
            await second.until(lambda status: status["role"] == "leader")
            took = time.monotonic() - stopped
            print(f"took over after {took:.2f} s")
            assert took < LEASE_SECONDS / 2, "it was released"
            await set_price(sandbox, key, price + 1)
            for js in (one, other):
                assert (await js.connected())["recovered"] is True
            await second.until(lambda status: status["log_head"].endswith("-1"))
            await set_price(sandbox, key, price + 2)
            for js in (one, other):
                # The first change may have arrived before the disconnect or after it.
                while len(all_prices(js)) < 2:
                    await js.event()
                assert all_prices(js) == [(price, price + 1), (price + 1, price + 2)]
            assert await first.process.end() == 0
            assert time.monotonic() - stopped > 1.5, "in waves"


@pytest.mark.once
async def test_second_signal_ends_a_stopping_machine_at_once(
    run_bridge: RunBridge, sandbox: Sandbox, client: SeedClients
) -> None:
    async with cluster(run_bridge, sandbox, 1, BRIDGE_DRAIN_SECONDS=str(DRAIN_SECONDS)) as here:
        [only] = here.machines
        async with client(only.url) as js:
            await js.connected()
            only.process.process.send_signal(signal.SIGTERM)
            async with httpx.AsyncClient() as http, asyncio.timeout(10):
                while (await http.get(only.url + "/readyz")).status_code == 200:
                    await asyncio.sleep(0.02)
            started = time.monotonic()
            assert await only.process.end(signal.SIGTERM) == 0
            assert time.monotonic() - started < DRAIN_SECONDS / 2


@pytest.mark.once
async def test_half_open_client_recovers_at_another_machine_and_its_twin_is_evicted(
    run_bridge: RunBridge, sandbox: Sandbox, client: SeedClients
) -> None:
    key, price = await first_price(sandbox)
    async with cluster(run_bridge, sandbox, 2) as here:
        first, second = here.machines
        async with client(here.url, transports=["websocket"], auth=TEXAS) as js:
            await js.connected()
            await set_price(sandbox, key, price + 1)
            assert await prices(js, 1) == [(price, price + 1)]
            here.balancer.half_open()
            here.serve_at(second)
            await set_price(sandbox, key, price + 2)
            js.command(drop=True)
            assert (await js.connected())["recovered"] is True
            assert await prices(js, 1) == [(price + 1, price + 2)]
            await first.until(lambda status: status["clients"] == 0)
            await set_price(sandbox, key, price + 3)
            assert await prices(js, 1) == [(price + 2, price + 3)]


@pytest.mark.once
@pytest.mark.parametrize("lost", ["flushed", "restarted"])
async def test_clients_of_a_lost_history_are_fresh_and_no_process_ends(
    run_bridge: RunBridge, sandbox: Sandbox, client: SeedClients, lost: str
) -> None:
    key, price = await first_price(sandbox)
    async with cluster(run_bridge, sandbox, 2) as here:
        first, second = here.machines
        async with client(first.url, auth=TEXAS) as one, client(second.url, auth=TEXAS) as other:
            for js in (one, other):
                await js.connected()
            await set_price(sandbox, key, price + 1)
            for js in (one, other):
                assert await prices(js, 1) == [(price, price + 1)]
            if lost == "flushed":
                await flush(here.redis.port)
            else:
                await here.redis.kill()
                await here.redis.start()
            for js in (one, other):
                assert (await js.connected())["recovered"] is False
            for machine in here.machines:
                await machine.until_ready()
            await set_price(sandbox, key, price + 2)
            for js in (one, other):
                assert await prices(js, 1) == [(price + 1, price + 2)]
            for machine in here.machines:
                assert machine.process.process.returncode is None


@pytest.mark.once
async def test_clients_recover_after_a_restart_of_redis_that_lost_nothing(
    run_bridge: RunBridge, sandbox: Sandbox, client: SeedClients, tmp_path: Path
) -> None:
    key, price = await first_price(sandbox)
    folder = tmp_path / "redis"
    folder.mkdir()
    async with cluster(run_bridge, sandbox, 2, folder=folder) as here:
        second = here.machines[1]
        async with client(second.url, auth=TEXAS) as js:
            await js.connected()
            await set_price(sandbox, key, price + 1)
            assert await prices(js, 1) == [(price, price + 1)]
            await asyncio.sleep(1.5)  # until it is synced
            await here.redis.stop()
            await set_price(sandbox, key, price + 2)
            await until_state(js, "stale")
            await asyncio.sleep(5)
            await here.redis.start()
            assert await prices(js, 1) == [(price + 1, price + 2)]
            await until_state(js, "live")
            assert "disconnected" not in js.text


async def flush(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"FLUSHALL\r\n")
    assert (await reader.readline()).startswith(b"+OK")
    writer.close()
