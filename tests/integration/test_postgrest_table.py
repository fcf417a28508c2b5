"""Reads of the table, with unusual columns, projects and gateways."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from aiohttp import web

from bridge.errors import TableUnreadableError
from bridge.options import postgrest_options
from bridge.settings import Settings
from bridge.source import postgrest
from bridge.source.postgrest import PostgrestTable
from tests.fakes import KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from bridge.sandbox import Sandbox

STRANGE = ("a,b", 'q"x', '"q"', "(p)", "b\\s", "ünï 🦊", " lead", "", "null", "%41&=?#+", "*")


@asynccontextmanager
async def reading(url: str, secret: str, **overrides: Any) -> AsyncIterator[PostgrestTable]:
    overrides = {"columns": "state", **overrides}
    table = PostgrestTable(
        postgrest_options(Settings(supabase_url=url, supabase_secret_key=secret, **overrides))
    )
    await table.open()
    try:
        yield table
    finally:
        await table.close()


@asynccontextmanager
async def read_from(sandbox: Sandbox, name: str, **overrides: Any) -> AsyncIterator[PostgrestTable]:
    await sandbox.execute(f"grant select on {name} to service_role")
    async with reading(
        sandbox.supabase_url, sandbox.supabase_key, table=name, **overrides
    ) as table:
        yield table


@asynccontextmanager
async def answering(
    body: str, status: int = 200, *, delay: float = 0.0
) -> AsyncIterator[PostgrestTable]:
    """A table behind a gateway with one response, sent after `delay` seconds."""

    async def answer(_: web.Request) -> web.Response:
        await asyncio.sleep(delay)
        return web.Response(status=status, text=body, content_type="application/json")

    app = web.Application()
    app.router.add_get("/rest/v1/{table}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        async with reading(f"http://{host}:{port}", KEY) as table:
            yield table
    finally:
        await runner.cleanup()


@asynccontextmanager
async def refusing_long_urls(limit: int) -> AsyncIterator[PostgrestTable]:
    """A table behind a gateway that refuses URLs of more than `limit` bytes."""

    async def answer(request: web.Request) -> web.Response:
        if len(request.raw_path) > limit:
            return web.Response(status=414, text="URI Too Long")
        named = request.query["id"].removeprefix("in.(").removesuffix(")").split(",")
        rows = [{"id": int(name.strip('"')), "state": "TX", "updated_at": None} for name in named]
        return web.json_response(rows)

    app = web.Application()
    app.router.add_get("/rest/v1/{table}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        async with reading(f"http://{host}:{port}", KEY) as table:
            table._description._due = float("inf")
            yield table
    finally:
        await runner.cleanup()


async def test_capped_responses_hide_no_row(
    sandbox: Sandbox,
) -> None:
    await sandbox.execute(
        "create table capped (id int primary key, state text, updated_at timestamptz);"
        "insert into capped select n, 'TX' from generate_series(1, 60) n"
    )
    sandbox.rest.max_rows = 7
    try:
        async with read_from(sandbox, "capped") as table:
            rows = await table.rows([*range(1, 61), 99])
            assert sorted(row["id"] for row in rows) == list(range(1, 61))
            assert await table.rows([98, 99]) == []
    finally:
        sandbox.rest.max_rows = 1000


async def test_keys_with_any_characters_are_read(sandbox: Sandbox) -> None:
    await sandbox.execute(
        "create table strange (id text primary key, state text, updated_at timestamptz)"
    )
    for key in STRANGE:
        await sandbox.execute("insert into strange values (%s, 'TX', now())", [key])
    async with read_from(sandbox, "strange") as table:
        assert {row["id"] for row in await table.rows(STRANGE)} == set(STRANGE)
        met: list[Any] = []
        while page := await table.page(met[-1] if met else None, 1):
            met += [row["id"] for row in page]
        assert sorted(met) == sorted(STRANGE)
        since = "0001-01-01T00:00:00.000Z"
        assert len(await table.recent(since, None, 100)) == len(STRANGE)


async def test_keys_too_long_for_one_url_are_read_in_several(sandbox: Sandbox) -> None:
    await sandbox.execute(
        "create table long (id text primary key, state text, updated_at timestamptz);"
        "insert into long select repeat('ü', 200) || n, 'TX' from generate_series(1, 30) n"
    )
    async with read_from(sandbox, "long") as table:
        keys = await table.keys(None, 1000)
        assert sorted(row["id"] for row in await table.rows(keys)) == sorted(keys)


@pytest.mark.parametrize(("count", "length"), [(160, 24), (300, 40)])
async def test_rows_of_a_table_with_many_columns_are_read(
    sandbox: Sandbox, count: int, length: int
) -> None:
    columns = tuple(f"c{n:03}".ljust(length, "x") for n in range(count))
    await sandbox.execute(
        f"create table broad{count} (id uuid primary key default gen_random_uuid(),"
        f"state text, hidden text, {','.join(f'{name} int default 7' for name in columns)});"
        f"insert into broad{count} (state) select 'TX' from generate_series(1, 400)"
    )
    read = read_from(sandbox, f"broad{count}", columns=columns, updated_at="")
    async with read as table:
        keys = await table.keys(None, 1000)
        rows = await table.rows(keys)
    assert {row["id"] for row in rows} == set(keys)
    assert rows[0].keys() == {"id", "state", *columns}


async def test_refused_portion_is_halved_and_the_row_that_fails_is_named(sandbox: Sandbox) -> None:
    await sandbox.execute(
        "create table halved (id int primary key, divisor int);"
        "insert into halved select n, n - 7 from generate_series(1, 20) n;"
        "create view inverse as select id, 1 / divisor as state from halved"
    )
    async with read_from(sandbox, "inverse", columns="state", updated_at="") as table:
        others = [n for n in range(1, 21) if n != 7]
        assert len(await table.rows(others)) == len(others)
        with pytest.raises(TableUnreadableError, match=r"it is the row with id 7$") as refusal:
            await table.rows(range(1, 21))
    assert not refusal.value.permanent


async def test_portion_that_the_gateway_finds_too_long_is_halved() -> None:
    async with refusing_long_urls(300) as table:
        assert [row["id"] for row in await table.rows(range(100))] == list(range(100))


async def test_failure_of_another_kind_is_not_halved() -> None:
    async with answering('{"code": "XX000", "message": "failed"}', 500) as table:
        sent: list[str] = []
        table._description._due = float("inf")
        assert table._http is not None
        table._http.event_hooks["request"] = [_noting(sent)]
        with pytest.raises(TableUnreadableError):
            await table.rows(range(100))
    assert len(sent) == 1


async def test_key_that_is_not_unique_is_refused_with_the_primary_key_named(
    sandbox: Sandbox,
) -> None:
    await sandbox.execute(
        "create table listed (agency int, number int, state text, primary key (agency, number));"
        "insert into listed values (1, 1, 'TX'), (1, 2, 'CA'), (2, 3, 'TX')"
    )
    read = read_from(sandbox, "listed", key="agency", updated_at="")
    async with read as table:
        for reading_rows in (table.page(None, 10), table.keys(None, 10), table.rows([1])):
            with pytest.raises(TableUnreadableError, match=r"BRIDGE_KEY.*1 in several") as refusal:
                await reading_rows
            assert refusal.value.permanent
            assert "(agency, number)" in str(refusal.value)


async def test_unique_part_of_a_compound_key_is_read_with_a_warning(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    await sandbox.execute(
        "create table partly (id int, made date, state text, primary key (id, made));"
        "insert into partly values (1, '2024-01-01', 'TX'), (2, '2024-01-01', 'CA')"
    )
    async with read_from(sandbox, "partly", updated_at="") as table:
        assert await table.keys(None, 10) == [1, 2]
        assert await table.keys(1, 10) == [2]
    assert caplog.text.count("(id, made)") == 1


@pytest.mark.parametrize("type_", ["text", "json", "int[]"])
async def test_key_that_cannot_name_a_row_is_refused(sandbox: Sandbox, type_: str) -> None:
    await sandbox.execute(f"create table keyless (n int, id {type_}, state text)")
    try:
        value = {"text": "null", "json": "'{}'", "int[]": "'{1}'"}[type_]
        await sandbox.execute(f"insert into keyless values (1, {value}, 'TX')")
        async with read_from(sandbox, "keyless", updated_at="") as table:
            with pytest.raises(TableUnreadableError, match="BRIDGE_KEY") as refusal:
                await table._read(
                    table._select(table._projection.selected), table._projection.selected
                )
        assert refusal.value.permanent
    finally:
        await sandbox.execute("drop table keyless")


async def test_key_that_realtime_cuts_off_is_named_with_its_cost(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    await sandbox.execute("create table cut (id char(4) primary key, state text)")
    async with read_from(sandbox, "cut", updated_at="") as table:
        assert await table.page(None, 10) == []
        assert table.key_advice is not None
    assert "first character only" in caplog.text


async def test_columns_with_any_name_are_read(sandbox: Sandbox) -> None:
    await sandbox.execute(
        'create table named ("Id, No" int primary key, "List Price" int, "Zip(5)" text, '
        '"Updated: At" timestamptz default now()); '
        "insert into named values (1, 100, '78701'), (2, 200, '78702')"
    )
    names = {
        "key": "Id, No",
        "columns": ("List Price", "Zip(5)"),
        "region": ("Zip(5)",),
        "updated_at": "Updated: At",
    }
    async with read_from(sandbox, "named", **names) as table:
        first, second = await table.page(None, 10)
        assert (first["List Price"], second["Zip(5)"]) == (100, "78702")
        assert list(await table.page(1, 10)) == list(await table.rows([2])) == [second]
        newest = await table.newest()
        assert newest is not None
        assert await table.recent(newest["Updated: At"], 1, 10) == [second]


async def test_column_with_a_quote_in_its_name_is_read_beside_one_with_a_blank(
    sandbox: Sandbox,
) -> None:
    await sandbox.execute(
        'create table inches (id int primary key, "5"" pipe" int, "list price" int, state text, '
        "updated_at timestamptz default now()); insert into inches values (1, 2, 3, 'TX')"
    )
    async with read_from(sandbox, "inches", columns=('5" pipe', "list price", "state")) as table:
        [read] = await table.page(None, 10)
        assert (read['5" pipe'], read["list price"]) == (2, 3)
        assert list(await table.rows([1])) == [read]


async def test_page_after_a_key_that_is_too_long_for_a_url_is_named(sandbox: Sandbox) -> None:
    await sandbox.execute(
        "create table wordy (id text primary key, state text, updated_at timestamptz); "
        "insert into wordy values (repeat('é', 3000), 'TX')"
    )
    async with read_from(sandbox, "wordy", columns=("state",)) as table:
        [read] = await table.page(None, 10)
        with pytest.raises(TableUnreadableError, match=r"page of 10 after the row with id 'é{80}'"):
            await table.page(read["id"], 10)


async def test_numbers_of_more_than_4300_digits_are_read(sandbox: Sandbox) -> None:
    await sandbox.execute(
        "create table huge (id int primary key, state numeric, updated_at timestamptz);"
        "insert into huge values (1, 1e5000), (2, -1e5000), (3, 7)"
    )
    async with read_from(sandbox, "huge") as table:
        states = [row["state"] for row in await table.page(None, 10)]
    assert states == [float("inf"), float("-inf"), 7]


async def test_updated_at_column_without_timestamps_is_named(sandbox: Sandbox) -> None:
    await sandbox.execute(
        "create table counted (id int primary key, state text, updated_at bigint)"
    )
    async with read_from(sandbox, "counted") as table:
        with pytest.raises(TableUnreadableError, match="BRIDGE_UPDATED_AT") as refusal:
            await table.recent("0001-01-01T00:00:00.000Z", None, 10)
    assert refusal.value.permanent


@pytest.mark.parametrize("body", ["", "null", "<html>", "[1]", '[{"id": 1}]', '[{"id": "a'])
async def test_response_without_a_list_of_rows_is_not_an_empty_table(body: str) -> None:
    async with answering(body) as table:
        with pytest.raises(TableUnreadableError) as refusal:
            await table.page(None, 10)
    assert not refusal.value.permanent


async def test_read_without_a_response_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgrest, "TIMEOUT_SECONDS", 0.05)
    async with answering("[]", delay=5.0) as table:
        with pytest.raises(TableUnreadableError, match="ReadTimeout") as error:
            await table.page(None, 10)
    assert not error.value.permanent


async def test_read_timeout_is_twenty_seconds() -> None:
    async with answering("[]") as table:
        assert table._http is not None
        assert table._http.timeout == httpx.Timeout(20.0)


@pytest.mark.parametrize(
    "message", ["Invalid API key", "Unregistered API key", "Legacy API keys are disabled"]
)
async def test_key_that_the_gateway_rejects_needs_an_operator(message: str) -> None:
    async with answering(f'{{"message": "{message}"}}', 401) as table:
        with pytest.raises(TableUnreadableError, match="SUPABASE_SECRET_KEY") as refusal:
            await table.page(None, 10)
    assert refusal.value.permanent


async def test_newest_row_has_the_latest_timestamp_or_is_any_row_without_one(
    sandbox: Sandbox,
) -> None:
    await sandbox.execute(
        "create table timed (id int primary key, state text, updated_at timestamptz)"
    )
    async with read_from(sandbox, "timed") as table:
        assert await table.newest() is None
        await sandbox.execute("insert into timed values (1, 'TX', null)")
        assert await table.newest() == {"id": 1, "updated_at": None}
        await sandbox.execute("insert into timed values (2, 'TX', now()), (3, 'TX', '2026-01-01')")
        newest = await table.newest()
        assert newest is not None
        assert newest["id"] == 2


async def test_newest_row_is_selected_in_the_order_of_an_index() -> None:
    async with answering("[]") as table:
        sent: list[str] = []
        assert table._http is not None
        table._http.event_hooks["request"] = [_noting(sent)]
        assert await table.newest() is None
    # With "nulls last" PostgreSQL would read and sort the whole table.
    # The first ones ask for the types of the columns.
    orders = [url.params.get("order") for url in map(httpx.URL, sent)]
    assert orders[-2:] == ["updated_at.desc", None]


def _noting(sent: list[str]) -> Callable[[httpx.Request], Awaitable[None]]:
    async def note(request: httpx.Request) -> None:
        sent.append(str(request.url))

    return note
