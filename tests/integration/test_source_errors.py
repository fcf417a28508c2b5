"""Errors that need an operator: the bridge logs advice, retries slowly and emits nothing."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from bridge.changes import GapReason
from bridge.errors import TableUnreadableError
from bridge.options import postgrest_options
from bridge.settings import Settings
from bridge.source.base import SourceState
from bridge.source.postgrest import PostgrestTable
from bridge.source.realtime import disconnects as endings
from bridge.source.realtime import source as realtime
from tests.integration.pipeline_rig import PipelineRig
from tests.support.expected_table import UNPUBLISHED_MARK, ExpectedTable
from tests.support.writer import Writer

if TYPE_CHECKING:
    from bridge.sandbox import Sandbox
    from bridge.source.base import SourceStatus

WRONG_KEY = jwt.encode(
    {"role": "service_role", "iss": "supabase", "exp": int(time.time()) + 3600},
    "the JWT secret of quite another project",
)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realtime, "TICK_SECONDS", 0.05)


def settings_of(sandbox: Sandbox, **overrides: Any) -> Settings:
    values: dict[str, Any] = {
        "supabase_url": sandbox.supabase_url,
        "supabase_secret_key": sandbox.supabase_key,
        "watch_interval": 0.2,
        "watch_grace": 0.2,
        "settle": 0.2,
        **overrides,
    }
    return Settings(**values)


async def refused(rig: PipelineRig) -> SourceStatus:
    await rig.until(lambda: rig.source.status().state is SourceState.DOWN)
    return rig.source.status()


async def test_wrong_key_needs_an_operator_and_emits_nothing(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    async with PipelineRig.open(settings_of(sandbox, supabase_secret_key=WRONG_KEY)) as rig:
        status = await refused(rig)
        assert "HTTP 401" in (status.error or "")
        assert "SUPABASE_SECRET_KEY" in (status.error or "")
        assert not len(rig.inbox)
        assert not rig.pipeline.status().reconciled
    records = [
        record for record in caplog.records if record.name == "bridge.source.realtime.source"
    ]
    assert [record.levelname for record in records] == ["ERROR"]
    assert WRONG_KEY not in caplog.text


async def test_wrong_key_is_retried_slowly_until_it_is_accepted(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endings, "SLOW_SECONDS", 0.5)
    monkeypatch.setattr(endings, "LONGEST_SECONDS", 0.0)
    async with PipelineRig.open(settings_of(sandbox)) as rig:
        with monkeypatch.context() as rotated:
            rotated.setattr(sandbox.realtime, "_jwt_secret", "rotated, and the bridge not told")
            await sandbox.faults.close(1012)
            await rig.until(lambda: "HTTP 401" in (rig.source.status().error or ""))
            began = time.monotonic()
            attempts = rig.source.status().attempts
            await rig.until(lambda: rig.source.status().attempts > attempts)
            assert time.monotonic() - began >= 0.4
        await rig.until(lambda: rig.source.status().state is SourceState.LIVE)
        assert rig.source.status().error is None


async def test_read_with_a_wrong_key_fails_permanently(sandbox: Sandbox) -> None:
    with pytest.raises(TableUnreadableError, match="SUPABASE_SECRET_KEY") as refusal:
        await newest(settings_of(sandbox, supabase_secret_key=WRONG_KEY))
    assert refusal.value.permanent


async def test_table_outside_the_publication_needs_an_operator(sandbox: Sandbox) -> None:
    await sandbox.execute("create table if not exists public.secluded (id int primary key)")
    async with PipelineRig.open(settings_of(sandbox, table="secluded")) as rig:
        status = await refused(rig)
        assert "publication supabase_realtime" in (status.error or "")
        assert not len(rig.inbox)


@pytest.mark.parametrize(
    ("overrides", "advice"),
    [
        ({"columns": "name,nosuch"}, "BRIDGE_COLUMNS"),
        ({"region": "nosuch"}, "BRIDGE_REGION"),
        ({"updated_at": "nosuch"}, "BRIDGE_UPDATED_AT"),
        ({"table": "nosuch"}, "BRIDGE_TABLE"),
    ],
    ids=["column", "region", "updated_at", "table"],
)
async def test_setting_with_an_unknown_column_or_table_is_named(
    sandbox: Sandbox, overrides: dict[str, str], advice: str
) -> None:
    with pytest.raises(TableUnreadableError, match=advice) as refusal:
        await newest(settings_of(sandbox, **overrides))
    assert refusal.value.permanent


async def newest(settings: Settings) -> None:
    """Read a page of rows, as a scan does."""
    table = PostgrestTable(postgrest_options(settings))
    await table.open()
    try:
        await table.page(None, 1)
    finally:
        await table.close()


async def test_unknown_column_leaves_the_queue_waiting_and_emits_nothing(
    sandbox: Sandbox,
) -> None:
    async with PipelineRig.open(settings_of(sandbox, columns="name,nosuch")) as rig:
        await rig.until(lambda: rig.pipeline.status().error is not None)
        assert "42703" in (rig.pipeline.status().error or "")
        await sandbox.execute("update properties set price = 1")
        await rig.until(lambda: len(rig.inbox) > 0)
        assert not rig.pipeline.status().reconciled


async def test_change_without_select_grant_is_a_gap_and_logs_no_row(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_of(sandbox)
    writer = Writer(sandbox.execute, ExpectedTable(settings.projection), pause=0.005)
    await writer.begin(5)
    caplog.set_level(logging.INFO)
    async with PipelineRig.open(settings) as rig:
        await rig.begin()
        await rig.until(lambda: rig.pipeline.status().counts["passes"] > 1 and rig.idle)
        gaps = rig.pipeline.status().counts["gaps"]
        await sandbox.execute("revoke select on public.properties from service_role")
        try:
            await writer.change()
            await rig.until(lambda: rig.pipeline.status().counts["gaps"] > gaps)
            await rig.until(lambda: rig.pipeline.status().error is not None)
        finally:
            await sandbox.execute("grant select on public.properties to service_role")
        await rig.client.until(lambda: rig.client.rows == writer.table.rows, 20)
    assert f"{GapReason.UNREADABLE.value} (Error 401)" in caplog.text
    assert "grant select" in caplog.text
    everything = " ".join(str(record.__dict__) for record in caplog.records)
    assert UNPUBLISHED_MARK not in everything
    assert "Listing 1" not in everything


async def test_source_and_pipeline_can_be_stopped_while_waiting(sandbox: Sandbox) -> None:
    async with asyncio.timeout(20):
        async with PipelineRig.open(settings_of(sandbox, supabase_secret_key=WRONG_KEY)) as rig:
            await refused(rig)
