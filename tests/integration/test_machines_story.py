"""Machines that lose their lease, their connection to the log and their clients at random times:
every client receives every change once, in order, wherever it is.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.raw_client import Client, client
from tests.support.machines import Machines, machines, move, prices

if TYPE_CHECKING:
    from tests.support.machines import Machine

STEPS = 25


class Wanderer:
    """A client that reconnects to a random machine whenever its connection ends."""

    def __init__(self, one: Client, here: Machines, chance: random.Random) -> None:
        self.client = one
        self.connects = 0
        self._here = here
        self._chance = chance
        self._machine: Machine | None = None

    async def run(self) -> None:
        while True:
            try:
                packet = await self.client.next_packet_or_end()
            except TimeoutError:
                continue  # nothing was sent for a while
            except aiohttp.ClientError:
                packet = None
            if packet is not None:
                self.client.receive_packet(packet)
            else:
                await self._reconnect()

    async def _reconnect(self) -> None:
        while True:
            move(self.client, self._chance.choice(self._here.all))
            with suppress(aiohttp.ClientError, TimeoutError):
                packet = await self.client.send_connect()
                if packet is not None:
                    assert f'"{self.client.pid}"' in packet, "every reconnect recovers"
                    self.connects += 1
                    return
            await asyncio.sleep(0.02)


async def step(here: Machines, chance: random.Random, wanderers: list[Wanderer]) -> None:
    """Do one thing that happens to machines."""
    kind = chance.choice(["change", "change", "change", "unseen", "lapse", "cut", "drop", "late"])
    machine = chance.choice(here.all)
    if kind == "change" and here.leader is not None:
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await here.change()
    elif kind in ("change", "unseen"):
        here.change_unseen()
    elif kind == "lapse":
        here.history.take_lease()
    elif kind == "cut":
        machine.log.cut()
        if machine.lease.leading:
            here.history.take_lease()
        asyncio.get_running_loop().call_later(chance.uniform(0.1, 1), machine.log.heal)
    elif kind == "late":
        machine.log.append_delay = chance.choice([0, 0.05])
    else:
        for each in here.all:
            for gone in list(each.gateway.clients):
                each.gateway.writer.abort(gone)
    await asyncio.sleep(chance.uniform(0, 0.2))


@pytest.mark.parametrize("seed", [1, 2])
async def test_clients_receive_every_change_once_in_order_at_any_machine(seed: int) -> None:
    chance = random.Random(seed)
    async with machines(3) as here, AsyncExitStack() as closing:
        clients = [
            await closing.enter_async_context(
                client(chance.choice(here.all).url, chance.choice(["websocket", "polling"]))
            )
            for _ in range(4)
        ]
        await asyncio.sleep(0.2)  # until their sessions are stored
        wanderers = [Wanderer(one, here, chance) for one in clients]
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(each.run()) for each in wanderers]
            for _ in range(STEPS):
                await step(here, chance, wanderers)
            for machine in here.all:
                machine.log.heal()
            await here.until_led()
            async with asyncio.timeout(30):
                while any(not prices(one) or prices(one)[-1][1] != here.price for one in clients):
                    await asyncio.sleep(0.05)
            for task in running:
                task.cancel()
        for one in clients:
            chain = prices(one)
            assert chain[0][0] == 1_000_000
            assert all(old == new for (_, new), (old, _) in itertools.pairwise(chain))
        assert sum(each.connects for each in wanderers) > 0
        assert all(machine.bridge.failure is None for machine in here.all)
