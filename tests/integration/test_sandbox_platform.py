"""The sandbox's database: platform, migrations, seed, start, restart and stop."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from postgrest import APIError
from realtime import RealtimePostgresChangesListenEvent
from supabase import acreate_client

from bridge.dev.traffic import TrafficGenerator
from bridge.sandbox import Sandbox
from bridge.sandbox.postgres import installation
from bridge.sandbox.postgres.installation import PostgresError
from bridge.sandbox.postgres.migrations import MigrationError, apply_project
from bridge.sandbox.postgres.server import PostgresServer
from tests.conftest import options

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

OAK_VIEW = "123e4567-e89b-12d3-a456-426614174005"


async def value(sandbox: Sandbox, query: str, params: list[Any] | None = None) -> Any:
    ((found,),) = [tuple(row.values()) for row in await sandbox.execute(query, params)]
    return found


async def gone(pid: int, within: float = 10) -> bool:
    """Return whether process `pid` exits within so many seconds."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        await asyncio.sleep(0.02)
    return False


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory for a kept database. Not below pytest's, which only its owner may enter: under
    root the server runs as another user."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


# The project's migrations and seed


async def test_seed_has_many_states_and_cities(sandbox: Sandbox) -> None:
    (row,) = await sandbox.execute(
        "select count(*) as rows, count(distinct state) as states, count(distinct city) as cities,"
        " count(distinct status) as statuses, count(distinct name) as names from properties"
    )
    assert row["rows"] >= 240
    assert row["names"] == row["rows"]
    assert (row["states"], row["cities"], row["statuses"]) == (8, 27, 3)


async def test_table_is_published_with_full_replica_identity(sandbox: Sandbox) -> None:
    assert await sandbox.execute(
        "select pubname, schemaname, tablename from pg_publication_tables"
        " where tablename = 'properties'"
    ) == [{"pubname": "supabase_realtime", "schemaname": "public", "tablename": "properties"}]
    identity = await value(
        sandbox, "select relreplident from pg_class where relname = 'properties'"
    )
    assert identity == "f"


@pytest.mark.parametrize("role", ["anon", "authenticated"])
async def test_browser_roles_may_not_select_internal_columns(sandbox: Sandbox, role: str) -> None:
    rows = await sandbox.execute(
        "select column_name from information_schema.columns where table_name = 'properties'"
        " and not has_column_privilege(%s, 'public.properties', column_name, 'select')",
        [role],
    )
    assert {row["column_name"] for row in rows} == {"owner_contact", "internal_notes", "cap_rate"}


@pytest.mark.parametrize("role", ["anon", "authenticated"])
@pytest.mark.parametrize("privilege", ["insert", "update", "delete", "truncate"])
async def test_browser_roles_may_not_write(sandbox: Sandbox, role: str, privilege: str) -> None:
    question = "select has_table_privilege(%s, 'public.properties', %s)"
    assert await value(sandbox, question, [role, privilege]) is False


async def test_service_role_may_read_and_write(sandbox: Sandbox) -> None:
    for privilege in ("select", "insert", "update", "delete"):
        question = "select has_table_privilege('service_role', 'public.properties', %s)"
        assert await value(sandbox, question, [privilege]) is True
    bypass = "select rolbypassrls from pg_roles where rolname = 'service_role'"
    assert await value(sandbox, bypass) is True


async def test_updated_at_increases_with_every_write_of_a_transaction(
    sandbox: Sandbox,
) -> None:
    async with await psycopg.AsyncConnection.connect(sandbox.database_url) as connection:
        marks = []
        for price in (1, 2, 3):
            cursor = await connection.execute(
                "update properties set price = %s where id = %s returning updated_at",
                (price, OAK_VIEW),
            )
            marks.append(await cursor.fetchone())
        await connection.rollback()
    assert marks[0] < marks[1] < marks[2]  # type: ignore[operator]


async def test_updated_at_never_decreases_on_a_row(sandbox: Sandbox) -> None:
    future = "update properties set price = 1 where id = %s returning updated_at > now() as ahead"
    await sandbox.execute("alter table properties disable trigger properties_touch_updated_at")
    await sandbox.execute(
        "update properties set updated_at = now() + interval '1 day' where id = %s", [OAK_VIEW]
    )
    await sandbox.execute("alter table properties enable trigger properties_touch_updated_at")
    assert await sandbox.execute(future, [OAK_VIEW]) == [{"ahead": True}]


