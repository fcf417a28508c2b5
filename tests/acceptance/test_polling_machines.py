"""Polling clients of several machines behind a balancer without sticky sessions."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.acceptance.restartable_bridge import RestartableBridge
from tests.acceptance.test_restart import pick, property_events, set_price
from tests.support.ports import free_port
from tests.support.redis import unused_name
from tests.support.round_robin import RoundRobin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge.sandbox import Sandbox
    from bridge.sandbox.redis import RedisServer
    from tests.acceptance.conftest import BridgeProcess, SeedClient, Start
    from tests.acceptance.test_process import RunBridge

CHANGES = 10


class Machine(RestartableBridge):
    """One bridge, and its process while it runs."""

    process: BridgeProcess


@pytest.fixture
async def two(
    run_bridge: RunBridge, sandbox: Sandbox, redis_server: RedisServer
) -> AsyncIterator[list[Machine]]:
    """Start two machines that forward polls to each other. The first one leads."""
    name = unused_name()
    async with AsyncExitStack() as closing:
        machines = []
        for _ in range(2):
            port = free_port()
            machine = Machine(
                run_bridge,
                sandbox,
                redis_server.url,
                port=port,
                BRIDGE_LOG_NAME=name,
                BRIDGE_PEER_URL=f"http://127.0.0.1:{port}",
                BRIDGE_TRUSTED_PROXIES="127.0.0.1",
            )
            machine.process = await closing.enter_async_context(machine.running())
            machines.append(machine)
        async with httpx.AsyncClient() as http, asyncio.timeout(30):
            for machine in machines:
                while len((await http.get(f"{machine.url}/status")).json()["machines"]) < 2:
                    await asyncio.sleep(0.05)
        yield machines


@asynccontextmanager
async def polling(start_js: Start, url: str) -> AsyncIterator[SeedClient]:
    """Connect the official client, which polls only."""
    auth = {"regions": ["TX"]}
    async with start_js("recovery_client.mjs", url, transports=["polling"], auth=auth) as client:
        await client.connected()
        yield client


async def change(sandbox: Sandbox, listing: dict[str, Any], prices: range) -> None:
    for price in prices:
        await set_price(sandbox, listing["id"], price)


def prices(events: list[dict[str, Any]]) -> list[int]:
    return [event["data"]["changes"]["price"]["new"] for event in events]


async def test_polling_client_stays_connected_behind_a_balancer_without_sticky_sessions(
    start_js: Start, sandbox: Sandbox, two: list[Machine]
) -> None:
    [listing] = await pick(sandbox, 1)
    async with (
        RoundRobin.open(*(each.url for each in two)) as balancer,
        polling(start_js, balancer.url) as client,
    ):
        for price in range(1, CHANGES + 1):
            await change(sandbox, listing, range(price, price + 1))
            assert prices(await property_events(client, 1)) == [price]
        assert min(balancer.requests.values()) > CHANGES // 3
        assert [line for line in client.lines if "disconnected" in line] == []


@pytest.mark.once
async def test_polling_client_of_a_killed_machine_recovers_at_the_other_one(
    start_js: Start, sandbox: Sandbox, two: list[Machine]
) -> None:
    [listing] = await pick(sandbox, 1)
    async with (
        RoundRobin.open(*(each.url for each in two)) as balancer,
        polling(start_js, balancer.url) as client,
    ):
        await change(sandbox, listing, range(101, 103))
        assert prices(await property_events(client, 2)) == [101, 102]
        first, second = two
        home = first if (await first.status())["clients"] else second
        await home.kill(home.process)
        await change(sandbox, listing, range(103, 105))
        assert (await client.connected())["recovered"]
        missed = await property_events(client, 1)
        while prices(missed)[-1] != 104:
            missed += await property_events(client, 1)
        changes = [event["data"]["changes"]["price"] for event in missed]
        assert [each["old"] for each in changes] == [102, *prices(missed)[:-1]]
