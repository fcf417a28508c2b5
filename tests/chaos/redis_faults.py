"""Faults of the Redis server that the machines share."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from tests.chaos.fault import Faults, UnavailableError

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator

    from tests.chaos.environment import Environment
    from tests.chaos.shared_redis import SharedRedis

fault = Faults()

AGREE_SECONDS = 10


@asynccontextmanager
async def _redis(env: Environment) -> AsyncIterator[SharedRedis]:
    """Return the server, with which no other fault does anything meanwhile. A bridge that starts
    without it may exit.
    """
    if env.machines is None:
        raise UnavailableError
    with ExitStack() as allowed:
        async with env.machines.redis.restarting:
            allowed.enter_context(env.machines.takeovers.fault())
            for machine in env.machines.all:
                allowed.enter_context(machine.bridge.allowed_to_exit())
            yield env.machines.redis


@fault("redis_flush", 3)
async def _(env: Environment, _rng: random.Random, _seconds: float) -> None:
    async with _redis(env) as redis:
        await redis.flush()


@fault("redis_trim", 2)
async def _(env: Environment, _rng: random.Random, _seconds: float) -> None:
    async with _redis(env) as redis:
        await redis.trim()


@fault("redis_restart", 4)
async def _(env: Environment, rng: random.Random, _seconds: float) -> None:
    async with _redis(env) as redis:
        await redis.restart(rng.choice((0, 1, 5)), kept=True)


@fault("redis_wipe", 3)
async def _(env: Environment, rng: random.Random, _seconds: float) -> None:
    async with _redis(env) as redis:
        await redis.restart(rng.choice((0, 1, 5)), kept=False)


@fault("redis_promote", 4)
async def _(env: Environment, rng: random.Random, _seconds: float) -> None:
    """Lose the last second. No machine breaks at the same time: the machines would not agree on a
    history within the time that this waits.
    """
    async with AsyncExitStack() as held:
        for machine in () if env.machines is None else env.machines.all:
            await held.enter_async_context(machine.lock)
        async with _redis(env) as redis:
            assert env.machines is not None
            await env.machines.agreed(AGREE_SECONDS)
            await redis.promote(rng.uniform(0.2, 1.2))
            await env.machines.agreed(AGREE_SECONDS)


@fault("redis_pause", 4)
async def _(env: Environment, rng: random.Random, _seconds: float) -> None:
    async with _redis(env) as redis:
        redis.pause()
        try:
            await asyncio.sleep(rng.uniform(0.5, 7))
        finally:
            redis.resume()


@fault("redis_full", 4)
async def _(env: Environment, rng: random.Random, _seconds: float) -> None:
    async with _redis(env) as redis:
        await redis.fill()
        try:
            await asyncio.sleep(rng.uniform(0.5, 5))
        finally:
            await redis.empty()


@fault("redis_cut", 4)
async def _(env: Environment, rng: random.Random, _seconds: float) -> None:
    """Reset the connections of all machines, and refuse new ones for a while."""
    async with _redis(env):
        assert env.machines is not None
        for machine in env.machines.all:
            machine.redis.refuse()
        await asyncio.sleep(rng.choice((0, 1, 4)))
        for machine in env.machines.all:
            machine.redis.heal()
