"""`BRIDGE_SOURCE=postgres` on a real PostgreSQL: from a commit to the log, and after a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.source.replication.lsn import StreamPosition, parse_lsn
from tests.integration.replication_rig import (
    ReplicationRig,
    drop_replication,
    replication_settings,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bridge.sandbox import Sandbox
    from bridge.settings import Settings


@pytest.fixture
async def settings(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Settings]:
    """Settings of a bridge without slot and publication; both are dropped after the test."""
    yield replication_settings(sandbox, tmp_path)
    await drop_replication(sandbox, "bridge")


async def a_key(sandbox: Sandbox) -> str:
    [row] = await sandbox.execute("select id::text from properties order by id limit 1")
    return str(row["id"])


async def test_first_start_loads_the_table_without_events(
    sandbox: Sandbox, settings: Settings
) -> None:
    [counted] = await sandbox.execute("select count(*) as rows from properties")
    async with ReplicationRig.open(settings) as rig:
        await rig.live()
        assert len(rig.pipeline.rows) == counted["rows"]
        assert rig.events == []


async def test_change_is_published_with_old_and_new_value(
    sandbox: Sandbox, settings: Settings
) -> None:
    key = await a_key(sandbox)
    async with ReplicationRig.open(settings) as rig:
        await rig.live()
        [before] = await sandbox.execute("select price from properties where id = %s", (key,))
        await sandbox.execute("update properties set price = 123 where id = %s", (key,))
        await rig.until(lambda: bool(rig.of(key)))
        [(name, data)] = rig.of(key)
        assert name == "property-updated"
        assert data["changes"] == {"price": {"old": before["price"], "new": 123}}


async def test_every_intermediate_state_is_published(sandbox: Sandbox, settings: Settings) -> None:
    key = await a_key(sandbox)
    async with ReplicationRig.open(settings) as rig:
        await rig.live()
        for price in range(200, 230):
            await sandbox.execute("update properties set price = %s where id = %s", (price, key))
        await rig.until(lambda: len(rig.of(key)) >= 30)
        assert [data["changes"]["price"]["new"] for _, data in rig.of(key)] == [*range(200, 230)]


async def test_transaction_is_one_commit_of_the_log(sandbox: Sandbox, settings: Settings) -> None:
    async with ReplicationRig.open(settings) as rig:
        await rig.live()
        await sandbox.execute("update properties set units = coalesce(units, 1) + 1")
        await rig.until(lambda: bool(rig.commits))
        [counted] = await sandbox.execute("select count(*) as rows from properties")
        assert [len(commit) for commit in rig.commits] == [counted["rows"]]


async def test_changes_while_the_bridge_was_down_are_published_once_after_a_restart(
    sandbox: Sandbox, settings: Settings
) -> None:
    key = await a_key(sandbox)
    async with ReplicationRig.open(settings) as rig:
        await rig.live()
        await sandbox.execute("update properties set price = 1 where id = %s", (key,))
        await rig.until(lambda: len(rig.of(key)) == 1)
    for price in (2, 3, 4):
        await sandbox.execute("update properties set price = %s where id = %s", (price, key))
    async with ReplicationRig.open(settings) as rig:
        await rig.until(lambda: len(rig.of(key)) >= 3)
        await sandbox.execute("update properties set price = 5 where id = %s", (key,))
        await rig.until(lambda: len(rig.of(key)) >= 4)
        assert [data["changes"]["price"] for _, data in rig.of(key)] == [
            {"old": old, "new": old + 1} for old in (1, 2, 3, 4)
        ]
        assert rig.pipeline.status().counts.get("gaps", 0) == 0


async def test_lsn_is_confirmed_only_for_what_the_log_has_stored(
    sandbox: Sandbox, settings: Settings
) -> None:
    key = await a_key(sandbox)
    async with ReplicationRig.open(settings) as rig:
        await rig.live()
        await sandbox.execute("update properties set price = 9 where id = %s", (key,))
        await rig.until(lambda: len(rig.of(key)) == 1)
        stored = StreamPosition.parse(rig.log.progress.stream)
        assert stored is not None

    [slot] = await sandbox.execute(
        "select confirmed_flush_lsn::text as lsn from pg_replication_slots"
        " where slot_name = 'bridge'"
    )
    assert parse_lsn(slot["lsn"]) <= stored.lsn
