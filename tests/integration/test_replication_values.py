"""Values of every type over both sources: the JSON of one is that of the other.

Each value is read over PostgREST, over SQL and from a slot's snapshot, and streamed by Realtime and
by replication. What Realtime itself can't carry is in `NOT_CARRIED`.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pytest

from bridge.changes import Change, SnapshotEnd, SnapshotPage
from bridge.options import source_options
from bridge.source.change_queue import ChangeQueue
from bridge.source.column_types import canonical_type
from bridge.source.factory import create_source, create_table
from tests.integration.replication_rig import drop_replication, replication_settings
from tests.integration.test_values import following
from tests.support.typed_values import ALL, NOT_A_COLUMN, TYPES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from bridge.changes import Record
    from bridge.sandbox import Sandbox
    from bridge.source.base import TableConnection

Kind = TypeVar("Kind", Change, SnapshotEnd)

NOT_CARRIED: Final = {
    "char(2)": "cut to its first character",
    "char(5)": "cut to its first character",
    "bpchar": "cut to its first character",
    "bit(3)": "cut to its first bit",
    "bit(12)": "cut to its first bit",
}
"""Types whose values Realtime leaves out or sends otherwise than the table has them, and why: the
bridge reads the row again where a change has one.
"""

NAMES: Final = [f"c{n}" for n in range(len(ALL))]


IN_ONE_PAGE: Final = "with (toast_tuple_target = 8160)"
"""No value is stored apart, so that an update has them all."""


class Both:
    """One table, read in every way."""

    def __init__(
        self, postgrest: TableConnection, sql: TableConnection, queue: ChangeQueue
    ) -> None:
        self.postgrest = postgrest
        self.sql = sql
        self.snapshot: list[Record] = []
        self._queue = queue

    async def filled(self) -> None:
        """Wait for the end of the snapshot; every later change is streamed."""
        await self._next(SnapshotEnd)

    async def change(self) -> Change:
        """Return the next change of replication."""
        return await self._next(Change)

    async def _next(self, kind: type[Kind]) -> Kind:
        async with asyncio.timeout(20):
            while True:
                for item in await self._queue.get_many(1):
                    if isinstance(item, SnapshotPage):
                        self.snapshot += item.records
                    if isinstance(item, kind):
                        return item


@asynccontextmanager
async def both(
    sandbox: Sandbox,
    tmp_path: Path,
    name: str,
    columns: Sequence[str],
    alter: Mapping[str, str] | None = None,
) -> AsyncIterator[Both]:
    """`alter`: settings of the role that the bridge and the writer have."""
    await sandbox.execute(f"grant select on {name} to service_role")
    settings = replication_settings(
        sandbox,
        tmp_path,
        table=name,
        columns=tuple(columns),
        region=(columns[0],),
        updated_at="",
        slot="bridge_values",
        publication="bridge_values",
    )
    options = source_options(settings)
    sql = create_table(options)
    other = settings.model_copy(update={"source": "realtime"})
    postgrest = create_table(source_options(other))
    await postgrest.open()
    for setting, value in (alter or {}).items():
        await sandbox.execute(f"alter role postgres set {setting} = '{value}'")
    queue = ChangeQueue(1000)
    run = asyncio.create_task(create_source(options, sql).run(queue))
    try:
        yield Both(postgrest, sql, queue)
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        await postgrest.close()
        await sql.close()
        await sandbox.execute("alter role postgres reset all")
        await drop_replication(sandbox, "bridge_values")
        await sandbox.execute(f"drop table {name}")


@pytest.fixture(scope="module")
async def typed(sandbox: Sandbox) -> Sandbox:
    """The sandbox, with types of the project's own."""
    await sandbox.execute(TYPES)
    return sandbox


@pytest.mark.parametrize("identity", ["default", "full"])
async def test_value_of_each_type_is_equal_over_both_sources(
    typed: Sandbox, tmp_path: Path, identity: str
) -> None:
    texts = ",".join(text for _, text, _ in ALL)
    await typed.execute(f"create table every_type (id int primary key, {defined()}) {IN_ONE_PAGE}")
    await typed.execute(f"alter table every_type replica identity {identity}")
    await typed.execute(f"insert into every_type values (1, {texts})")
    async with both(typed, tmp_path, "every_type", NAMES) as table:
        [read] = await table.postgrest.rows([1])
        [over_sql] = await table.sql.rows([1])
        await table.filled()
        await typed.execute(f"insert into every_type values (2, {texts})")
        streamed = await table.change()
        await typed.execute("update every_type set c0 = 'changed' where id = 2")
        updated = await table.change()
    [snapshot] = table.snapshot
    assert not streamed.truncated
    assert differences(read, over_sql, snapshot, streamed.record) == []
    assert differences({**read, NAMES[0]: "changed"}, updated.record) == []
    expected = {name: value for name, (_, _, value) in zip(NAMES, ALL, strict=True)}
    given = {name for name, value in expected.items() if value is not None}
    assert differences({**streamed.record, **{n: expected[n] for n in given}}, read) == []


