"""A channel that joins and never delivers: not taken for live again until a change has come."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from bridge.source.base import SourceState
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
