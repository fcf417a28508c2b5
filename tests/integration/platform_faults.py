"""One scenario per fault of the database, of its tables and of PostgREST."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg

from tests.integration.scenario import ScenarioList
from tests.support import faults
from tests.support.faults import KEY_IDENTITY, NO_ROW_SECURITY, LostChanges, ServiceFault

if TYPE_CHECKING:
    from tests.integration.scenario import ScenarioRun
    from tests.support.faults import LastingFault

PLATFORM = ScenarioList()

LARGE = "(select string_agg(md5(n::text || %s::text), '') from generate_series(1, %s::int) n)"
"""A text that does not compress, 32 bytes per %s."""
KIB = 1024 // 32


async def enlarge(run: ScenarioRun, kibibytes: int, *keys: str) -> None:
    for number, key in enumerate(keys):
        await run.writer.update(f"address = {LARGE}", number, kibibytes * KIB, key=key)


# Changes of rows that the stream does not deliver.


@PLATFORM.add("properties are deleted while the channel is mute", only_act_writes=True)
async def _(run: ScenarioRun) -> None:
    run.sandbox.faults.mute()
    await run.writer.delete(*run.keys[:5])


@PLATFORM.add("properties move while the channel is mute", only_act_writes=True)
async def _(run: ScenarioRun) -> None:
    run.sandbox.faults.mute()
    for key in run.keys[:5]:
        await run.writer.move(key)


@PLATFORM.add(
    "properties are inserted, changed and deleted while the channel is mute", only_act_writes=True
)
async def _(run: ScenarioRun) -> None:
    run.sandbox.faults.mute()
    before = set(run.keys)
    await run.writer.insert(5)
    await run.writer.change()
    await run.writer.delete(*(set(run.keys) - before))


@PLATFORM.add("keys change", only_act_writes=True)
async def _(run: ScenarioRun) -> None:
    for key in run.keys[:5]:
        await run.writer.rename(key)


@PLATFORM.add("keys change while the channel is mute", only_act_writes=True)
async def _(run: ScenarioRun) -> None:
    run.sandbox.faults.mute()
    for key in run.keys[:5]:
        await run.writer.rename(key)


@PLATFORM.add("TRUNCATE", only_act_writes=True)
async def _(run: ScenarioRun) -> None:
    await run.writer.truncate()


@PLATFORM.add("TRUNCATE, and new rows at once", only_act_writes=True)
async def _(run: ScenarioRun) -> None:
    await run.writer.truncate()
    await run.writer.insert(10)


@PLATFORM.add(
    "500 rows are inserted, changed and deleted, a transaction each", only_act_writes=True
)
async def _(run: ScenarioRun) -> None:
    before = set(run.keys)
    await run.writer.insert(500)
    await run.until_converged()
    await run.writer.change()
    await run.until_converged()
    await run.writer.delete(*(set(run.keys) - before))


@PLATFORM.add("the change of a long transaction is dropped", only_act_writes=True)
async def _(run: ScenarioRun) -> None:
    first, *others = run.keys
    sandbox = run.sandbox
    async with await psycopg.AsyncConnection.connect(sandbox.database_url) as connection:
        await connection.execute(
            "update properties set price = -price - 1 + 1000000 where id = %s", (first,)
        )
        for key in others:
            await run.writer.change(key)
        await run.until_converged()
        dropped = sandbox.faults.dropped
        sandbox.faults.drop()
        await connection.commit()
    await run.writer.catch_up()
    await run.until(lambda: sandbox.faults.dropped > dropped)


# Large values, replica identities and other properties of a table.


@PLATFORM.add("values are over 1 MiB, Realtime sends 413", only_act_writes=True)
async def _(run: ScenarioRun) -> None:
    await enlarge(run, 1100, *run.keys[:2])
    for key in run.keys[:2]:
        await run.writer.change(key)
    await run.writer.move(run.keys[0])


@PLATFORM.add("unchanged large values make frames over 1 MiB", only_act_writes=True)
async def _(run: ScenarioRun) -> None:
    await enlarge(run, 600, run.keys[0])
    await run.writer.change(run.keys[0])


@PLATFORM.add("unchanged large values are omitted", altered=(KEY_IDENTITY,), only_act_writes=True)
async def _(run: ScenarioRun) -> None:
    await enlarge(run, 20, *run.keys[:5])
    for key in run.keys[:5]:
        await run.writer.change(key)
        await run.writer.move(key)


@PLATFORM.add(
    "the change of a large value is dropped, and the next change omits the value",
    altered=(KEY_IDENTITY,),
    only_act_writes=True,
    omits_large_values=True,
)
async def _(run: ScenarioRun) -> None:
    # Nothing in the next change indicates that the value it omits has changed: until the table is
    # read, events carry the old value.
    sandbox = run.sandbox
    dropped = sandbox.faults.dropped
    sandbox.faults.drop(5)
    # In one transaction: if the stream were resubscribed after the first, the others would not be
    # sent, and so not dropped.
    await run.writer.write(
        f"update properties set address = {LARGE} where id = any(%s::uuid[])",
        (0, 20 * KIB, run.keys[:5]),
    )
    await run.until(lambda: sandbox.faults.dropped >= dropped + 5)
    for key in run.keys[:5]:
        await run.writer.change(key)


async def _lose_changes(run: ScenarioRun) -> None:
    """Drop, hold back and lose changes, with writes between."""
    await run.written(10)
    options: dict[str, Any]
    for fault, options in (
        ("drop", {"count": 3}),
        ("stall", {}),
        ("rebuild", {}),
        ("close", {"code": 1006}),
    ):
        await run.target.fault(fault, **options)
        await run.written(10)


for name, altered in (
    ("gaps, replica identity default", (KEY_IDENTITY,)),
    ("gaps, row level security off", (NO_ROW_SECURITY,)),
    ("gaps, identity default and security off", (KEY_IDENTITY, NO_ROW_SECURITY)),
):
    PLATFORM.add(name, altered=altered)(_lose_changes)


@PLATFORM.add("a column is added and dropped again", undone=(faults.EXTRA_COLUMN,))
async def _(run: ScenarioRun) -> None:
    await run.written(10)
    await faults.EXTRA_COLUMN.start(run.target)
    await run.written()
    await faults.EXTRA_COLUMN.stop(run.target)
    await run.written()


# Outages.


async def _fail_reads(run: ScenarioRun, fault: LastingFault) -> None:
    """Lose changes, and fail the table reads that look for them."""
    lost = LostChanges("rebuild")
    await lost.start(run.target)
    await run.written(10)
    await fault.start(run.target)
    await lost.stop(run.target)
    await run.fault_time()
    await fault.stop(run.target)


for name, fault in (
    ("PostgREST is down during a gap", faults.REST_DOWN),
    ("PostgREST hangs during a gap", faults.REST_HANG),
    (
        "PostgREST fails five times during a gap",
        ServiceFault({"name": "rest-fail", "n": 5}, {"name": "rest-heal"}),
    ),
    ("PostgREST is slow during a gap", faults.REST_DELAY),
):
    PLATFORM.add(name)(partial(_fail_reads, fault=fault))


async def _restart(run: ScenarioRun, *, crash: bool) -> None:
    await run.written(10)
    await run.sandbox.restart_postgres(crash=crash)
    # A crash may undo the last commits: the table as it is now decides.
    await run.written(10)


for crash, name in ((False, "the database restarts"), (True, "the database crashes")):
    PLATFORM.add(name)(partial(_restart, crash=crash))


@PLATFORM.add("the database takes long to shut down")
async def _(run: ScenarioRun) -> None:
    await run.written(10)
    await run.sandbox.restart_postgres(shutdown_seconds=run.timing.shutdown_seconds)
    await run.written(10)


@PLATFORM.add("the table is not in the publication for a while", undone=(faults.NO_PUBLICATION,))
async def _(run: ScenarioRun) -> None:
    await faults.NO_PUBLICATION.start(run.target)
    await run.until_down()
    await run.fault_time()
    await faults.NO_PUBLICATION.stop(run.target)


async def _empty_publication(run: ScenarioRun, *, long: bool) -> None:
    poller = run.sandbox.realtime.poller
    dropped = poller.slots_dropped
    await faults.EMPTY_PUBLICATION.start(run.target)
    await run.until(lambda: poller.slots_dropped > dropped)
    if long:
        await run.until_down()
        await run.fault_time()
    await faults.EMPTY_PUBLICATION.stop(run.target)
    await run.written()


for long, name in (
    (True, "the publication is empty for a while"),
    (False, "the publication is empty for a moment, which costs the slot for longer"),
):
    PLATFORM.add(name, undone=(faults.EMPTY_PUBLICATION,))(partial(_empty_publication, long=long))


@PLATFORM.add("the right to select is revoked for a while", undone=(faults.NO_SELECT,))
async def _(run: ScenarioRun) -> None:
    await faults.NO_SELECT.start(run.target)
    await run.written()
    await run.fault_time()
    await faults.NO_SELECT.stop(run.target)
