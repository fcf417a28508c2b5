"""Clients that reconnect to another machine than the one they were at."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import pytest

from tests.raw_client import client
from tests.support.machines import machines, move, receive_prices

if TYPE_CHECKING:
    from tests.raw_client import Client
    from tests.support.machines import Machine

BASE = 1_000_000
transports = pytest.mark.parametrize("transport", ["polling", "websocket"])


def steps(number: int, start: int = 0) -> list[tuple[int, int]]:
    return [(BASE + n, BASE + n + 1) for n in range(start, number)]


async def until_stored(one: Client, machine: Machine) -> None:
    """Wait until the session of the client is stored, as that of `machine`."""
    async with asyncio.timeout(20):
        while True:
            stored = machine.log._history.sessions.get(one.pid or "")
            if stored is not None and stored[0] == machine.log.process:
                return
            await asyncio.sleep(0.01)


@transports
async def test_client_recovers_at_another_machine_after_its_own_has_ended(transport: str) -> None:
    async with machines(3) as here:
        first, second, _ = here.all
        async with client(second.url, transport, {"regions": ["TX"]}) as one:
            await here.change(2)
            await receive_prices(one, 2)
            pid, sid = one.pid, one.sid
            here.all.remove(second)
            await second.stop()
            await here.change(2)
            move(one, first)
            await one.connect()
            assert (one.recovered, one.pid, one.sid) == (True, pid, sid)
            await here.change()
            assert await receive_prices(one, 5) == steps(5)


async def test_client_recovers_at_a_machine_that_takes_over_from_its_own() -> None:
    async with machines(2) as here:
        first, second = here.all
        async with client(first.url) as one:
            await here.change()
            await receive_prices(one, 1)
            here.all.remove(first)
            await first.stop()
            here.change_unseen()
            await here.until_led(by=second)
            move(one, second)
            await one.connect()
            assert one.recovered
            assert await receive_prices(one, 2) == steps(2)


@transports
async def test_half_open_twin_is_evicted_and_the_session_is_the_other_machines(
    transport: str,
) -> None:
    async with machines(2) as here:
        first, second = here.all
        async with client(first.url, transport) as one:
            await here.change()
            await receive_prices(one, 1)
            await until_stored(one, first)
            old, one._ws = one._ws, None
            await here.change()
            move(one, second)
            await one.connect()
            assert one.recovered
            await here.change()
            assert await receive_prices(one, 3) == steps(3)
            async with asyncio.timeout(20):
                while first.gateway.hub.counts().clients:
                    await asyncio.sleep(0.01)
            assert len(first.gateway.sessions) == 0
            if old is not None:
                await old.close()
            # The end of the twin does not change the session.
            await asyncio.sleep(0.2)
            await until_stored(one, second)
            await one.close()
            await here.change()
            await one.connect()
            assert one.recovered
            assert await receive_prices(one, 4) == steps(4)


async def test_client_returns_to_its_first_machine_with_the_subscription_of_the_other() -> None:
    async with machines(2) as here:
        first, second = here.all
        async with client(first.url, auth={"regions": ["CA"]}) as one:
            await until_stored(one, first)
            await one.close()
            first.log._held = deque()  # its reader is late
            move(one, second)
            await one.connect()
            assert one.recovered
            assert (await one.request("subscribe", {"regions": ["TX"]}))["regions"] == ["CA", "TX"]
            second.log.cut()
            for client_ in list(second.gateway.clients):
                second.gateway.writer.abort(client_)
            one._ws = None
            here.history.deliver((), (), None)
            move(one, first)
            connecting = asyncio.create_task(one.connect())
            await asyncio.sleep(0.1)
            first.log.heal()
            await connecting
            assert one.recovered
            await here.change()
            assert await receive_prices(one, 1) == steps(1)


async def test_subscription_changed_just_before_holds_at_another_machine() -> None:
    async with machines(2) as here:
        first, second = here.all
        async with client(second.url, auth={"regions": ["CA"]}) as one:
            assert (await one.request("subscribe", {"regions": ["TX"]}))["ok"]
            here.all.remove(second)
            second.log.cut()  # as `kill -9`: nothing more is stored
            await here.change()
            move(one, first)
            await one.connect()
            assert one.recovered
            assert await receive_prices(one, 1) == steps(1)
            second.log.heal()
            await second.stop()


async def test_client_waits_for_a_machine_that_is_behind_what_it_has_received() -> None:
    async with machines(2) as here:
        first, second = here.all
        async with client(first.url) as one:
            await until_stored(one, first)
            second.log._held = deque()
            await here.change(3)
            await receive_prices(one, 3)
            await one.close()
            await here.change()
            move(one, second)
            connecting = asyncio.create_task(one.connect())
            await asyncio.sleep(0.2)
            assert not connecting.done()
            second.log.heal()
            await connecting
            assert one.recovered
            assert await receive_prices(one, 4) == steps(4)


async def test_client_without_a_session_tries_again_at_a_machine_behind_what_it_has_received() -> (
    None
):
    async with machines(2) as here:
        first, second = here.all
        async with client(first.url) as one:
            second.log._held = deque()
            await here.change(3)
            await receive_prices(one, 3)
            await one.close()
            one.pid = "unknown"  # its session was lost
            move(one, second)
            assert await one.send_connect() is None, "closed: it would load an older snapshot"
            second.log.heal()
            await one.connect()
            assert not one.recovered


async def test_client_tries_again_while_its_session_can_not_be_read() -> None:
    async with machines(2) as here:
        first, second = here.all
        async with client(first.url) as one:
            await here.change()
            await receive_prices(one, 1)
            await until_stored(one, first)
            await one.close()
            second.log.cut()
            move(one, second)
            assert await one.send_connect() is None, "closed: its library tries again"
            second.log.heal()
            await here.change()
            await one.connect()
            assert one.recovered
            assert await receive_prices(one, 2) == steps(2)


async def test_unknown_session_is_a_new_one_at_every_machine() -> None:
    async with machines(2) as here, client(here.all[0].url) as one:
        one.pid = "unknown"
        move(one, here.all[1])
        await one.connect()
        assert not one.recovered


async def test_session_that_is_away_for_too_long_is_not_taken() -> None:
    async with machines(2, recovery_seconds=1) as here:
        first, second = here.all
        async with client(first.url) as one:
            await one.close()
            async with asyncio.timeout(20):
                while not first.gateway.sessions.away:
                    await asyncio.sleep(0.01)
            stored = dict(here.history.sessions)
            await asyncio.sleep(1.2)
            here.history.sessions = stored  # as that of a machine which is gone
            move(one, second)
            await one.connect()
            assert not one.recovered
            assert one.pid not in stored


async def test_sid_names_its_process_and_an_unknown_poll_is_refused() -> None:
    async with machines(2) as here:
        first, second = here.all
        async with client(first.url, "polling") as one:
            assert f"sid={first.log.process}." in one._poll
            answer = await second.get(one._poll.removeprefix(first.url))
            assert answer.status_code == 400
