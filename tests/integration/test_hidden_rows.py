"""Rows that the table hides from the bridge are not deleted rows."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from bridge.source import table_checks
from bridge.source.realtime import source as realtime
from tests.integration.pipeline_rig import PipelineRig
from tests.integration.test_source_errors import settings_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge.sandbox import Sandbox

ROWS = 40
FEW = 4
"""Rows with a key below '13': 1, 10, 11, 12."""

WITHOUT_BYPASS = "alter role service_role nobypassrls; alter table places enable row level security"
FUNCTION = "public.bridge_rights(text, text)"


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realtime, "TICK_SECONDS", 0.05)
    monkeypatch.setitem(table_checks.ABSENT_SECONDS, table_checks.RIGHTS, 0.2)


@pytest.fixture
async def places(sandbox: Sandbox) -> AsyncIterator[Sandbox]:
    """The sandbox, with a table of 40 rows in two states. Roles and functions are restored."""
    await sandbox.execute(
        "create table places (id text primary key, state text, price int, "
        "updated_at timestamptz default now());"
        "alter publication supabase_realtime add table places;"
        "grant select on places to service_role, anon;"
        "insert into places select n::text, case when n % 2 = 0 then 'TX' else 'CA' end, n "
        f"from generate_series(1, {ROWS}) n"
    )
    try:
        yield sandbox
    finally:
        await sandbox.execute("alter role service_role bypassrls; drop table places")
        await sandbox.execute(
            f"do $$ begin if to_regprocedure('{FUNCTION}') is null then "
            "alter function public.hidden_rights(text, text) rename to bridge_rights; "
            "end if; end $$"
        )


async def remove_function(sandbox: Sandbox) -> None:
    await sandbox.execute(f"alter function {FUNCTION} rename to hidden_rights")


@asynccontextmanager
async def following(sandbox: Sandbox, **overrides: Any) -> AsyncIterator[PipelineRig]:
    values: dict[str, Any] = {
        "table": "places",
        "columns": ("state", "price"),
        "sweep_interval": 0.3,
        "delete_hold": 60.0,
        **overrides,
    }
    async with PipelineRig.open(settings_of(sandbox, **values)) as rig:
        await rig.begin()
        await rig.until(lambda: rig.idle)
        yield rig


async def held(rig: PipelineRig) -> str:
    """Wait until the loss counts as an error. Return the error; nothing was deleted."""
    await rig.until(lambda: "are missing" in (rig.pipeline.status().error or ""), 15)
    assert rig.pipeline.status().unreadable_since is not None
    assert len(rig.pipeline.rows) == ROWS
    assert len(rig.client.rows) == ROWS
    return rig.pipeline.status().error or ""


async def healed(rig: PipelineRig) -> None:
    await rig.until(lambda: rig.pipeline.status().unreadable_since is None, 15)
    await rig.until(lambda: rig.pipeline.status().error is None, 15)
    assert len(rig.pipeline.rows) == ROWS
    assert len(rig.client.rows) == ROWS


async def test_rows_hidden_by_a_lost_bypassrls_are_an_error_and_no_deletes(
    places: Sandbox,
) -> None:
    async with following(places) as rig:
        await places.execute(WITHOUT_BYPASS)
        assert "alter role service_role bypassrls" in await held(rig)
        await places.execute("alter role service_role bypassrls")
        await healed(rig)


async def test_rows_hidden_by_a_policy_are_an_error_and_no_deletes(places: Sandbox) -> None:
    await places.execute(WITHOUT_BYPASS)
    await places.execute("create policy everything on places for select using (true)")
    async with following(places) as rig:
        await places.execute(
            "create policy half on places as restrictive for select using (state = 'CA')"
        )
        assert "row level security" in await held(rig)
        await places.execute("drop policy half on places")
        await healed(rig)


async def test_revoked_select_is_an_error_and_no_deletes(places: Sandbox) -> None:
    async with following(places) as rig:
        await places.execute("revoke select on places from service_role")
        await rig.until(lambda: "grant select on it" in (rig.pipeline.status().error or ""))
        assert len(rig.pipeline.rows) == ROWS
        await places.execute("grant select on places to service_role")
        await healed(rig)


async def test_truncate_is_emitted_under_a_role_without_bypassrls_that_sees_all_rows(
    places: Sandbox,
) -> None:
    await places.execute(WITHOUT_BYPASS)
    await places.execute("create policy everything on places for select using (true)")
    async with following(places) as rig:
        await places.execute("truncate places")
        await rig.until(lambda: not rig.client.rows, 10)
        assert rig.pipeline.status().error is None


async def test_changes_go_on_while_rows_are_hidden(places: Sandbox) -> None:
    await places.execute(WITHOUT_BYPASS)
    await places.execute("create policy everything on places for select using (true)")
    async with following(places) as rig:
        await places.execute(
            "create policy half on places as restrictive for select using (state = 'CA')"
        )
        await held(rig)
        await places.execute("update places set price = 999, updated_at = now() where id = '1'")
        await rig.until(lambda: rig.client.rows["1"]["price"] == 999)


@pytest.mark.parametrize("statement", ["truncate places", "delete from places"])
async def test_rows_deleted_while_the_stream_is_mute_are_emitted(
    places: Sandbox, statement: str
) -> None:
    async with following(places) as rig:
        places.faults.mute()
        await places.execute(statement)
        await rig.until(lambda: not rig.client.rows, 10)
        assert rig.pipeline.status().error is None


async def test_mass_delete_of_the_stream_needs_no_function(places: Sandbox) -> None:
    await remove_function(places)
    async with following(places) as rig:
        await places.execute("delete from places")
        await rig.until(lambda: not rig.client.rows, 10)


async def test_truncate_without_the_function_is_held_and_then_emitted(places: Sandbox) -> None:
    await remove_function(places)
    async with following(places, delete_hold=2.0) as rig:
        await places.execute("truncate places")
        assert "BRIDGE_DELETE_HOLD" in await held(rig)
        await rig.until(lambda: not rig.client.rows, 20)
        await rig.until(lambda: rig.pipeline.status().error is None)


async def test_truncate_is_emitted_once_the_function_is_applied(places: Sandbox) -> None:
    await remove_function(places)
    async with following(places) as rig:
        await places.execute("truncate places")
        assert "deploy/README.md" in await held(rig)
        await places.execute("alter function hidden_rights(text, text) rename to bridge_rights")
        await rig.until(lambda: not rig.client.rows, 20)


async def test_loss_under_another_role_is_never_emitted_without_the_function(
    places: Sandbox,
) -> None:
    await remove_function(places)
    overrides = {"supabase_secret_key": places.anon_key, "delete_hold": 0.0}
    async with following(places, **overrides) as rig:
        await places.execute("alter table places enable row level security")
        assert "anon may be subject to it" in await held(rig)
        await places.execute("alter table places disable row level security")
        await healed(rig)


async def test_few_lost_deletes_are_emitted_without_the_function(places: Sandbox) -> None:
    await remove_function(places)
    async with following(places) as rig:
        places.faults.mute()
        await places.execute("delete from places where id < '13'")
        await rig.until(lambda: len(rig.client.rows) == ROWS - FEW, 10)
