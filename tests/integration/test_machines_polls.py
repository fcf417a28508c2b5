"""Polls that a balancer gives to another machine than the one that has their session."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import httpx
import pytest

from bridge.security.peer_request import HEADER
from tests.raw_client import Client, client
from tests.support.machines import Machine, Machines, machines, move, receive_prices

BASE = 1_000_000


def steps(number: int) -> list[tuple[int, int]]:
    """Old and new prices of the first changes."""
    return [(BASE + n, BASE + n + 1) for n in range(number)]


def poll_at(one: Client, machine: Machine) -> None:
    """Have the client's polls arrive at this machine from now on."""
    one._poll = machine.url + one._poll[one._poll.index("/socket.io") :]


async def until_known(machine: Machine, others: int) -> None:
    """Wait until the machine has received the beats of so many others."""
    running = machine.bridge._running
    assert running is not None
    async with asyncio.timeout(10):
        while running.group.members.others(asyncio.get_running_loop().time()) < others:
            await asyncio.sleep(0.01)


async def two(here: Machines) -> tuple[Machine, Machine]:
    first, second = here.all
    await until_known(first, 1)
    await until_known(second, 1)
    return first, second


async def test_client_polls_at_a_machine_without_its_session() -> None:
    async with machines(2, peers=True) as here:
        first, second = await two(here)
        async with client(first.url, "polling") as one:
            for number, machine in enumerate((second, first, second), start=1):
                poll_at(one, machine)
                assert (await one.request("subscribe", {"regions": ["TX"]}))["ok"]
                await here.change()
                assert await receive_prices(one, number) == steps(number)
            assert first.gateway.hub.counts().clients == 1
            assert second.gateway.hub.counts().clients == 0


async def test_poll_of_another_machine_is_refused_without_an_address_of_that_machine() -> None:
    async with machines(2) as here:
        first, second = await two(here)
        async with client(first.url, "polling") as one:
            poll_at(one, second)
            async with httpx.AsyncClient() as http:
                assert (await http.get(one._poll)).status_code == 400


async def test_client_of_a_machine_that_is_gone_is_refused_and_recovers_where_it_polls() -> None:
    async with machines(2, peers=True) as here:
        first, second = await two(here)
        async with client(first.url, "polling") as one:
            await here.change()
            await receive_prices(one, 1)
            here.all.remove(first)
            await first.stop()
            await here.until_led(by=second)
            poll_at(one, second)
            async with httpx.AsyncClient() as http:
                assert (await http.post(one._poll, content="3")).status_code == 400
            await here.change()
            move(one, second)
            await one.connect()
            assert one.recovered
            assert await receive_prices(one, 2) == steps(2)


async def test_upgrade_at_another_machine_is_refused_and_its_client_continues_to_poll() -> None:
    async with machines(2, peers=True) as here:
        first, second = await two(here)
        async with client(first.url, "polling") as one:
            poll_at(one, second)
            url = one._poll.replace("transport=polling", "transport=websocket")
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await one.http.ws_connect(url)
            await here.change()
            assert await receive_prices(one, 1) == steps(1)


async def test_clients_poll_through_another_machine_while_theirs_is_stopping() -> None:
    async with machines(2, peers=True, drain_seconds=2) as here:
        first, second = await two(here)
        async with client(first.url, "polling") as one:
            poll_at(one, second)
            here.all.remove(first)
            stopping = asyncio.create_task(first.stop())
            await here.until_led(by=second)
            async with httpx.AsyncClient() as http:
                assert (await http.post(one._poll, content="3")).status_code == 200
            await stopping


@pytest.mark.parametrize("trusted", [True, False])
async def test_forwarded_address_counts_with_the_key_of_the_machine_only(trusted: bool) -> None:
    async with machines(
        2,
        trusted_proxies=("10.0.0.1",),
        client_ip_header="X-Client",
        connections_per_address=1,
    ) as here:
        first, _ = await two(here)
        key = first.bridge._peer_key.value if trusted else "0" * 32
        headers = {HEADER.decode(): f"{key} 10.0.0.1"}
        answers = []
        async with httpx.AsyncClient() as http:
            for address in ("203.0.113.1", "203.0.113.2"):
                answer = await http.get(
                    f"{first.url}/socket.io/?EIO=4&transport=polling",
                    headers={**headers, "x-client": address},
                )
                answers.append(answer.status_code)
        assert answers == ([200, 200] if trusted else [200, 429])


async def test_key_of_a_machine_is_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with machines(2, peers=True) as here:
        first, second = await two(here)
        async with client(first.url, "polling") as one:
            poll_at(one, second)
            await one.request("subscribe", {"regions": ["TX"]})
        shown: list[Any] = [(await each.get(path)).text for each in here.all for path in PATHS]
        keys = [each.bridge._peer_key.value for each in here.all]
    assert not [key for key in keys if key in caplog.text or any(key in text for text in shown)]


PATHS = ("/status", "/metrics", "/readyz")
