"""A standby of PostgreSQL that is promoted: nothing is lost, and what it lacks is compared."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from pydantic import SecretStr

from bridge.sandbox.postgres import server as postgres_server
from bridge.sandbox.postgres.server import SUPERUSER, PostgresServer
from bridge.source.replication import source as sources
from tests.integration.replication_rig import ReplicationRig, replication_settings
from tests.integration.test_replication_faults import prices, steps
from tests.support.standby import PHYSICAL_SLOT, standby_of
from tests.support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bridge.sandbox import Sandbox
    from bridge.settings import Settings

SLOT = "bridge_houses"
SECONDS = 40
"""Time limit of each step on PostgreSQL."""


@pytest.fixture(autouse=True)
def _frequent_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the slot move soon, so that it can be copied."""
    monkeypatch.setattr(sources, "STATUS_SECONDS", 0.2)


@dataclass
class Pair:
    """A primary, its standby, and the address that always leads to the primary of the time."""

    primary: PostgresServer
    standby: PostgresServer
    proxy: TcpProxy
    settings: Settings

    async def write(self, server: PostgresServer, *prices: int) -> None:
        for price in prices:
            await run(server, "update houses set price = %s where id = 1", price)

    async def caught_up(self) -> None:
        """Wait until the standby has replayed all WAL of the primary."""
        [(end,)] = await run(self.primary, "select pg_current_wal_lsn()::text")
        await until(self.standby, "select pg_last_wal_replay_lsn() >= %s::pg_lsn", end)

    async def promote(self) -> None:
        """Let the primary crash, promote the standby, and let the address lead to it."""
        self.proxy.refuse()
        await self.primary.down(crash=True)
        await run(self.standby, "select pg_promote()")

    def reachable(self) -> None:
        self.proxy.connect_to(self.standby.port)
        self.proxy.heal()


async def run(server: PostgresServer, statement: str, *values: Any) -> list[Any]:
    async with await psycopg.AsyncConnection.connect(
        server.url(SUPERUSER), autocommit=True
    ) as connection:
        cursor = await connection.execute(statement.encode(), values)
        return await cursor.fetchall() if cursor.description else []


async def until(server: PostgresServer, condition: str, *values: Any) -> None:
    """Wait until a condition is true at a server."""
    async with asyncio.timeout(SECONDS):
        while not (await run(server, condition, *values))[0][0]:
            await asyncio.sleep(0.05)


@asynccontextmanager
async def pair(sandbox: Sandbox, directory: Path, version: int) -> AsyncIterator[Pair]:
    async with PostgresServer(version=version) as primary:
        await run(primary, "create table houses (id int primary key, state text, price int)")
        await run(primary, "insert into houses values (1, 'TX', 0)")
        async with (
            standby_of(primary, version) as standby,
            TcpProxy.open(primary.port) as proxy,
        ):
            url = primary.url(SUPERUSER).replace(f":{primary.port}/", f":{proxy.port}/")
            settings = replication_settings(
                sandbox,
                directory,
                database_url=SecretStr(url),
                table="houses",
                columns=("state", "price"),
                updated_at="",
                slot=SLOT,
                publication=SLOT,
            )
            yield Pair(primary, standby, proxy, settings)


async def copy_slot(servers: Pair) -> None:
    """Let the standby copy the bridge's slot, as `sync_replication_slots = on` does now and then,
    and the primary send nothing to the bridge that the standby lacks.
    """
    for server, name, value in (
        (servers.standby, "hot_standby_feedback", "on"),
        (servers.primary, "synchronized_standby_slots", PHYSICAL_SLOT),
    ):
        await run(server, f"alter system set {name} = '{value}'")
        await run(server, "select pg_reload_conf()")
    # The copy is temporary, of this session, until the slot has moved past the standby's snapshot.
    async with (
        asyncio.timeout(SECONDS),
        await psycopg.AsyncConnection.connect(
            servers.standby.url(SUPERUSER), autocommit=True
        ) as session,
    ):
        copied = "select from pg_replication_slots where synced and not temporary"
        while not await (await session.execute(copied)).fetchall():
            await run(servers.primary, "select pg_log_standby_snapshot()")
            await session.execute("select pg_sync_replication_slots()")
            await asyncio.sleep(0.2)


