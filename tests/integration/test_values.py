"""Values of every type, from the stream and from reads: each has one JSON form.

A row is stored as the stream brings it; the full scan afterwards must find nothing to repair.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

from bridge.changes import Change, Gap, Key
from bridge.options import source_options
from bridge.pipeline import merger
from bridge.settings import Settings
from bridge.source.change_queue import ChangeQueue
from bridge.source.factory import create_source, create_table
from bridge.source.postgrest import PostgrestTable
from bridge.source.table_description import TableDescription
from tests.integration.pipeline_rig import PipelineRig
from tests.support.typed_values import TYPES, VALUES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from bridge.sandbox import Sandbox
    from bridge.source.base import TableConnection

SESSION_DEPENDENT: Final = {
    "span": ("tstzrange", "'[2024-01-01T00:00:00+00,2024-01-02T00:00:00+00)'"),
    "days": ("daterange", "'[2024-01-01,2024-01-02)'"),
    "pair": ("place", "row('TX', '2024-01-01T00:00:00+00')"),
}
"""Columns whose JSON depends on the session's time zone or date style."""

ZONES: Final = ("UTC", "Asia/Kolkata", "America/New_York")

SESSIONS: Final = (
    ("ISO, MDY", "UTC"),
    ("ISO, DMY", "Asia/Kolkata"),
    ("SQL, DMY", "America/New_York"),
    ("German", "Asia/Kolkata"),
    ("Postgres", "America/New_York"),
)
"""Date styles of the role of the reads, each with a time zone."""


class Followed:
    """A table's reader, and its stream."""

    def __init__(self, table: TableConnection, queue: ChangeQueue) -> None:
        self.table = table
        self._queue = queue

    async def change(self) -> Change:
        """Return the next change of the stream."""
        while True:
            for item in await self._queue.get_many(1):
                if isinstance(item, Change):
                    return item

    async def live(self) -> None:
        """Wait until the subscription is live."""
        while not any(isinstance(item, Gap) for item in await self._queue.get_many(1)):
            pass


@asynccontextmanager
async def following(
    sandbox: Sandbox, name: str, columns: Sequence[str], **settings: Any
) -> AsyncIterator[Followed]:
    await sandbox.execute(
        f"grant select on {name} to service_role;"
        f"alter publication supabase_realtime add table {name}"
    )
    options = source_options(
        Settings(
            supabase_url=sandbox.supabase_url,
            supabase_secret_key=sandbox.supabase_key,
            **{
                "table": name,
                "columns": tuple(columns),
                "region": (columns[0],),
                "updated_at": "",
                **settings,
            },
        )
    )
    table = create_table(options)
    await table.open()
    await table.page(None, 1)
    queue = ChangeQueue(1000)
    run = asyncio.create_task(create_source(options, table).run(queue))
    followed = Followed(table, queue)
    try:
        async with asyncio.timeout(30):
            await followed.live()
        yield followed
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        await table.close()
        await sandbox.execute(f"drop table {name}")


@pytest.fixture(scope="module")
async def typed(sandbox: Sandbox) -> Sandbox:
    """The sandbox, with types of the project's own."""
    await sandbox.execute(TYPES)
    return sandbox


