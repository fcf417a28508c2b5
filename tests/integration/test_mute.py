"""A channel that joins and never delivers: not taken for live again until a change has come."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from bridge.errors import TableUnreadableError
from bridge.source.base import SourceState
from bridge.source.postgrest import PostgrestTable
from bridge.source.realtime import source as realtime
from tests.integration.pipeline_rig import PipelineRig
from tests.integration.test_source_errors import settings_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.sandbox import Sandbox


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realtime, "TICK_SECONDS", 0.05)


async def insert(sandbox: Sandbox) -> None:
    await sandbox.execute("insert into properties (name, state, price) values ('new', 'TX', 1)")


async def written_until(sandbox: Sandbox, reached: Callable[[], bool]) -> None:
    """Write a row now and then until `reached` returns true."""
    async with asyncio.timeout(30):
        while not reached():
            await insert(sandbox)
            await asyncio.sleep(0.1)


def error_of(rig: PipelineRig) -> str:
    return rig.source.status().error or ""


async def test_source_is_not_live_after_two_mute_sessions_until_a_change_has_come(
    sandbox: Sandbox,
) -> None:
    async with PipelineRig.open(settings_of(sandbox)) as rig:
        await rig.begin()
        await rig.until(lambda: rig.idle)
        sandbox.faults.mute(new=True)
        await written_until(sandbox, lambda: "pg_replication_slots" in error_of(rig))
        await rig.until(lambda: rig.source.status().state is SourceState.JOINED)
        rows = len(rig.pipeline.rows)
        await insert(sandbox)
        await rig.until(lambda: len(rig.pipeline.rows) == rows + 1)  # repairs go on
        assert rig.source.status().state is not SourceState.LIVE
        sandbox.faults.unmute()
        await written_until(sandbox, lambda: rig.source.status().state is SourceState.LIVE)
        assert error_of(rig) == ""
        assert rig.changes > 0


async def test_scan_that_finds_nothing_is_a_sign_of_life_while_the_newest_row_can_not_be_read(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def timed_out(_table: PostgrestTable) -> None:
        raise TableUnreadableError("57014 canceling statement due to statement timeout")

    monkeypatch.setattr(PostgrestTable, "newest", timed_out)
    async with PipelineRig.open(settings_of(sandbox)) as rig:
        await rig.begin()
        await rig.until(lambda: rig.idle and "57014" in error_of(rig))
        now = time.monotonic()
        await rig.until(lambda: (rig.source.status().last_activity_at or 0) > now)
        assert rig.source.status().state is SourceState.LIVE
