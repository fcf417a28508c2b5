"""Rights, counts and digests of a table, over PostgREST and over SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import make_conninfo

from bridge.options import postgrest_options
from bridge.source.postgrest import PostgrestTable
from bridge.source.replication.sql_table import SqlTable
from tests.integration.test_source_errors import settings_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge.sandbox import Sandbox
    from bridge.source.base import TableConnection


@pytest.fixture
async def asked(sandbox: Sandbox) -> AsyncIterator[Sandbox]:
    """The sandbox, with a table of ten rows, and a role that is subject to row level security."""
    await sandbox.execute(
        "create role reader login password 'reader'; grant usage on schema public to reader;"
        "create table asked (id int primary key, state text, updated_at timestamptz);"
        "grant select on asked to service_role, reader;"
        "insert into asked select n, 'TX', now() from generate_series(1, 10) n;"
        "create trigger kept before update on asked for each row "
        "execute function public.touch_updated_at()"
    )
    try:
        yield sandbox
    finally:
        await sandbox.execute(
            "drop table asked; revoke usage on schema public from reader; drop role reader;"
            "alter role service_role bypassrls"
        )


@pytest.fixture(params=["postgrest", "sql"])
async def table(asked: Sandbox, request: pytest.FixtureRequest) -> AsyncIterator[TableConnection]:
    settings = settings_of(asked, table="asked", columns=("state",), region=("state",))
    made: TableConnection
    if request.param == "sql":
        url = make_conninfo(asked.database_url, user="reader", password="reader")
        made = SqlTable(url, settings.projection, "supabase_realtime")
    else:
        await asked.execute("alter role service_role nobypassrls")
        made = PostgrestTable(postgrest_options(settings))
    await made.open()
    yield made
    await made.close()


async def test_rights_show_whether_row_level_security_filters(
    asked: Sandbox, table: TableConnection
) -> None:
    rights = await table.rights()
    assert rights.role in ("service_role", "reader")
    assert (rights.filtered, rights.update_triggers) == (False, ("kept",))
    await asked.execute("alter table asked enable row level security")
    assert (await table.rights()).filtered
    await asked.execute("create policy everything on asked for select using (true)")
    assert not (await table.rights()).filtered
    await asked.execute("create policy half on asked as restrictive using (state = 'TX')")
    assert (await table.rights()).filtered


async def test_rows_are_counted(asked: Sandbox, table: TableConnection) -> None:
    await asked.execute(
        "update asked set state = 'CA' where id = 1; alter table asked disable trigger kept;"
        "update asked set updated_at = null where id < 3;"
        "update asked set updated_at = '2099-01-01' where id = 5"
    )
    assert await table.count() == 10
    assert await table.unusual_updates() == (2, 1)


async def test_digest_of_a_range_shows_changes_within_it_alone(
    asked: Sandbox, table: TableConnection
) -> None:
    bounds = ((None, 3), (3, 7), (7, None), (None, None))
    before = [await table.digest(*each) for each in bounds]
    assert None not in before
    assert before == [await table.digest(*each) for each in bounds]
    await asked.execute("update asked set state = 'CA' where id = 7")
    after = [await table.digest(*each) for each in bounds]
    changed = [old != new for old, new in zip(before, after, strict=True)]
    assert changed == [False, True, False, True]


async def test_page_ends_with_a_given_key(table: TableConnection) -> None:
    assert [row["id"] for row in await table.page(3, 100, 7)] == [4, 5, 6, 7]
