"""Faults of Realtime, of PostgREST and of the database."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg

from tests.chaos.fault import Faults
from tests.support import faults
from tests.support.faults import TABLE, LostChanges

if TYPE_CHECKING:
    import random

    from tests.chaos.environment import Environment
    from tests.support.faults import LastingFault

fault = Faults()


async def _inject(
    env: Environment, _rng: random.Random, _seconds: float, name: str, **options: Any
) -> None:
    await env.platform.fault(name, **options)


for name in (
    "mute",
    "oversize",
    *faults.CHANNEL_FAULTS,
    "half_open",
    "stop_cdc",
    *faults.LOSING_FAULTS,
):
    fault(name)(partial(_inject, name=name))
for code in faults.CLOSE_CODES:
    fault(f"close_{code}", 1)(partial(_inject, name="close", code=code))


async def _inject_some(env: Environment, rng: random.Random, _seconds: float, name: str) -> None:
    await env.platform.fault(name, count=rng.randint(1, 12))


for name in faults.COUNTED_FAULTS:
    fault(name, 3)(partial(_inject_some, name=name))


async def _last(
    env: Environment, _rng: random.Random, seconds: float, lasting: LastingFault
) -> None:
    await lasting.start(env.platform)
    await asyncio.sleep(seconds)
    await lasting.stop(env.platform)


for name, lasting in (
    ("mute_new", faults.MUTE_ALL),
    ("rate_limit", faults.RATE_LIMIT),
    ("late_system", faults.LATE_SYSTEM),
    ("no_system", faults.NO_SYSTEM),
    ("database_timeouts", faults.DATABASE_TIMEOUTS),
    ("refuse", faults.REFUSE),
    ("stall", faults.STALL),
    ("rest_down", faults.REST_DOWN),
    ("rest_hang", faults.REST_HANG),
    ("rest_delay", faults.REST_DELAY),
):
    fault(name)(partial(_last, lasting=lasting))


@fault("rest_fail")
async def _(env: Environment, rng: random.Random, _seconds: float) -> None:
    status = rng.choice((500, 502, 503, 504, 429))
    await env.platform.fault("rest-fail", n=rng.randint(1, 6), status=status)


@fault("realtime_restart")
async def _(env: Environment, _rng: random.Random, seconds: float) -> None:
    await env.platform.fault("restart", seconds=seconds)


@fault("stall_and_lose", 3)
async def _(env: Environment, rng: random.Random, seconds: float) -> None:
    await _last(env, rng, seconds, LostChanges(rng.choice(faults.LOSING_FAULTS)))


# -- the database


async def _restart(env: Environment, _rng: random.Random, _seconds: float, *, crash: bool) -> None:
    async with env.database:
        await env.platform.restart(crash=crash)


fault("postgres_restart", 1)(partial(_restart, crash=False))
fault("postgres_crash", 1)(partial(_restart, crash=True))


@fault("postgres_slow_shutdown", 1)
async def _(env: Environment, _rng: random.Random, seconds: float) -> None:
    async with env.database:
        await env.platform.restart(shutdown_seconds=seconds)


@fault("truncate", 1)
async def _(env: Environment, _rng: random.Random, _seconds: float) -> None:
    async with env.database:
        await env.platform.execute(f"truncate {TABLE}")


async def _alter(
    env: Environment, rng: random.Random, seconds: float, altered: LastingFault
) -> None:
    async with env.database:
        await _last(env, rng, seconds, altered)


for name, altered in (
    ("identity", faults.KEY_IDENTITY),
    ("column", faults.EXTRA_COLUMN),
    ("publication", faults.NO_PUBLICATION),
    ("empty_publication", faults.EMPTY_PUBLICATION),
    ("revoke", faults.NO_SELECT),
    ("security", faults.NO_ROW_SECURITY),
):
    fault(name, 1)(partial(_alter, altered=altered))


@fault("huge", 1)
async def _(env: Environment, rng: random.Random, seconds: float) -> None:
    """A value that is too large for a message of Realtime, and for the queue of a slow client."""
    key = rng.choice(env.keys)
    for text in ("(select string_agg(md5(n::text), '') from generate_series(1, 35000) n)", "null"):
        await env.platform.execute(f"update {TABLE} set address = {text} where id = '{key}'")
        await asyncio.sleep(seconds)


@fault("terminate", 2)
async def _(env: Environment, rng: random.Random, _seconds: float) -> None:
    """End the connection of a replication slot, several times."""
    for _ in range(rng.randint(1, 3)):
        await env.platform.execute(
            "select pg_terminate_backend(active_pid) from pg_replication_slots"
            " where slot_name like 'bridge%' and active"
        )
        await asyncio.sleep(rng.uniform(0, 0.3))


@fault("database_cut", 2)
async def _(env: Environment, _rng: random.Random, _seconds: float) -> None:
    """Reset all connections between the bridge and PostgreSQL."""
    env.database_proxy.reset()


@fault("database_stall", 2)
async def _(env: Environment, _rng: random.Random, seconds: float) -> None:
    """The network stands still."""
    env.database_proxy.stall()
    await asyncio.sleep(seconds)
    env.database_proxy.resume()


@fault("database_half_open", 1)
async def _(env: Environment, _rng: random.Random, seconds: float) -> None:
    """The connections lose all data, until they are reset."""
    env.database_proxy.half_open()
    await asyncio.sleep(seconds)
    env.database_proxy.heal()


@fault("drop_slot", 1)
async def _(env: Environment, _rng: random.Random, seconds: float) -> None:
    """Drop the slot, also while it is in use."""
    env.slot_dropped = True
    for _ in range(20):
        await env.platform.execute(
            "select pg_terminate_backend(active_pid) from pg_replication_slots"
            " where slot_name = 'bridge' and active"
        )
        with suppress(psycopg.Error):
            await env.platform.execute(
                "select pg_drop_replication_slot(slot_name) from pg_replication_slots"
                " where slot_name = 'bridge' and not active"
            )
            if not await env.platform.execute(
                "select 1 from pg_replication_slots where slot_name = 'bridge' and active"
            ):
                break
    await asyncio.sleep(seconds)


@fault("long_transaction", 1)
async def _(env: Environment, rng: random.Random, _seconds: float) -> None:
    """Change all rows many times in one transaction."""
    times = rng.randint(20, 200)
    await env.platform.execute(
        f"do $$ begin for n in 1..{times} loop"
        f" update {TABLE} set units = (n % 50) + 1 where id in"
        f" (select id from {TABLE} order by id for update); end loop; end $$"
    )
