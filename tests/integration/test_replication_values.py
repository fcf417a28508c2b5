"""Values of every type over both sources: the JSON of one is that of the other.

Each value is read over PostgREST, over SQL and from a slot's snapshot, and streamed by Realtime
(`test_values`) and by replication.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pytest

from bridge.changes import Change, SnapshotEnd, SnapshotPage
from bridge.options import source_options
from bridge.source.change_queue import ChangeQueue
from bridge.source.factory import create_source, create_table
from tests.integration.replication_rig import drop_replication, replication_settings
from tests.integration.test_values import VALUES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from bridge.changes import Record
    from bridge.sandbox import Sandbox
    from bridge.source.base import TableConnection

Kind = TypeVar("Kind", Change, SnapshotEnd)

FURTHER: Final = [
    ("text", "null", None),
    ("text", "''", ""),
    ("text", "E'a\\\\b\\n\\t\"c\"''d'", 'a\\b\n\t"c"\'d'),
    ("text", "'{1,2}'", "{1,2}"),
    ("text", "'ﬂüß 😀'", "ﬂüß 😀"),
    ("text[]", "array[]::text[]", []),
    (
        "text[]",
        "array['a,b','c\"d','e\\f','{}','','NULL',null,' x ']",
        ["a,b", 'c"d', "e\\f", "{}", "", "NULL", None, " x "],
    ),
    ("int4[]", "array[[1,2],[3,null]]", [[1, 2], [3, None]]),
    ("int4[]", "'[0:1]={7,8}'", [7, 8]),
    ("bool[]", "array[true,false,null]", [True, False, None]),
    (
        "jsonb[]",
        "array['{\"a\": [1, \"x,y\"]}'::jsonb, 'null'::jsonb, null]",
        [{"a": [1, "x,y"]}, None, None],
    ),
    ("numeric[]", "array[1.50, 2, 'NaN'::numeric]", [1.5, 2, None]),
    ("numeric", "-12345678901234567890", -12345678901234567890),
    ("numeric", "0.000001", 0.000001),
    ("numeric", "'-Infinity'", None),
    ("float4", "1e-7", 1e-7),
    ("float8", "-0.0", 0),
    ("float8", "'Infinity'", None),
    ("float8", "1.7976931348623157e308", 1.7976931348623157e308),
    ("int8", "-9223372036854775808", -9223372036854775808),
    ("jsonb", '\'{"b": 1, "a": {"c": null}}\'', {"b": 1, "a": {"c": None}}),
    ("jsonb", "'1e20'", 100000000000000000000),
    ("json", "'\"\\u00e9\"'", "é"),
    ("oid", "4294967295", "4294967295"),
    ("char(5)", "'TX'", "TX   "),
    ('"char"', "'x'", "x"),
    ("name", "'n'", "n"),
    ("box", "'((1,2),(3,4))'", "(3,4),(1,2)"),
    ("box[]", "array['((1,2),(3,4))'::box, '((0,0),(1,1))'::box]", ["(3,4),(1,2)", "(1,1),(0,0)"]),
    ("pg_lsn", "'16/B374D848'", "16/B374D848"),
    ("mood[]", "array['good','bad']::mood[]", ["good", "bad"]),
    ("instants", "array['2024-01-01T00:00:00+02:00'::timestamptz]", ["2023-12-31T22:00:00Z"]),
    ("place", "row('T,\"X\\', '2024-01-01T00:00:00+00')", None),
    ("place", "row(null, null)", None),
    ("place[]", "array[row('TX', null)::place]", None),
    ("timestamptz", "'2024-01-01 00:00:00.123456+00'", "2024-01-01T00:00:00.123456Z"),
    ("timestamp", "'-infinity'", "-infinity"),
    ("date", "'0044-03-15 BC'", "0044-03-15 BC"),
    ("interval", "'-1 month 3 days -04:05:06.7'", "-1 mons +3 days -04:05:06.7"),
    ("tstzrange", "'[2024-01-01T00:00:00+00,)'", None),
    ("int4multirange", "'{[1,3),[5,7)}'", "{[1,3),[5,7)}"),
]
"""None: compared between the sources only, as far as the type of its JSON depends on the session.
"""

ALL: Final = [*VALUES, *FURTHER]
NAMES: Final = [f"c{n}" for n in range(len(ALL))]


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
    sandbox: Sandbox, tmp_path: Path, name: str, columns: Sequence[str]
) -> AsyncIterator[Both]:
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
    queue = ChangeQueue(1000)
    run = asyncio.create_task(create_source(options, sql).run(queue))
    try:
        yield Both(postgrest, sql, queue)
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        await postgrest.close()
        await sql.close()
        await drop_replication(sandbox, "bridge_values")
        await sandbox.execute(f"drop table {name}")


@pytest.fixture(scope="module")
async def typed(sandbox: Sandbox) -> Sandbox:
    """The sandbox, with types of the project's own."""
    await sandbox.execute(
        "create type mood as enum ('good', 'bad'); create domain instant as timestamptz;"
        "create domain large as float8; create type place as (state text, since timestamptz);"
        "create domain instants as timestamptz[]"
    )
    return sandbox


@pytest.mark.parametrize("identity", ["default", "full"])
async def test_value_of_each_type_is_equal_over_both_sources(
    typed: Sandbox, tmp_path: Path, identity: str
) -> None:
    defined = ",".join(f"{name} {type_}" for name, (type_, _, _) in zip(NAMES, ALL, strict=True))
    texts = ",".join(text for _, text, _ in ALL)
    await typed.execute(f"create table every_type (id int primary key, {defined})")
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
    for n, (name, (type_, text, expected)) in enumerate(zip(NAMES, ALL, strict=True)):
        label = (type_, text)
        assert shown(over_sql[name]) == shown(read[name]), label
        assert shown(snapshot[name]) == shown(read[name]), label
        assert shown(streamed.record[name]) == shown(read[name]), label
        if n:
            assert shown(updated.record[name]) == shown(read[name]), label
        if expected is not None:
            assert shown(streamed.record[name]) == shown(expected), label


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
