"""Failures of PostgreSQL, of the connection and of the slot: named, and resumed without a loss."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from pydantic import SecretStr

from bridge.sandbox.postgres import server as postgres_server
from bridge.sandbox.postgres.server import PostgresServer
from bridge.source.base import SourceState
from bridge.source.replication import connection as connections
from bridge.source.replication import source as sources
from bridge.source.replication.lsn import StreamPosition, parse_lsn
from tests.integration.replication_rig import (
    ReplicationRig,
    drop_replication,
    replication_settings,
)
from tests.support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bridge.sandbox import Sandbox
    from bridge.settings import Settings


@pytest.fixture
async def settings(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Settings]:
    """Settings of a bridge that follows the table `houses` with one row."""
    await sandbox.execute(
        "create table houses (id int primary key, state text, price int);"
        "insert into houses values (1, 'TX', 0)"
    )
    yield replication_settings(
        sandbox,
        tmp_path,
        table="houses",
        columns=("state", "price"),
        updated_at="",
        slot="bridge_houses",
        publication="bridge_houses",
    )
    await drop_replication(sandbox, "bridge_houses")
    await sandbox.execute("drop table houses")


def at(settings: Settings, **parts: Any) -> Settings:
    """Return settings with another user, port or options in the URL."""
    assert settings.database_url is not None
    url = psycopg.conninfo.conninfo_to_dict(settings.database_url.get_secret_value())
    url.update(parts)
    query = f"?options={url['options']}" if "options" in url else ""
    text = (
        f"postgresql://{url['user']}:{url['password']}@{url['host']}:{url['port']}/{url['dbname']}"
    )
    return settings.model_copy(update={"database_url": SecretStr(text + query)})


def prices(rig: ReplicationRig) -> list[tuple[int, int]]:
    return [
        (each["data"]["changes"]["price"]["old"], each["data"]["changes"]["price"]["new"])
        for each in rig.events
        if each["event"] == "property-updated"
    ]


async def write(sandbox: Sandbox, first: int, last: int) -> None:
    for price in range(first, last + 1):
        await sandbox.execute("update houses set price = %s where id = 1", (price,))


async def reaches(rig: ReplicationRig, price: int) -> None:
    """Wait until the step to `price` is published."""
    await rig.until(lambda: (price - 1, price) in prices(rig))


def steps(last: int) -> list[tuple[int, int]]:
    return [(n, n + 1) for n in range(last)]


async def failed(rig: ReplicationRig) -> str:
    """Wait for an error of the source and return it."""
    await rig.until(lambda: rig.source.status().error is not None)
    return str(rig.source.status().error)


# -- ends of the connection -------------------------------------------------------------------


async def test_terminated_backend_is_resumed_without_loss_or_repetition(
    sandbox: Sandbox, settings: Settings
) -> None:
    async with ReplicationRig.open(settings) as rig:
        await rig.live()
        for n in range(5):
            await write(sandbox, n * 10 + 1, n * 10 + 5)
            await sandbox.execute(
                "select pg_terminate_backend(active_pid) from pg_replication_slots"
                " where slot_name = 'bridge_houses' and active"
            )
            await write(sandbox, n * 10 + 6, n * 10 + 10)
        await rig.until(lambda: len(prices(rig)) >= 50)
        assert prices(rig) == steps(50)
        assert rig.pipeline.status().counts["gaps"] == 1


@pytest.mark.parametrize("crash", [False, True], ids=["restart", "crash"])
async def test_server_restart_is_resumed_without_loss_or_repetition(
    sandbox: Sandbox, settings: Settings, crash: bool
) -> None:
    async with ReplicationRig.open(settings) as rig:
        await rig.live()
        await write(sandbox, 1, 10)
        async with asyncio.timeout(20):
            await sandbox.restart_postgres(crash=crash)
        await write(sandbox, 11, 20)
        await rig.until(lambda: len(prices(rig)) >= 20)
        assert prices(rig) == steps(20)
        assert rig.pipeline.status().counts["gaps"] == 1


async def test_half_open_connection_is_noticed_and_resumed(
    sandbox: Sandbox, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "STATUS_SECONDS", 0.2)
    monkeypatch.setattr(sources, "SILENT_SECONDS", 1.0)
    async with TcpProxy.open(sandbox.postgres.port) as proxy:
        port = int(proxy.url.rpartition(":")[2])
        async with ReplicationRig.open(at(settings, port=port)) as rig:
            await rig.live()
            await write(sandbox, 1, 3)
            await rig.until(lambda: len(prices(rig)) == 3)
            proxy.half_open()
            await write(sandbox, 4, 6)
            # The server holds the slot until it has noticed, too.
            await sandbox.execute(
                "select pg_terminate_backend(active_pid) from pg_replication_slots"
                " where slot_name = 'bridge_houses' and active"
            )
            await rig.until(lambda: len(prices(rig)) == 6)
            assert prices(rig) == steps(6)


async def test_stream_survives_a_pipeline_that_is_busy_past_the_timeout(
    sandbox: Sandbox, settings: Settings
) -> None:
    settings = at(settings, options="-c%20wal_sender_timeout%3D1500").model_copy(
        update={"queue_changes": 5}
    )
    async with ReplicationRig.open(settings) as rig:
        await rig.live()
        async with rig.pipeline._lock:
            await write(sandbox, 1, 40)
            await asyncio.sleep(4)  # more than twice the server's timeout
            assert rig.source.status().state is SourceState.LIVE
            assert len(rig.queue) < 20
        await rig.until(lambda: len(prices(rig)) == 40)
        assert prices(rig) == steps(40)
        assert rig.source.status().attempts == 1


async def test_wal_of_other_tables_is_confirmed_while_the_table_is_idle(
    sandbox: Sandbox, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "STATUS_SECONDS", 0.1)
    async with ReplicationRig.open(settings) as rig:
        await rig.live()
        [before] = await sandbox.execute("select pg_current_wal_lsn() as lsn")
        await sandbox.execute("create table noise as select generate_series(1, 10000) as n")
        [after] = await sandbox.execute("select pg_current_wal_lsn() as lsn")
        assert before != after
        async with asyncio.timeout(20):
            while not await sandbox.execute(
                "select 1 from pg_replication_slots"
                " where slot_name = 'bridge_houses' and confirmed_flush_lsn >= %s",
                (after["lsn"],),
            ):
                await asyncio.sleep(0.05)
    await sandbox.execute("drop table noise")


# -- the slot ---------------------------------------------------------------------------------


async def test_dropped_slot_is_made_anew_and_the_table_compared(
    sandbox: Sandbox, settings: Settings
) -> None:
    async with ReplicationRig.open(settings) as rig:
        await rig.live()
        await write(sandbox, 1, 2)
        await rig.until(lambda: len(prices(rig)) == 2)
    await drop_replication(sandbox, "bridge_houses")
    await sandbox.execute("insert into houses values (2, 'TX', 5), (3, 'TX', 6)")
    await sandbox.execute("delete from houses where id = 3; update houses set price = 9")
    async with ReplicationRig.open(settings) as rig:
        await rig.live()
        await rig.until(lambda: len(rig.events) == 2)
        assert sorted((each["event"], each["data"]["property_id"]) for each in rig.events) == [
            ("property-created", 2),
            ("property-updated", 1),
        ]
        assert prices(rig) == [(2, 9)]
        assert rig.pipeline.status().counts["gaps"] == 1


async def test_row_that_was_deleted_while_there_was_no_slot_is_deleted(
    sandbox: Sandbox, settings: Settings
) -> None:
    async with ReplicationRig.open(settings) as rig:
        await rig.live()
    await drop_replication(sandbox, "bridge_houses")
    await sandbox.execute("delete from houses")
    async with ReplicationRig.open(settings) as rig:
        await rig.until(lambda: len(rig.events) == 1)
        assert rig.events[0]["event"] == "property-deleted"


async def test_slot_that_was_read_by_something_else_is_made_anew(
    sandbox: Sandbox, settings: Settings
) -> None:
    async with ReplicationRig.open(settings) as rig:
        await rig.live()
    await write(sandbox, 1, 3)
    await drop_active(sandbox)
    await sandbox.execute(
        "select pg_replication_slot_advance('bridge_houses', pg_current_wal_lsn())"
    )
    async with ReplicationRig.open(settings) as rig:
        await rig.until(lambda: len(prices(rig)) == 1)
        assert prices(rig) == [(0, 3)]


async def test_slot_of_another_kind_is_made_anew(sandbox: Sandbox, settings: Settings) -> None:
    await sandbox.execute("select pg_create_physical_replication_slot('bridge_houses')")
    async with ReplicationRig.open(settings) as rig:
        await rig.live()
        await write(sandbox, 1, 1)
        await rig.until(lambda: len(prices(rig)) == 1)


async def test_lost_slot_is_made_anew(sandbox: Sandbox, settings: Settings) -> None:
    async with ReplicationRig.open(settings) as rig:
        await rig.live()
    await drop_active(sandbox)
    await write(sandbox, 1, 3)
    async with await psycopg.AsyncConnection.connect(
        sandbox.postgres.url("supabase_admin"), autocommit=True
    ) as admin:
        await admin.execute("alter system set max_slot_wal_keep_size = '1MB'")
        await admin.execute("select pg_reload_conf()")
        try:
            async with asyncio.timeout(30):
                while not await sandbox.execute(
                    "select 1 from pg_replication_slots"
                    " where slot_name = 'bridge_houses' and wal_status = 'lost'"
                ):
                    await admin.execute(
                        "select pg_logical_emit_message(false, 'x', repeat('x', 9))"
                    )
                    await admin.execute("select pg_switch_wal()")
                    await admin.execute("checkpoint")
            async with ReplicationRig.open(settings) as rig:
                await rig.until(lambda: len(prices(rig)) == 1)
                assert prices(rig) == [(0, 3)]
                assert rig.pipeline.status().counts["gaps"] == 1
        finally:
            await admin.execute("alter system reset max_slot_wal_keep_size")
            await admin.execute("select pg_reload_conf()")


async def test_slot_in_use_is_named_and_taken_over_once_it_is_free(
    sandbox: Sandbox, settings: Settings, tmp_path: Path
) -> None:
    other = settings.model_copy(update={"log": f"sqlite:///{tmp_path / 'other.sqlite3'}"})
    async with AsyncExitStack() as stack:
        first = ReplicationRig.open(other)
        owner = await first.__aenter__()
        try:
            await owner.live()
            rig = await stack.enter_async_context(ReplicationRig.open(settings))
            error = await failed(rig)
            assert "BRIDGE_SLOT" in error
            assert "active for PID" in error
        finally:
            await first.__aexit__(None, None, None)
        await rig.live()


async def drop_active(sandbox: Sandbox) -> None:
    """Wait until nothing streams from the slot."""
    async with asyncio.timeout(20):
        while await sandbox.execute(
            "select 1 from pg_replication_slots where slot_name = 'bridge_houses' and active"
        ):
            await asyncio.sleep(0.01)


# -- what an operator has to change -----------------------------------------------------------


async def test_role_without_replication_is_named_with_the_sql(
    sandbox: Sandbox, settings: Settings
) -> None:
    await sandbox.execute(f"create role plain login password '{sandbox.postgres.password}'")
    async with ReplicationRig.open(at(settings, user="plain")) as rig:
        error = await failed(rig)
    await sandbox.execute("drop role plain")
    assert "ALTER ROLE" in error
    assert "REPLICATION" in error


async def test_role_that_may_not_publish_is_named_with_the_sql(
    sandbox: Sandbox, settings: Settings
) -> None:
    await sandbox.execute(
        f"create role plain login replication password '{sandbox.postgres.password}';"
        "grant select on houses to plain"
    )
    async with ReplicationRig.open(at(settings, user="plain")) as rig:
        error = await failed(rig)
        assert 'CREATE PUBLICATION "bridge_houses" FOR TABLE "public"."houses"' in error
        await sandbox.execute('create publication bridge_houses for table "public"."houses"')
        await rig.live()
    await drop_replication(sandbox, "bridge_houses")
    await sandbox.execute("revoke all on houses from plain; drop role plain")


async def test_table_whose_identity_lacks_the_key_is_named_with_the_sql(
    sandbox: Sandbox, settings: Settings
) -> None:
    await sandbox.execute("alter table houses drop constraint houses_pkey")
    async with ReplicationRig.open(settings) as rig:
        assert 'ALTER TABLE "public"."houses" REPLICA IDENTITY FULL' in await failed(rig)
        await sandbox.execute("alter table houses replica identity full")
        await rig.live()
        await write(sandbox, 1, 1)
        await rig.until(lambda: len(prices(rig)) == 1)


async def test_wrong_password_is_named_and_not_shown(settings: Settings) -> None:
    async with ReplicationRig.open(at(settings, password="wrong-secret")) as rig:
        error = await failed(rig)
    assert "password" in error
    assert "BRIDGE_DATABASE_URL" in error
    assert "wrong-secret" not in error


async def test_password_is_read_from_the_password_file(
    sandbox: Sandbox, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pgpass"
    file.write_text(f"127.0.0.1:*:*:postgres:{sandbox.postgres.password}\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    url = f"postgresql://postgres@127.0.0.1:{sandbox.postgres.port}/postgres"
    async with ReplicationRig.open(
        settings.model_copy(update={"database_url": SecretStr(url)})
    ) as rig:
        await rig.live()


@pytest.mark.parametrize(
    ("setting", "advice"),
    [
        (("wal_level", "replica"), "ALTER SYSTEM SET wal_level = logical"),
        (("max_replication_slots", "0"), "max_replication_slots"),
        (("max_wal_senders", "1"), "max_wal_senders"),
    ],
)
async def test_server_that_lacks_a_setting_is_named_with_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, setting: tuple[str, str], advice: str
) -> None:
    name, value = setting
    monkeypatch.setitem(postgres_server.SETTINGS, name, value)
    async with PostgresServer() as server:
        async with await psycopg.AsyncConnection.connect(
            server.url("supabase_admin"), autocommit=True
        ) as admin:
            await admin.execute("create table houses (id int primary key, state text, price int)")
        url = SecretStr(server.url("supabase_admin"))
        other = settings.model_copy(update={"database_url": url})
        async with (
            holding_a_sender(server, held=name == "max_wal_senders"),
            ReplicationRig.open(other) as rig,
        ):
            assert advice in await failed(rig)


@asynccontextmanager
async def holding_a_sender(server: PostgresServer, *, held: bool) -> AsyncIterator[None]:
    if not held:
        yield
        return
    stream = await connections.ReplicationConnection.open(server.url("supabase_admin"))
    try:
        yield
    finally:
        await stream.close()


async def test_pooler_is_named(sandbox: Sandbox, settings: Settings) -> None:
    async with (
        without_replication(sandbox.postgres.port) as port,
        ReplicationRig.open(at(settings, port=port)) as rig,
    ):
        error = await failed(rig)
    assert "pooler" in error
    assert "direct connection" in error


@asynccontextmanager
async def without_replication(port: int) -> AsyncIterator[int]:
    """Run a proxy that keeps the parameter `replication` to itself, as poolers do."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:  # requests for TLS or GSSAPI, then the startup packet
            length = int.from_bytes(await reader.readexactly(4), "big")
            body = await reader.readexactly(length - 4)
            if len(body) > 4:
                break
            writer.write(b"N")
        body = body.replace(b"replication\0database\0", b"")
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
        up_writer.write((len(body) + 4).to_bytes(4, "big") + body)

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                target.write(data)
            target.close()

        await asyncio.gather(copy(reader, up_writer), copy(up_reader, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_role_that_row_security_limits_is_named_with_the_sql(
    sandbox: Sandbox, settings: Settings
) -> None:
    await sandbox.execute(
        f"create role limited login replication password '{sandbox.postgres.password}';"
        "grant select on houses to limited; alter table houses enable row level security;"
        'create publication bridge_houses for table "public"."houses"'
    )
    async with ReplicationRig.open(at(settings, user="limited")) as rig:
        assert "BYPASSRLS" in await failed(rig)
        await sandbox.execute("alter table houses disable row level security")
        await rig.live()
    await sandbox.execute("revoke all on houses from limited; drop role limited")


@pytest.mark.parametrize("version", [16, 18])
async def test_every_version_of_postgresql_is_streamed_and_resumed(
    settings: Settings, version: int
) -> None:
    async with PostgresServer(version=version) as server:
        url = server.url("supabase_admin")
        other = settings.model_copy(update={"database_url": SecretStr(url)})
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as writer:
            await writer.execute("create table houses (id int primary key, state text, price int)")
            await writer.execute("insert into houses values (1, 'TX', 0)")
            for price in (1, 3):
                async with ReplicationRig.open(other) as rig:
                    await rig.live()
                    await writer.execute("update houses set price = %s", (price,))
                    await reaches(rig, price)
                await writer.execute("update houses set price = %s", (price + 1,))


async def test_reconnect_confirms_nothing_that_the_log_has_not_stored(
    sandbox: Sandbox, settings: Settings
) -> None:
    async with ReplicationRig.open(settings) as rig:
        await rig.live()
        async with rig.pipeline._lock:  # as while the log's disk is full
            await write(sandbox, 1, 5)
            await rig.until(lambda: len(rig.queue) >= 8)
            [before] = await sandbox.execute(
                "select active_pid as pid, pg_terminate_backend(active_pid)"
                " from pg_replication_slots where slot_name = 'bridge_houses'"
            )
            async with asyncio.timeout(20):
                while not await sandbox.execute(
                    "select 1 from pg_stat_replication where pid <> %s and state = 'streaming'"
                    " and pid = (select active_pid from pg_replication_slots"
                    "            where slot_name = 'bridge_houses')",
                    (before["pid"],),
                ):
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)  # for the first report of the new connection
            stored = StreamPosition.parse(rig.log.progress.stream)
            [slot] = await sandbox.execute(
                "select confirmed_flush_lsn::text as lsn from pg_replication_slots"
                " where slot_name = 'bridge_houses'"
            )
            assert stored is not None
            assert parse_lsn(slot["lsn"]) <= stored.lsn
        await reaches(rig, 5)
        assert prices(rig) == steps(5)
