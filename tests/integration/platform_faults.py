"""What the database, its tables and PostgREST may do to a bridge, one scenario each."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import psycopg

from tests.integration.repertoire import Repertoire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.integration.stage import Stage

PLATFORM = Repertoire()

KEY_ONLY = "alter table public.properties replica identity default"
WHOLE_ROWS = "alter table public.properties replica identity full"
RLS_OFF = "alter table public.properties disable row level security"
RLS_ON = "alter table public.properties enable row level security"

LARGE = "(select string_agg(md5(n::text || %s::text), '') from generate_series(1, %s::int) n)"
"""A text that doesn't compress, 32 bytes per %s."""
KIB = 1024 // 32


async def enlarge(stage: Stage, kibibytes: int, *keys: object) -> None:
    for number, key in enumerate(keys):
        await stage.writer.update(f"address = {LARGE}", number, kibibytes * KIB, key=key)


# What is done to rows while nothing is heard of it.


@PLATFORM.scenario("properties are deleted while the channel is mute", idle=True)
async def _(stage: Stage) -> None:
    stage.sandbox.faults.mute()
    await stage.writer.delete(*stage.keys[:5])


@PLATFORM.scenario("properties move while the channel is mute", idle=True)
async def _(stage: Stage) -> None:
    stage.sandbox.faults.mute()
    for key in stage.keys[:5]:
        await stage.writer.move(key)


@PLATFORM.scenario("properties come, change and go again while the channel is mute", idle=True)
async def _(stage: Stage) -> None:
    stage.sandbox.faults.mute()
    known = set(stage.keys)
    await stage.writer.insert(5)
    await stage.writer.change()
    await stage.writer.delete(*(set(stage.keys) - known))


@PLATFORM.scenario("keys change", idle=True)
async def _(stage: Stage) -> None:
    for key in stage.keys[:5]:
        await stage.writer.rename(key)


@PLATFORM.scenario("keys change while the channel is mute", idle=True)
async def _(stage: Stage) -> None:
    stage.sandbox.faults.mute()
    for key in stage.keys[:5]:
        await stage.writer.rename(key)


@PLATFORM.scenario("TRUNCATE", idle=True)
async def _(stage: Stage) -> None:
    await stage.writer.truncate()


@PLATFORM.scenario("TRUNCATE, and new rows at once", idle=True)
async def _(stage: Stage) -> None:
    await stage.writer.truncate()
    await stage.writer.insert(10)


@PLATFORM.scenario("500 rows come, change and go, a transaction each", idle=True)
async def _(stage: Stage) -> None:
    known = set(stage.keys)
    client, patience = stage.line.client, stage.tempo.patience
    await stage.writer.insert(500)
    await client.until(stage.told, patience)
    await stage.writer.change()
    await client.until(stage.told, patience)
    await stage.writer.delete(*(set(stage.keys) - known))


@PLATFORM.scenario("the change of a long transaction is dropped", idle=True)
async def _(stage: Stage) -> None:
    first, *others = stage.keys
    sandbox = stage.sandbox
    async with await psycopg.AsyncConnection.connect(sandbox.database_url) as connection:
        cursor = await connection.execute(
            "update properties set price = -price - 1 + 1000000 where id = %s"
            " returning to_jsonb(properties)",
            (first,),
        )
        rows = await cursor.fetchall()
        for key in others:
            await stage.writer.change(key)
        await stage.line.client.until(stage.told, stage.tempo.patience)
        dropped = sandbox.faults.dropped
        sandbox.faults.drop()
        await connection.commit()
    stage.writer.truth.commit(rows[0][0])
    await stage.until(lambda: sandbox.faults.dropped > dropped)


# Rows and tables of every kind.


@PLATFORM.scenario("values are over 1 MiB, Realtime sends 413", idle=True)
async def _(stage: Stage) -> None:
    await enlarge(stage, 1100, *stage.keys[:2])
    for key in stage.keys[:2]:
        await stage.writer.change(key)
    await stage.writer.move(stage.keys[0])


@PLATFORM.scenario("unchanged large values make frames over 1 MiB", idle=True)
async def _(stage: Stage) -> None:
    await enlarge(stage, 600, stage.keys[0])
    await stage.writer.change(stage.keys[0])