@pytest.mark.parametrize("described", [True, False], ids=["described", "not described"])
async def test_value_of_each_type_is_equal_from_stream_and_read(
    typed: Sandbox, described: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not described:
        monkeypatch.setattr(TableDescription, "_definition", _nothing)
    names = [f"c{n}" for n in range(len(VALUES))]
    defined = ",".join(f"{name} {type_}" for name, (type_, _, _) in zip(names, VALUES, strict=True))
    await typed.execute(f"create table every_type (id int primary key, {defined})")
    expected = {name: value for name, (_, _, value) in zip(names, VALUES, strict=True)}
    async with following(typed, "every_type", names) as followed:
        await typed.execute(
            f"insert into every_type values (1, {','.join(text for _, text, _ in VALUES)})"
        )
        change = await followed.change()
        (row,) = await followed.table.rows([1])
    assert {name: row[name] for name in names} == expected
    assert {name: (type(row[name]), row[name]) for name in change.record} == {
        name: (type(value), value) for name, value in change.record.items()
    }
    cut = {name for name, (type_, _, _) in zip(names, VALUES, strict=True) if "(2)" in type_}
    assert cut <= set(names) - set(change.record)


@pytest.mark.parametrize("zone", ZONES)
async def test_time_is_equal_from_sessions_with_other_time_zones(typed: Sandbox, zone: str) -> None:
    await typed.execute(
        "create table timed (id int primary key, a timestamptz, b timestamptz[], c instant)"
    )
    await typed.execute(f"alter role service_role set timezone = '{zone}'")
    try:
        async with following(typed, "timed", ["a", "b", "c"]) as followed:
            await typed.execute(
                f"set timezone = '{zone}'; insert into timed values (1, '0044-01-01 BC',"
                "array['2024-01-01T00:00:00Z'::timestamptz, '12000-12-31T23:59:59Z'], 'infinity')"
            )
            change = await followed.change()
            (row,) = await followed.table.rows([1])
    finally:
        await typed.execute("alter role service_role reset timezone")
    assert dict(row) == {"id": 1, **change.record}


async def test_change_of_a_value_that_depends_on_the_session_is_read_from_the_table(
    typed: Sandbox,
) -> None:
    for column, (type_, text) in SESSION_DEPENDENT.items():
        await typed.execute(
            f"create table spanned (id int primary key, state text, {column} {type_})"
        )
        async with following(typed, "spanned", ["state", column]) as followed:
            await typed.execute(f"insert into spanned values (1, 'TX', {text})")
            assert (await followed.change()).truncated


STREAMED: Final = [(type_, text) for type_, text, _ in VALUES if type_ not in ("char(2)", "bit(3)")]
"""Types whose values are taken from the stream. A row with any other is read from the table."""

READ: Final = [("text", "'TX'"), ("char(2)", "'TX'"), *SESSION_DEPENDENT.values()]


@pytest.mark.parametrize("types", [STREAMED, READ], ids=["streamed", "read"])
@pytest.mark.parametrize(("style", "zone"), SESSIONS)
async def test_full_scan_repairs_no_value_of_any_type(
    typed: Sandbox,
    style: str,
    zone: str,
    types: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = [f"c{n}" for n in range(len(types))]
    defined = ",".join(f"{name} {type_}" for name, (type_, _) in zip(names, types, strict=True))
    values = ",".join(text for _, text in types)
    await typed.execute(
        f"create table every_type (id text primary key, {defined});"
        "grant select on every_type to service_role;"
        "alter publication supabase_realtime add table every_type;"
        f"alter role service_role set datestyle = '{style}';"
        f"alter role service_role set timezone = '{zone}'"
    )
    monkeypatch.setattr(merger, "READ_AHEAD_SECONDS", 0.0)  # rows come from the stream at once
    pages = _count_pages(monkeypatch)
    settings = Settings(
        supabase_url=typed.supabase_url,
        supabase_secret_key=typed.supabase_key,
        table="every_type",
        columns=tuple(names),
        region=(names[0],),
        updated_at="",
        watch_grace=0.2,
        sweep_interval=0.2,
        settle=0.2,
    )
    try:
        async with PipelineRig.open(settings) as rig:
            await rig.begin()
            for key in ("a", "b"):
                await typed.execute(f"insert into every_type values ('{key}', {values})")
            await rig.until(lambda: len(rig.client.rows) == 2 and rig.idle, 20)
            await typed.execute("update every_type set c0 = 'changed' where id = 'a'")
            await rig.until(lambda: rig.client.rows["a"]["c0"] == "changed" and rig.idle, 20)
            repaired, read = rig.pipeline.status().counts["repaired"], pages[0]
            await rig.until(lambda: pages[0] >= read + 6, 20)
            assert rig.pipeline.status().counts["repaired"] == repaired
            assert rig.client.counts["events"] == 3  # one for each statement
    finally:
        await typed.execute("alter role service_role reset datestyle")
        await typed.execute("alter role service_role reset timezone")
        await typed.execute("drop table every_type")


def _count_pages(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list whose only item is the number of pages read from now on."""
    pages = [0]
    page = PostgrestTable.page

    async def counted(self: PostgrestTable, *args: Any) -> Any:
        pages[0] += 1
        return await page(self, *args)

    monkeypatch.setattr(PostgrestTable, "page", counted)
    return pages


async def test_text_key_spelled_like_a_timestamp_is_the_same_from_stream_and_read(
    sandbox: Sandbox,
) -> None:
    key = "2024-01-01T00:00:00+02:00"
    await sandbox.execute("create table dated (id text primary key, state text)")
    async with following(sandbox, "dated", ["state"]) as followed:
        await sandbox.execute("insert into dated values (%s, 'TX')", [key])
        assert (await followed.change()).key == key
        assert await followed.table.rows([key]) == [{"id": key, "state": "TX"}]
        assert await followed.table.keys(None, 10) == [key]


async def test_integer_keys_that_javascript_cannot_hold_are_strings(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    keys: list[Key] = [9007199254740991, "9007199254740992", "9007199254740993"]
    await sandbox.execute("create table numbered (id bigint primary key, state text)")
    async with following(sandbox, "numbered", ["state"]) as followed:
        for key in keys:
            await sandbox.execute(f"insert into numbered values ({key}, 'TX')")
            assert (await followed.change()).key == key
        assert await followed.table.keys(None, 10) == keys
        assert [row["id"] for row in await followed.table.page(keys[1], 10)] == keys[2:]
        assert len(await followed.table.rows(keys)) == len(keys)
    assert caplog.text.count("JavaScript can't hold") == 1


async def test_numeric_keys_past_64_bits_are_strings(sandbox: Sandbox) -> None:
    key = "123456789012345678901234567890"
    await sandbox.execute("create table wide (id numeric primary key, state text)")
    async with following(sandbox, "wide", ["state"]) as followed:
        await sandbox.execute(f"insert into wide values ({key}, 'TX')")
        assert (await followed.change()).key == key
        assert await followed.table.keys(None, 10) == [key]


@pytest.mark.parametrize(
    ("type_", "text", "key"),
    [
        ("bytea", "'\\x00ff'", "\\x00ff"),
        ("numeric(10, 2)", "1.50", "1.5"),
        ("numeric(10, 2)", "5.00", 5),
        ("bool", "true", "true"),
        ("timestamptz", "'2024-01-01T02:00:00+02'", "2024-01-01T00:00:00Z"),
    ],
)
async def test_key_of_an_unusual_type_is_the_same_from_stream_and_read(
    sandbox: Sandbox, type_: str, text: str, key: Key
) -> None:
    await sandbox.execute(f"create table unusual (id {type_} primary key, state text)")
    async with following(sandbox, "unusual", ["state"]) as followed:
        await sandbox.execute(f"insert into unusual values ({text}, 'TX')")
        assert (await followed.change()).key == key
        assert await followed.table.keys(None, 10) == [key]
        assert [row["id"] for row in await followed.table.rows([key])] == [key]


async def _nothing(*_: object) -> None:
    return None