async def test_bridge_queries_use_an_index(sandbox: Sandbox) -> None:
    async with await psycopg.AsyncConnection.connect(sandbox.database_url) as connection:
        await connection.execute("set local enable_seqscan = off")
        for clause, index in (
            ("order by updated_at desc, id desc limit 1", "properties_updated_at_id"),
            ("where state = 'TX' order by id", "properties_state_id"),
        ):
            plan = await (
                await connection.execute(f"explain select id from properties {clause}")
            ).fetchall()
            assert index in str(plan)


@pytest.mark.parametrize("version", [16, 18])
async def test_migrations_apply_on_old_and_new_postgres(version: int) -> None:
    async with PostgresServer(version=version) as postgres:
        await apply_project(postgres)
        async with await psycopg.AsyncConnection.connect(postgres.url()) as connection:
            cursor = await connection.execute(
                "select current_setting('server_version_num')::int / 10000, count(*)"
                " from properties"
            )
            assert await cursor.fetchone() == (version, 253)


async def test_failed_migration_is_named_and_rolled_back(tmp_path: Path) -> None:
    files = tmp_path / "supabase"
    (files / "migrations").mkdir(parents=True)
    bad = files / "migrations" / "20260101000000_bad.sql"
    bad.write_text("create table half (id int); select nonsense;")
    async with PostgresServer() as postgres:
        with pytest.raises(MigrationError, match=r"20260101000000_bad\.sql.*nonsense"):
            await apply_project(postgres, files=files)
        bad.write_text("create table whole (id int);")
        await apply_project(postgres, files=files)
        async with await psycopg.AsyncConnection.connect(postgres.url()) as connection:
            cursor = await connection.execute("select to_regclass('half'), to_regclass('whole')")
            assert await cursor.fetchone() == (None, "whole")


async def test_misnamed_migration_raises(tmp_path: Path) -> None:
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "first.sql").write_text("select 1")
    async with PostgresServer() as postgres:
        with pytest.raises(MigrationError, match="14 digits"):
            await apply_project(postgres, files=tmp_path)


# Supabase's platform


async def test_database_user_is_not_a_superuser(sandbox: Sandbox) -> None:
    assert await value(sandbox, "select current_setting('is_superuser')") == "off"


async def test_database_user_can_read_the_wal(sandbox: Sandbox) -> None:
    create = "select lsn is not null from pg_create_logical_replication_slot('t', 'pgoutput', true)"
    async with await psycopg.AsyncConnection.connect(sandbox.database_url) as connection:
        assert await (await connection.execute(create)).fetchone() == (True,)


async def test_database_rejects_a_wrong_password(sandbox: Sandbox) -> None:
    url = f"postgresql://postgres:wrong@127.0.0.1:{sandbox.postgres.port}/postgres"
    with pytest.raises(psycopg.OperationalError, match="password"):
        await psycopg.AsyncConnection.connect(url)


async def test_auth_functions_read_the_requests_claims(sandbox: Sandbox) -> None:
    async with await psycopg.AsyncConnection.connect(sandbox.database_url) as connection:
        await connection.execute(
            """select set_config('request.jwt.claims',
              '{"sub": "6f0a4c2e-0000-4000-8000-000000000001", "role": "authenticated"}', true)"""
        )
        cursor = await connection.execute("select auth.uid()::text, auth.role()")
        expected = ("6f0a4c2e-0000-4000-8000-000000000001", "authenticated")
        assert await cursor.fetchone() == expected


# Start and stop


async def test_without_seed_the_table_is_empty() -> None:
    async with Sandbox.open(seed=False) as sandbox:
        assert await value(sandbox, "select count(*) from properties") == 0


async def test_kept_database_is_reused_and_seeded_once(home: Path) -> None:
    async with Sandbox.open(home) as sandbox:
        await sandbox.execute("delete from properties where state <> 'TX'")
    async with Sandbox.open(home) as sandbox:
        assert await value(sandbox, "select count(distinct state) from properties") == 1