@PLATFORM.scenario(
    "unchanged large values are left out", before=(KEY_ONLY,), after=(WHOLE_ROWS,), idle=True
)
async def _(stage: Stage) -> None:
    await enlarge(stage, 20, *stage.keys[:5])
    for key in stage.keys[:5]:
        await stage.writer.change(key)
        await stage.writer.move(key)


@PLATFORM.scenario(
    "a large value changes unheard, and is left out of the next change",
    before=(KEY_ONLY,),
    after=(WHOLE_ROWS,),
    idle=True,
    blends=True,
)
async def _(stage: Stage) -> None:
    # Nothing in the next change says that a value which it leaves out was changed unheard: until
    # the table is read, the old value is told on.
    sandbox = stage.sandbox
    dropped = sandbox.faults.dropped
    sandbox.faults.drop(5)
    await enlarge(stage, 20, *stage.keys[:5])
    await stage.until(lambda: sandbox.faults.dropped >= dropped + 5)
    for key in stage.keys[:5]:
        await stage.writer.change(key)


async def _gaps(stage: Stage) -> None:
    """Changes that are dropped, held back and lost, with writes between them."""
    faults = stage.sandbox.faults
    await stage.written(10)
    for trouble, options in (
        ("drop", {"count": 3}),
        ("stall", {}),
        ("rebuild", {}),
        ("close", {"code": 1006}),
    ):
        await faults.apply(trouble, **options)
        await stage.written(10)


for name, before, after in (
    ("gaps, replica identity default", (KEY_ONLY,), (WHOLE_ROWS,)),
    ("gaps, row level security off", (RLS_OFF,), (RLS_ON,)),
    ("gaps, identity default and security off", (KEY_ONLY, RLS_OFF), (WHOLE_ROWS, RLS_ON)),
):
    PLATFORM.scenario(name, before=before, after=after)(_gaps)


@PLATFORM.scenario(
    "a column is added and dropped again",
    after=("alter table public.properties drop column if exists floors",),
)
async def _(stage: Stage) -> None:
    await stage.written(10)
    await stage.sandbox.execute("alter table public.properties add column floors int default 3")
    await stage.written()
    await stage.sandbox.execute("alter table public.properties drop column floors")
    await stage.written()


# The platform goes away.


async def _rest(stage: Stage, name: str, on: Mapping[str, object]) -> None:
    faults = stage.sandbox.faults
    faults.stall()
    await stage.written(10)
    stage.sandbox.rest_faults.apply(name, **on)
    await faults.rebuild()
    await stage.pass_time()
    stage.sandbox.rest_faults.heal()


for name, fault, options in (
    ("PostgREST is down during a gap", "rest-down", {}),
    ("PostgREST hangs during a gap", "rest-hang", {}),
    ("PostgREST fails five times during a gap", "rest-fail", {"n": 5}),
    ("PostgREST is slow during a gap", "rest-delay", {"seconds": 0.2}),
):
    PLATFORM.scenario(name)(partial(_rest, name=fault, on=options))


async def _restart(stage: Stage, *, crash: bool) -> None:
    await stage.written(10)
    await stage.sandbox.restart_postgres(crash=crash)
    # With a crash, the last commits may be undone: what is in the table now is what counts.
    await stage.written(10)


for crash, name in ((False, "the database restarts"), (True, "the database crashes")):
    PLATFORM.scenario(name)(partial(_restart, crash=crash))


@PLATFORM.scenario(
    "the table leaves the publication for a while",
    after=("alter publication supabase_realtime set table public.properties",),
)
async def _(stage: Stage) -> None:
    await stage.sandbox.execute("alter publication supabase_realtime drop table public.properties")
    await stage.until_down()
    await stage.pass_time()
    await stage.sandbox.execute("alter publication supabase_realtime add table public.properties")


@PLATFORM.scenario(
    "the right to read is taken away for a while",
    after=("grant select on public.properties to service_role",),
)
async def _(stage: Stage) -> None:
    await stage.sandbox.execute("revoke select on public.properties from service_role")
    await stage.written()
    await stage.pass_time()
    await stage.sandbox.execute("grant select on public.properties to service_role")
