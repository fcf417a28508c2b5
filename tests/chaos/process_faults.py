"""Faults of the bridge's process, and of the machine that it runs on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.chaos.fault import Faults, UnavailableError

if TYPE_CHECKING:
    import random

    from tests.chaos.environment import Environment

fault = Faults()


@fault("kill", 5)
async def _(env: Environment, rng: random.Random, _seconds: float) -> None:
    async with env.process:
        await env.bridge.kill(rng.uniform(0, 1))


@fault("kill_starting", 2)
async def _(env: Environment, rng: random.Random, _seconds: float) -> None:
    async with env.process:
        for _ in range(rng.randint(2, 4)):
            await env.bridge.kill(0)
            await env.bridge.running()
            await asyncio.sleep(rng.uniform(0, 2.5))


@fault("kill_in_pass", 3)
async def _(env: Environment, rng: random.Random, seconds: float) -> None:
    """Kill the bridge during the scan that follows a rebuilt subscription."""
    async with env.process:
        await env.platform.fault("stall")
        await asyncio.sleep(seconds / 2)
        await env.platform.fault("rebuild")
        await asyncio.sleep(rng.uniform(0, 0.3))
        await env.bridge.kill(0)


@fault("kill_worker", 3)
async def _(env: Environment, rng: random.Random, _seconds: float) -> None:
    """Kill one process of several: the leader process, or one that serves."""
    async with env.process:
        await env.bridge.ready()
        workers = await env.bridge.workers()
        if not workers:
            raise UnavailableError("the bridge is one process")
        await env.bridge.kill_worker(rng.choice(workers))
        if rng.random() < 0.5:
            await asyncio.sleep(rng.uniform(0, 2))
            await env.bridge.kill_worker(rng.choice(await env.bridge.workers() or workers))


@fault("stop", 2)
async def _(env: Environment, rng: random.Random, _seconds: float) -> None:
    async with env.process:
        await env.bridge.stop(rng.uniform(0, 1))


@fault("freeze", 2)
async def _(env: Environment, _rng: random.Random, seconds: float) -> None:
    async with env.process:
        await env.bridge.freeze()
        await asyncio.sleep(seconds)
        await env.bridge.thaw()


@fault("clock", 2)
async def _(env: Environment, rng: random.Random, _seconds: float) -> None:
    env.bridge.set_clock(rng.choice((0, 5, -5, 60, -60, 3600, -3600, 400 * 86400)))


@fault("disk_full", 2)
async def _(env: Environment, _rng: random.Random, seconds: float) -> None:
    if env.disk is None:
        raise UnavailableError
    async with env.process:
        env.bridge.may_exit = True
        await env.disk.fill()
        await asyncio.sleep(seconds)
        env.disk.empty()
        await env.bridge.ready()
        env.bridge.may_exit = False