def defined() -> str:
    """Return the definitions of a column for each value."""
    return ",".join(f"{name} {type_}" for name, (type_, _, _) in zip(NAMES, ALL, strict=True))


async def test_value_of_each_type_is_equal_over_realtime_or_is_read_from_the_table(
    typed: Sandbox,
) -> None:
    await typed.execute(f"create table every_type (id int primary key, {defined()}) {IN_ONE_PAGE}")
    async with following(typed, "every_type", NAMES) as realtime:
        await typed.execute(f"insert into every_type values (1, {','.join(t for _, t, _ in ALL)})")
        change = await realtime.change()
        [read] = await realtime.table.rows([1])
    assert change.truncated
    differ = {type_ for type_, *_ in differences(read, change.record)}
    assert differ == set(NOT_CARRIED)


async def test_table_of_values_has_every_type_of_postgresql(typed: Sandbox) -> None:
    rows = await typed.execute(
        "select typname from pg_type where typtype in ('b', 'r', 'm') and typcategory <> 'A'"
        " and typnamespace = 'pg_catalog'::regnamespace"
    )
    known = {canonical_type(type_) for type_, _, _ in ALL} | NOT_A_COLUMN.keys()
    assert {row["typname"] for row in rows} - known == set()


SESSIONS: Final = [
    ("UTC", "ISO, MDY", "postgres"),
    ("Asia/Kolkata", "German, DMY", "iso_8601"),
    ("America/New_York", "SQL, DMY", "sql_standard"),
    ("Australia/Lord_Howe", "Postgres, YMD", "postgres_verbose"),
]


@pytest.mark.parametrize(("zone", "style", "intervals"), SESSIONS)
async def test_value_of_each_type_does_not_depend_on_the_settings_of_the_role(
    typed: Sandbox, tmp_path: Path, zone: str, style: str, intervals: str
) -> None:
    await typed.execute(f"create table every_type (id int primary key, {defined()}) {IN_ONE_PAGE}")
    texts = ",".join(text for _, text, _ in ALL)
    await typed.execute(f"insert into every_type values (1, {texts})")
    given = {
        "timezone": zone,
        "datestyle": style,
        "intervalstyle": intervals,
        "bytea_output": "escape",
        "extra_float_digits": "-5",
    }
    async with both(typed, tmp_path, "every_type", NAMES, alter=given) as table:
        [read] = await table.postgrest.rows([1])
        [over_sql] = await table.sql.rows([1])
        await table.filled()
        await typed.execute(f"insert into every_type select 2, {','.join(NAMES)} from every_type")
        streamed = await table.change()
    [snapshot] = table.snapshot
    assert differences(read, over_sql, snapshot, streamed.record) == []


def differences(expected: Record, *records: Record) -> list[tuple[object, ...]]:
    """Return the values that differ from those of `expected`, with type and SQL."""
    return [
        (*ALL[n][:2], record.get(name, "absent"), expected[name])
        for record in records
        for n, name in enumerate(NAMES)
        if name not in record or shown(record[name]) != shown(expected[name])
    ]


def shown(value: Any) -> Any:
    """Return a value with its type: 1 and true are equal in Python."""
    return (type(value), value)


@pytest.mark.parametrize(
    ("type_", "text", "key"),
    [
        ("int8", "9007199254740993", "9007199254740993"),
        ("int8", "7", 7),
        ("uuid", "'9B2D3C5E-0000-4000-8000-000000000000'", "9b2d3c5e-0000-4000-8000-000000000000"),
        ("text", "'a\"b\\c,d {e}'", 'a"b\\c,d {e}'),
        ("bool", "true", "true"),
        ("numeric", "1.5", "1.5"),
        ("timestamptz", "'2024-01-01T00:00:00+02:00'", "2023-12-31T22:00:00Z"),
    ],
)
async def test_key_of_each_type_is_equal_over_both_sources(
    typed: Sandbox, tmp_path: Path, type_: str, text: str, key: object
) -> None:
    await typed.execute(f"create table keyed (id {type_} primary key, state text)")
    async with both(typed, tmp_path, "keyed", ["state"]) as table:
        await table.filled()
        await typed.execute(f"insert into keyed values ({text}, 'TX')")
        assert (await table.change()).key == key
        assert await table.sql.keys(None, 10) == [key]
        assert await table.postgrest.keys(None, 10) == [key]
        assert [row["id"] for row in await table.sql.rows([key])] == [key]
        assert await table.sql.page(key, 10) == []