async def test_temporary_database_is_removed() -> None:
    async with Sandbox.open() as sandbox:
        place = Path(await value(sandbox, "show data_directory")).parent
        pid = sandbox.postgres._server_pid()
        assert place.exists()
    assert await gone(pid, within=1)
    assert not place.exists()


async def test_exception_stops_the_server() -> None:
    pid = 0
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with Sandbox.open() as sandbox:
            pid = sandbox.postgres._server_pid()
            raise ZeroDivisionError
    assert await gone(pid, within=1)


@pytest.mark.parametrize("after", [0.05, 0.2, 0.35, 0.5, 2.0])
async def test_cancelled_owner_leaves_no_files(
    after: float, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.chmod(0o711)
    monkeypatch.setattr(tempfile, "tempdir", str(home))

    async def own() -> None:
        async with Sandbox.open():
            await asyncio.sleep(3600)

    owner = asyncio.create_task(own())
    await asyncio.sleep(after)
    owner.cancel()
    with pytest.raises(asyncio.CancelledError):
        await owner
    assert list(home.iterdir()) == []


SLEEPER = """
import asyncio, sys
from pathlib import Path
from bridge.sandbox import Sandbox
from bridge.sandbox.postgres import installation
async def main():
    async with Sandbox.open(Path(sys.argv[1]) if sys.argv[1:] else None) as sandbox:
        await sandbox.execute("update properties set price = 7 where state = 'TX'")
        print(sandbox.postgres._server_pid(), flush=True)
        await asyncio.sleep(3600)
asyncio.run(main())
"""


async def killed(*arguments: str) -> int:
    """Kill a process that runs a sandbox. Return the pid of its PostgreSQL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SLEEPER, *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    pid = int(await process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    await process.wait()
    return pid


async def test_killed_owner_leaves_no_server() -> None:
    assert await gone(await killed())


async def test_kept_database_is_consistent_after_its_owner_was_killed(home: Path) -> None:
    await killed(str(home))
    async with Sandbox.open(home) as sandbox:
        prices = await sandbox.execute("select distinct price from properties where state = 'TX'")
        assert prices == [{"price": 7}]


@pytest.mark.parametrize("kept", [True, False])
async def test_crash_loses_no_committed_write(home: Path, kept: bool) -> None:
    async with Sandbox.open(home if kept else None) as sandbox:
        await sandbox.execute("update properties set price = 7 where id = %s", [OAK_VIEW])
        await sandbox.restart_postgres(crash=True)
        price = await value(sandbox, "select price from properties where id = %s", [OAK_VIEW])
        assert price == 7


@pytest.mark.skipif(os.geteuid() != 0, reason="the server runs as another user under root only")
async def test_inaccessible_binaries_are_copied(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    version, source = installation.binaries(None)
    hidden = installation.copy_binaries(source, home / "hidden")
    (home / "hidden").chmod(0o700)
    monkeypatch.setattr(
        "bridge.sandbox.postgres.server.binaries", lambda _version: (version, hidden)
    )
    async with Sandbox.open(seed=False) as sandbox:
        assert await value(sandbox, "select 1") == 1


async def test_two_sandboxes_run_concurrently(sandbox: Sandbox) -> None:
    async with Sandbox.open(seed=False) as other:
        assert other.supabase_url != sandbox.supabase_url
        assert await value(other, "select count(*) from properties") == 0


async def test_directory_in_use_raises(home: Path) -> None:
    async with Sandbox.open(home) as sandbox:
        with pytest.raises(PostgresError, match="in use by another sandbox"):
            async with Sandbox.open(home):
                pass
        assert await value(sandbox, "select 1") == 1


async def test_write_is_delivered_to_a_subscriber(
    sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    client = await acreate_client(sandbox.supabase_url, sandbox.supabase_key, options(http))
    ready = asyncio.Event()
    changes: asyncio.Queue[Any] = asyncio.Queue()
    channel = client.channel("listings")
    channel.on_postgres_changes(
        RealtimePostgresChangesListenEvent.All,
        changes.put_nowait,
        table="properties",
        schema="public",
    )
    channel.on_system(lambda _payload: ready.set())
    await channel.subscribe()
    try:
        await asyncio.wait_for(ready.wait(), 10)
        await sandbox.execute("update properties set units = 121 where id = %s", [OAK_VIEW])
        change = (await asyncio.wait_for(changes.get(), 10))["data"]
    finally:
        await client.remove_all_channels()
    assert change["record"]["units"] == 121
    assert change["record"]["id"] == OAK_VIEW


async def test_api_keys_are_constant(sandbox: Sandbox) -> None:
    async with Sandbox.open(seed=False) as other:
        assert (other.supabase_key, other.anon_key) == (sandbox.supabase_key, sandbox.anon_key)


async def test_execute_returns_rows_or_an_empty_list(sandbox: Sandbox) -> None:
    assert await sandbox.execute("select 1 as a, 'x' as b") == [{"a": 1, "b": "x"}]
    assert await sandbox.execute("set application_name = 'x'") == []


async def test_execute_reconnects_after_its_connection_was_terminated(sandbox: Sandbox) -> None:
    pid = await value(sandbox, "select pg_backend_pid()")
    async with await psycopg.AsyncConnection.connect(sandbox.database_url) as other:
        await other.execute("select pg_terminate_backend(%s, 1000)", (pid,))
    assert await value(sandbox, "select pg_backend_pid()") != pid


async def test_reads_fail_while_postgres_is_stopped(
    sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    client = await acreate_client(sandbox.supabase_url, sandbox.supabase_key, options(http))
    query = client.table("properties").select("id").limit(1)
    assert (await query.execute()).data
    await sandbox.stop_postgres(crash=True)
    try:
        with pytest.raises(APIError) as caught:
            await query.execute()
        assert caught.value.code == "PGRST000"
    finally:
        await sandbox.start_postgres()
    assert (await query.execute()).data


async def test_read_on_a_broken_connection_fails_and_the_next_succeeds(
    sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    client = await acreate_client(sandbox.supabase_url, sandbox.supabase_key, options(http))
    query = client.table("properties").select("id").limit(1)
    await query.execute()
    await sandbox.execute(
        "select pg_terminate_backend(pid, 1000) from pg_stat_activity"
        " where usename = 'authenticator'"
    )
    answer = await http.get(
        f"{sandbox.supabase_url}/rest/v1/properties?limit=1",
        headers={"apikey": sandbox.supabase_key},
    )
    assert answer.status_code == 503
    assert (await query.execute()).data


# Traffic


async def changes_of(seed: int) -> list[str]:
    async with PostgresServer() as postgres:
        await apply_project(postgres)
        activity = TrafficGenerator(postgres.url(), random.Random(seed))
        async with await psycopg.AsyncConnection.connect(
            postgres.url(), autocommit=True
        ) as connection:
            return [await activity.step(connection) for _ in range(60)]


async def test_traffic_is_deterministic_per_seed() -> None:
    first, again, other = await changes_of(1), await changes_of(1), await changes_of(2)
    assert first == again
    assert first != other


async def test_traffic_has_every_kind_of_change() -> None:
    changes = " ".join(await changes_of(3))
    for kind in ("repriced", "is pending", "is sold", "is new in", "deleted", "moves to", "units"):
        assert kind in changes


async def test_traffic_resumes_after_a_restart_of_postgres() -> None:
    async with Sandbox.open() as sandbox:
        activity = TrafficGenerator(sandbox.database_url, random.Random(1), interval=0.01)
        running = asyncio.create_task(activity.run())
        newest = "select max(updated_at) from properties"
        await asyncio.sleep(0.2)
        await sandbox.restart_postgres(crash=True)
        mark = await value(sandbox, newest)
        for _ in range(100):
            await asyncio.sleep(0.05)
            if await value(sandbox, newest) > mark:
                break
        assert await value(sandbox, newest) > mark
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_traffic_starts_from_an_empty_table() -> None:
    async with Sandbox.open(seed=False) as sandbox:
        activity = TrafficGenerator(sandbox.database_url, random.Random(1))
        async with await psycopg.AsyncConnection.connect(
            sandbox.database_url, autocommit=True
        ) as connection:
            for _ in range(5):
                await activity.step(connection)
        assert await value(sandbox, "select count(*) from properties") >= 1