async def test_promoted_standby_with_the_slot_is_streamed_without_loss_or_repetition(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with (
        pair(sandbox, tmp_path, 18) as servers,
        ReplicationRig.open(servers.settings) as rig,
    ):
        await rig.live()
        await servers.write(servers.primary, *range(1, 6))
        await copy_slot(servers)
        await servers.write(servers.primary, *range(6, 11))
        await servers.caught_up()
        await servers.promote()
        await servers.write(servers.standby, *range(11, 21))
        servers.reachable()
        await rig.until(lambda: len(prices(rig)) >= 20, SECONDS)
        assert prices(rig) == steps(20)
        assert rig.pipeline.status().counts["gaps"] == 1


@pytest.mark.parametrize("version", [16, 18])
async def test_promoted_standby_without_the_slot_is_compared_and_streamed(
    sandbox: Sandbox, tmp_path: Path, version: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        pair(sandbox, tmp_path, version) as servers,
        ReplicationRig.open(servers.settings) as rig,
    ):
        await rig.live()
        await servers.write(servers.primary, 1, 2, 3)
        await run(servers.primary, "insert into houses values (2, 'TX', 0), (3, 'TX', 0)")
        await rig.until(lambda: len(rig.events) == 5)
        await servers.caught_up()
        await servers.promote()
        await servers.write(servers.standby, 4, 5)
        await run(servers.standby, "delete from houses where id = 2")
        await run(servers.standby, "insert into houses values (4, 'TX', 0)")
        servers.reachable()
        await rig.until(lambda: len(rig.events) >= 8, SECONDS)
        await rig.live()
        await servers.write(servers.standby, 6)
        await rig.until(lambda: rig.row(1) == {"state": "TX", "price": 6})
        assert prices(rig) == [*steps(3), (3, 5), (5, 6)]
        assert [each["event"] for each in rig.events].count("property-deleted") == 1
        assert len(rig.events) == 9
        assert rig.pipeline.status().counts["gaps"] == 2
    assert f"slot {SLOT} does not exist" in caplog.text


async def test_promoted_standby_that_lacked_changes_is_compared(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new primary's WAL is past the position of the log, in another history."""
    monkeypatch.setitem(postgres_server.SETTINGS, "wal_sender_timeout", "60s")
    async with (
        pair(sandbox, tmp_path, 18) as servers,
        ReplicationRig.open(servers.settings) as rig,
    ):
        await rig.live()
        await servers.write(servers.primary, 1, 2)
        await copy_slot(servers)
        await run(servers.primary, "alter system reset synchronized_standby_slots")
        await run(servers.primary, "select pg_reload_conf()")
        await servers.caught_up()
        # From here on the standby receives nothing, and the bridge all.
        await run(servers.standby, "alter system set primary_conninfo = ''")
        await run(servers.standby, "select pg_reload_conf()")
        await until(servers.standby, "select not exists (select from pg_stat_wal_receiver)")
        await servers.write(servers.primary, 3, 4)
        await rig.until(lambda: (3, 4) in prices(rig), SECONDS)
        await servers.promote()
        await run(servers.standby, "insert into houses values (9, 'TX', 1)")
        await run(servers.standby, "create table noise as select generate_series(1, 5000) as n")
        servers.reachable()
        await rig.until(lambda: rig.row(9) is not None, SECONDS)
        await rig.until(lambda: rig.row(1) == {"state": "TX", "price": 2}, SECONDS)
        assert rig.pipeline.status().counts["gaps"] == 2
