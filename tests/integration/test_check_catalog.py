"""`bridge check` names what keeps changes from the bridge, each seeded in a real PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.cli.check import check
from tests.integration.test_source_errors import settings_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge.sandbox import Sandbox

TABLE = (
    "create table homes (id int primary key, name text, state text, tags text[],"
    " updated_at timestamptz default now());"
    "create index on homes (updated_at);"
    "create trigger kept before update on homes for each row"
    " execute function public.touch_updated_at();"
    "grant select on homes to service_role;"
    "alter publication supabase_realtime add table homes;"
    "insert into homes select n, 'Home', 'TX' from generate_series(1, 5) n;"
)


@pytest.fixture
async def homes(sandbox: Sandbox) -> AsyncIterator[Sandbox]:
    await sandbox.execute(TABLE)
    try:
        yield sandbox
    finally:
        await sandbox.execute("alter role service_role bypassrls; drop table homes cascade")


async def found(sandbox: Sandbox, **overrides: object) -> list[str]:
    """Return the warnings and failures."""
    values = {
        "table": "homes",
        "columns": ("name",),
        "region": ("state",),
        "log": "memory:",
        "connections": 100,
        "database_url": sandbox.database_url,
        **overrides,
    }
    lines: list[str] = []
    await check(settings_of(sandbox, **values), lines.append)
    return [line for line in lines if not line.startswith("ok ")]


async def test_check_of_a_complete_table_finds_nothing(homes: Sandbox) -> None:
    assert await found(homes) == []


FAULTS = {
    "not published": (
        "alter publication supabase_realtime drop table homes",
        "FAIL  publication: public.homes is not in the publication supabase_realtime",
        'alter publication "supabase_realtime" add table "public"."homes"',
    ),
    "column list": (
        (
            "alter publication supabase_realtime drop table homes;"
            "alter publication supabase_realtime add table homes (id, name, updated_at)"
        ),
        "FAIL  publication: its column list leaves out state",
        'drop table "public"."homes"; alter publication "supabase_realtime" add table',
    ),
    "row filter": (
        (
            "alter publication supabase_realtime drop table homes;"
            "alter publication supabase_realtime add table homes where (id > 3)"
        ),
        "warn  publication: supabase_realtime has the row filter (id > 3)",
        'alter publication "supabase_realtime" add table "public"."homes"',
    ),
    "no grant": (
        "revoke select on homes from service_role",
        "FAIL  grants: service_role may not select id, name, state, updated_at",
        'grant select on "public"."homes" to service_role',
    ),
    "no policy": (
        "alter role service_role nobypassrls; alter table homes enable row level security",
        "FAIL  row level security: it is on, service_role has no BYPASSRLS, and no policy",
        "alter role service_role bypassrls",
    ),
    "not unique": (
        "alter table homes drop constraint homes_pkey; alter table homes replica identity full",
        "FAIL  key: no constraint makes id unique; there is no primary key",
        'alter table "public"."homes" add unique ("id")',
    ),
    "replica identity": (
        "alter table homes replica identity nothing",
        "FAIL  replica identity: it does not have id",
        'alter table "public"."homes" replica identity full',
    ),
    "no index": (
        "drop index homes_updated_at_idx",
        "warn  updated_at: updated_at has no index",
        'create index concurrently on "public"."homes" ("updated_at")',
    ),
    "regions null": (
        "update homes set state = null where id > 2",
        "warn  region: state is null in 3 rows",
        "fill state in those rows",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_check_names_a_fault_of_the_table_once_with_its_fix(
    homes: Sandbox, name: str
) -> None:
    seed, cause, fix = FAULTS[name]
    await homes.execute(seed)
    [line] = await found(homes)
    text, _, shown = line.partition("\n      fix: ")
    assert text.startswith(cause)
    assert fix in shown


async def test_check_names_a_view(homes: Sandbox) -> None:
    await homes.execute(
        "create view shown as select * from homes; grant select on shown to service_role"
    )
    [line] = await found(homes, table="shown")
    assert line.startswith("FAIL  table: public.shown is a view")


async def test_check_names_a_partitioned_table_that_is_published_by_its_root(
    homes: Sandbox,
) -> None:
    await homes.execute(
        "create table split (like homes, primary key (id)) partition by range (id);"
        "create index on split (updated_at); grant select on split to service_role;"
        "alter publication supabase_realtime add table split;"
        "alter publication supabase_realtime set (publish_via_partition_root = true)"
    )
    try:
        lines = await found(homes, table="split")
    finally:
        await homes.execute(
            "alter publication supabase_realtime set (publish_via_partition_root = false);"
            "drop table split"
        )
    [line] = lines
    assert line.startswith("FAIL  publication: supabase_realtime publishes the partitions of")
    assert "BRIDGE_SOURCE=postgres" in line


async def test_check_names_the_schema_of_a_table_that_is_in_another_one(homes: Sandbox) -> None:
    await homes.execute("create schema other; create table other.rented (id int primary key)")
    try:
        [line] = await found(homes, table="rented")
    finally:
        await homes.execute("drop schema other cascade")
    assert line.endswith("fix: set BRIDGE_TABLE=other.rented")


@pytest.mark.parametrize("sql", [True, False], ids=["with SQL", "without"])
async def test_check_names_similar_tables_and_columns(homes: Sandbox, sql: bool) -> None:
    database = {} if sql else {"database_url": None}
    lines = await found(homes, table="hmes", **database)
    [missing] = [line for line in lines if line.startswith("FAIL")]
    assert missing.endswith("fix: set BRIDGE_TABLE=public.homes?")
    lines = await found(homes, columns=("nam",), region=("stat",), **database)
    failed = [line.partition("\n")[0] for line in lines if line.startswith("FAIL")]
    assert [line.partition("no column ")[2] for line in failed] == [
        "nam (BRIDGE_COLUMNS); similar: name",
        "stat (BRIDGE_REGION); similar: state, tags"
        if failed[1].endswith("tags")
        else "stat (BRIDGE_REGION); similar: state",
    ]


async def test_check_without_sql_tells_a_missing_grant_from_a_missing_table(
    homes: Sandbox,
) -> None:
    await homes.execute("revoke select on homes from service_role")
    lines = await found(homes, database_url=None)
    [failed] = [line for line in lines if line.startswith("FAIL")]
    assert "42501" in failed
    assert failed.endswith('fix: grant select on "public"."homes" to service_role')


async def test_check_without_sql_names_what_it_does_not_check(homes: Sandbox) -> None:
    [line] = await found(homes, database_url=None)
    assert line.startswith("warn  database: not checked")
    assert "BRIDGE_DATABASE_URL" in line


async def test_check_names_a_region_of_arrays(homes: Sandbox) -> None:
    await homes.execute("update homes set tags = '{TX}'")
    [line] = await found(homes, region=("tags",))
    assert line.startswith("warn  region: tags has the type text[]")


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("numeric", "FAIL  key: id has the type numeric"),
        ("jsonb", "FAIL  key: id has the type jsonb"),
        ("bigint", "warn  key: 5 rows have a id past 9007199254740991"),
    ],
)
async def test_check_names_keys_that_javascript_cannot_hold(
    homes: Sandbox, kind: str, line: str
) -> None:
    value = "to_jsonb(id)" if kind == "jsonb" else f"id::{kind} + 9007199254740991"
    await homes.execute(f"alter table homes alter id type {kind} using {value}")
    shown = await found(homes)
    assert [each for each in shown if each.startswith(line)]
