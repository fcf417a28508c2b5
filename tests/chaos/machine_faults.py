"""Faults of one machine of several: its process, and its ways to Redis and to Supabase."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from tests.chaos.fault import Faults, UnavailableError

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator

    from tests.chaos.environment import Environment
    from tests.chaos.machines import Machine, Machines
    from tests.support.tcp_proxy import TcpProxy

fault = Faults()

START_SECONDS = 10


def _machines(env: Environment) -> Machines:
    if env.machines is None:
        raise UnavailableError
    return env.machines


@asynccontextmanager
async def _fault(env: Environment, rng: random.Random) -> AsyncIterator[tuple[Machines, Machine]]:
    """Return the machines, and the one to break: the leader, or at times any."""
    machines = _machines(env)
    machine = await machines.pick(rng)
    with machines.takeovers.fault():
        yield machines, machine


async def _watch(machines: Machines, machine: Machine, cause: str) -> None:
    """Measure the takeover that a fault of this machine causes, if it leads."""
    if machine is await machines.leader():
        await machines.takeovers.watch(cause)


def _require_another(machines: Machines, machine: Machine) -> None:
    """Raises `UnavailableError` if no other one is ready: a bridge that starts alone goes on in
    another epoch.
    """
    if not [each for each in machines.ready if each is not machine]:
        raise UnavailableError


async def _started(machine: Machine) -> None:
    """Wait until the machine is ready again, if that is soon: it could not take over before."""
    with suppress(TimeoutError):
        async with asyncio.timeout(START_SECONDS):
            await machine.bridge.ready()


@fault("machine_kill", 12)
async def _(env: Environment, rng: random.Random, _seconds: float) -> None:
    async with _fault(env, rng) as (machines, machine), machine.lock:
        _require_another(machines, machine)
        await _watch(machines, machine, "killed")
        await machine.bridge.kill(rng.uniform(0, 6))
        await _started(machine)


@fault("machine_stop", 6)
async def _(env: Environment, rng: random.Random, _seconds: float) -> None:
    async with _fault(env, rng) as (machines, machine), machine.lock:
        _require_another(machines, machine)
        await _watch(machines, machine, "stopped")
        await machine.bridge.stop(rng.uniform(0, 2))
        await _started(machine)


@fault("machine_freeze", 10)
async def _(env: Environment, rng: random.Random, _seconds: float) -> None:
    """Freeze a machine, mostly beyond its lease; its clients may reconnect elsewhere meanwhile."""
    async with _fault(env, rng) as (machines, machine), machine.lock:
        seconds = rng.uniform(0.5, 8)
        if seconds > 4:
            await _watch(machines, machine, "frozen")
        await machine.bridge.freeze()
        await asyncio.sleep(seconds / 2)
        if rng.random() < 0.5:
            for proxy in list(machine.clients):
                proxy.half_open()
                proxy.heal()
        await asyncio.sleep(seconds / 2)
        await machine.bridge.thaw()


@fault("machine_cut_off", 10)
async def _(env: Environment, rng: random.Random, _seconds: float) -> None:
    """Cut a machine from Redis."""
    seconds = rng.uniform(0.3, 8)
    async with _fault(env, rng) as (machines, machine), machine.lock:
        if seconds > 4:
            await _watch(machines, machine, "cut from Redis")
        with machine.bridge.allowed_to_exit():
            await _cut(machine.redis, rng, seconds)


@fault("machine_blind", 6)
async def _(env: Environment, rng: random.Random, _seconds: float) -> None:
    """Cut a machine from Supabase, at times for longer than a leader may be."""
    async with _fault(env, rng) as (machines, machine):
        seconds = rng.choice((2, 5, 14))
        if seconds > 10:
            await _watch(machines, machine, "cut from Supabase")
        await _cut(machine.supabase, rng, seconds)


@fault("machine_leave", 4)
async def _(env: Environment, rng: random.Random, _seconds: float) -> None:
    """Reset all connections of the clients of one machine, which reconnect anywhere."""
    machines = _machines(env)
    for proxy in list(rng.choice(machines.all).clients):
        proxy.reset()


async def _cut(proxy: TcpProxy, rng: random.Random, seconds: float) -> None:
    """Cut a way: its packets wait, or are lost, or its connections are refused."""
    way = rng.choice((proxy.refuse, proxy.stall, proxy.half_open))
    way()
    try:
        await asyncio.sleep(seconds)
    finally:
        proxy.heal()
