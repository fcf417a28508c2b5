"""A client receives every committed change once, in order and without unpublished values, whatever
fault Supabase has.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bridge.settings import Settings
from bridge.source.base import SourceState
from bridge.source.realtime import disconnects
from bridge.source.realtime import source as realtime
from tests.integration.pipeline_rig import PipelineRig
from tests.integration.scenario import Scenario, Timing, run
from tests.integration.scenarios import SCENARIOS
from tests.support.checker import StateChecker
from tests.support.expected_table import ExpectedTable
from tests.support.writer import Writer

if TYPE_CHECKING:
    from bridge.sandbox import Sandbox

SHORT_WAITS: dict[str, Any] = {
    "watch_interval": 0.5,
    "watch_grace": 0.3,
    "sweep_interval": 2,
    "settle": 0.2,
    "join_timeout": 1,
}
SHORT = Timing(
    settings=SHORT_WAITS,
    fault_seconds=0.6,
    pause=0.005,
    patience=45,
    idle_seconds=2,
    shutdown_seconds=1.5,
)
PUBLICATION_CHECK = 1.0
"""Seconds between Realtime's looks at the publication."""


@pytest.fixture(autouse=True)
def _short_waits(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the waits of the source that are not settings, and those of Realtime."""
    sandbox.realtime.publication_check_seconds = PUBLICATION_CHECK
    monkeypatch.setattr(realtime, "TICK_SECONDS", 0.05)
    monkeypatch.setattr(disconnects, "SLOW_SECONDS", 0.5)


async def run_without_violation(
    scenario: Scenario, sandbox: Sandbox, timing: Timing = SHORT
) -> None:
    outcome = await run(scenario, sandbox, timing)
    assert outcome.violations == ()
    assert outcome.blended == 0 or scenario.omits_large_values
    assert outcome.seconds < timing.patience
    assert outcome.changes


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
async def test_client_receives_every_change_once_in_order_when(
    sandbox: Sandbox, scenario: Scenario
) -> None:
    await run_without_violation(scenario, sandbox)


def named(*prefixes: str) -> list[Scenario]:
    """Return the scenarios whose names begin with one of `prefixes`; each has to match one."""
    found = [scenario for scenario in SCENARIOS if scenario.name.startswith(prefixes)]
    assert len(found) >= len(prefixes)
    return found


@pytest.mark.parametrize(
    "scenario", named("500 rows", "pending", "TRUNCATE, and"), ids=lambda scenario: scenario.name
)
async def test_client_receives_every_change_with_a_short_queue_and_small_pages_when(
    sandbox: Sandbox, scenario: Scenario
) -> None:
    small = SHORT_WAITS | {"queue_changes": 20, "page_rows": 7}
    await run_without_violation(scenario, sandbox, replace(SHORT, settings=small))


@pytest.mark.parametrize(
    "scenario",
    named("five changes", "the last change", "the socket closes with 1006", "TRUNCATE, and"),
    ids=lambda scenario: scenario.name,
)
async def test_client_receives_every_change_of_a_table_without_updated_at_when(
    sandbox: Sandbox, scenario: Scenario
) -> None:
    without = SHORT_WAITS | {"updated_at": ""}
    await run_without_violation(scenario, sandbox, replace(SHORT, settings=without))


def settings_of(sandbox: Sandbox, **overrides: Any) -> Settings:
    return Settings(
        supabase_url=sandbox.supabase_url,
        supabase_secret_key=sandbox.supabase_key,
        page_rows=10,
        **SHORT_WAITS | overrides,
    )


def writer_of(sandbox: Sandbox, settings: Settings, pause: float) -> Writer:
    return Writer(sandbox.execute, ExpectedTable(settings.projection), pause)


async def until_converged(rig: PipelineRig, writer: Writer) -> None:
    await rig.client.until(lambda: rig.client.rows == writer.table.rows, 20)


def check(rig: PipelineRig, writer: Writer) -> None:
    checker = StateChecker(writer.table)
    assert checker.check(rig.client) == []
    assert checker.unconverged(rig.client) == []


async def test_events_of_all_properties_are_in_commit_order_without_faults(
    sandbox: Sandbox,
) -> None:
    # On a busy machine the stream is late: rows that were read before would be published.
    settings = settings_of(sandbox, watch_grace=60)
    writer = writer_of(sandbox, settings, pause=0.002)
    await writer.begin(40)
    async with PipelineRig.open(settings) as rig:
        await rig.begin()
        await rig.until(lambda: rig.pipeline.status().counts["passes"] > 1 and rig.idle)
        await writer.change()
        await until_converged(rig, writer)
        # No new rows: so soon after the start they wait for a read, and others overtake them.
        for key in 3 * list(writer.table.rows):
            await writer.change(key)
            await writer.move(key)
        await until_converged(rig, writer)
    prices = [state["price"] for state in rig.client.states if state is not None]
    assert len(prices) > 200
    assert prices == sorted(prices)
    check(rig, writer)


async def test_changes_during_the_initial_load_are_in_it_or_follow_as_events(
    sandbox: Sandbox,
) -> None:
    settings = settings_of(sandbox)
    writer = writer_of(sandbox, settings, pause=0.005)
    await writer.begin(40)
    sandbox.rest_faults.delay = 0.05
    async with PipelineRig.open(settings) as rig:
        async with writer.writing():
            await rig.begin()
            await writer.until_written(20)
        sandbox.rest_faults.heal()
        await until_converged(rig, writer)
        await rig.until(lambda: rig.idle)
    check(rig, writer)


async def test_bridge_that_starts_before_supabase_waits_for_it(sandbox: Sandbox) -> None:
    settings = settings_of(sandbox)
    writer = writer_of(sandbox, settings, pause=0.005)
    await writer.begin(20)
    sandbox.faults.refuse()
    sandbox.rest_faults.down = True
    async with PipelineRig.open(settings) as rig:
        await rig.until(lambda: rig.source.status().state is SourceState.DOWN)
        sandbox.faults.accept()
        await rig.until(lambda: rig.source.status().state is SourceState.LIVE)
        assert not rig.pipeline.status().reconciled
        sandbox.rest_faults.heal()
        await rig.begin()
        await writer.change()
        await until_converged(rig, writer)
    check(rig, writer)
