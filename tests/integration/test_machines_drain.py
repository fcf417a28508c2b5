"""A machine that stops: another one leads at once, and clients move to it in waves."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.raw_client import Client, client
from tests.support.machines import machines, move, receive_prices

BASE = 1_000_000
transports = pytest.mark.parametrize("transport", ["polling", "websocket"])


async def reconnect_when_closed(one: Client, url: str, closed: list[float]) -> None:
    """Wait for the end of the connection, then recover at another machine."""
    while True:
        packet = await one.next_packet_or_end()
        if packet is None:
            break
        one.receive_packet(packet)
    closed.append(time.monotonic())
    one.url = url + one.url[one.url.index("/socket.io") :]
    await one.connect()
    assert one.recovered


@transports
async def test_stopping_leader_gives_the_lease_away_and_its_clients_move_without_a_loss(
    transport: str,
) -> None:
    async with machines(2, drain_seconds=2) as here:
        first, second = here.all
        async with (
            client(first.url, transport) as a,
            client(first.url, transport) as b,
            client(first.url, transport) as c,
            client(first.url, transport) as d,
        ):
            every = [a, b, c, d]
            await here.change()
            for one in every:
                await receive_prices(one, 1)
            started = time.monotonic()
            closed: list[float] = []
            here.all.remove(first)
            stopping = asyncio.create_task(first.stop())
            moving = [
                asyncio.create_task(reconnect_when_closed(one, second.url, closed)) for one in every
            ]
            await here.until_led(by=second)
            assert time.monotonic() - started < 1.5
            assert (await first.get("/readyz")).status_code == 503
            await here.change()
            await asyncio.gather(*moving)
            await here.change()
            for one in every:
                assert await receive_prices(one, 3) == [(BASE + n, BASE + n + 1) for n in range(3)]
            await stopping
            assert first.bridge.failure is None


async def test_stopping_machine_refuses_new_clients_and_serves_the_present_ones() -> None:
    async with machines(2, drain_seconds=3) as here:
        first, second = here.all
        async with client(second.url, "polling") as one:
            here.all.remove(second)
            stopping = asyncio.create_task(second.stop())
            async with asyncio.timeout(20):
                while (await second.get("/readyz")).status_code == 200:
                    await asyncio.sleep(0.01)
            answer = await second.get("/socket.io/?EIO=4&transport=polling")
            assert answer.status_code == 503
            assert (await second.get("/status")).json()["reason"] == "the bridge is stopping"
            await here.change()
            packet: str | None = ""
            while packet is not None and not one.events:
                one.receive_packet(packet) if packet else None
                packet = await one.next_packet_or_end()
            move(one, first)
            await one.connect()
            assert one.recovered, "see the outcomes"
            await receive_prices(one, 1)
            await stopping


async def test_bridge_with_a_log_of_its_own_stops_at_once() -> None:
    from bridge.options import drain_seconds
    from tests.fakes import settings

    assert drain_seconds(settings(), shared=False) == 0
    assert drain_seconds(settings(), shared=True) == 20
    assert drain_seconds(settings(drain_seconds=3), shared=False) == 3
