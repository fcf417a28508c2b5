"""Faults of the clients and of their connections, and changes of their subscriptions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.chaos.client_spec import random_subscription
from tests.chaos.fault import Faults

if TYPE_CHECKING:
    import random

    from tests.chaos.environment import Environment

fault = Faults()


def _some(env: Environment, rng: random.Random) -> list[str]:
    """Return the names of up to a third of the clients that connect through a proxy."""
    names = list(env.proxies)
    return rng.sample(names, rng.randint(1, max(1, len(names) // 3)))


@fault("cut", 6)
async def _(env: Environment, rng: random.Random, _seconds: float) -> None:
    for name in _some(env, rng):
        env.proxies[name].reset()


@fault("cut_all", 1)
async def _(env: Environment, _rng: random.Random, _seconds: float) -> None:
    for proxy in env.proxies.values():
        proxy.reset()


@fault("stall_clients", 3)
async def _(env: Environment, rng: random.Random, seconds: float) -> None:
    names = _some(env, rng)
    for name in names:
        env.proxies[name].stall()
    await asyncio.sleep(seconds)
    for name in names:
        env.proxies[name].resume()


@fault("half_open_clients", 3)
async def _(env: Environment, rng: random.Random, seconds: float) -> None:
    names = _some(env, rng)
    for name in names:
        env.proxies[name].half_open()
        if rng.random() < 0.5:
            # The client reconnects while the bridge still takes its former connection for open.
            env.command(name, drop=True)
    await asyncio.sleep(seconds)
    for name in names:
        env.proxies[name].heal()


@fault("drop_clients", 4)
async def _(env: Environment, rng: random.Random, _seconds: float) -> None:
    for name in _some(env, rng):
        env.command(name, drop=True)


@fault("goodbye", 1)
async def _(env: Environment, rng: random.Random, _seconds: float) -> None:
    for name in _some(env, rng)[:3]:
        env.command(name, goodbye=True)


@fault("resubscribe", 14)
async def _(env: Environment, rng: random.Random, _seconds: float) -> None:
    """Change the subscription of up to three clients that resubscribe."""
    specs = [spec for spec in env.specs if spec.resubscribes]
    for spec in rng.sample(specs, min(len(specs), rng.randint(1, 3))):
        argument = random_subscription(rng, env.keys)
        if rng.random() < 0.5:
            request = {"name": "unsubscribe", "argument": argument}
        else:
            request = {"name": "subscribe", "argument": argument}
            if spec.snapshots:
                argument["snapshot"] = True
        env.command(spec.name, request=request)
