"""Whatever goes wrong upstream, clients are told every property's true story: no change of the
table is lost, none is told twice, none out of order, and nothing that is not published leaves.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bridge.settings import Settings
from bridge.source.base import SourceState
from bridge.source.realtime import disconnects as endings
from bridge.source.realtime import source as realtime
from tests.integration.line import Line
from tests.integration.scenarios import SCENARIOS
from tests.integration.stage import Scenario, Tempo, play
from tests.integration.story import Truth, judge
from tests.integration.writer import Writer

if TYPE_CHECKING:
    from bridge.sandbox import Sandbox

HURRIED: dict[str, Any] = {
    "watch_interval": 0.5,
    "watch_grace": 0.3,
    "sweep_interval": 2,
    "settle": 0.2,
    "join_timeout": 1,
}
QUICK = Tempo(settings=HURRIED, span=0.6, pause=0.005, patience=20)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter waits of the source where no setting says so."""
    monkeypatch.setattr(realtime, "TICK_SECONDS", 0.05)
    monkeypatch.setattr(endings, "SLOW_SECONDS", 0.5)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
async def test_nothing_is_lost_repeated_or_out_of_order_when(
    sandbox: Sandbox, scenario: Scenario
) -> None:
    outcome = await play(scenario, sandbox, QUICK)
    assert outcome.good, outcome.verdict
    assert outcome.seconds < QUICK.patience
    assert outcome.changes


def named(*words: str) -> list[Scenario]:
    """The scenarios whose names begin so."""
    return [scenario for scenario in SCENARIOS if scenario.name.startswith(words)]


@pytest.mark.parametrize(
    "scenario", named("500 rows", "pending", "TRUNCATE, and"), ids=lambda scenario: scenario.name
)
async def test_a_short_queue_and_small_pages_change_nothing_when(
    sandbox: Sandbox, scenario: Scenario
) -> None:
    tempo = replace(QUICK, settings=HURRIED | {"queue_changes": 20, "page_rows": 7})
    outcome = await play(scenario, sandbox, tempo)
    assert outcome.good, outcome.verdict
    assert outcome.seconds < QUICK.patience


@pytest.mark.parametrize(
    "scenario",
    named("five changes", "the last change", "the socket closes with 1006", "TRUNCATE, and"),
    ids=lambda scenario: scenario.name,
)
async def test_a_table_without_updated_at_is_told_truly_too_when(
    sandbox: Sandbox, scenario: Scenario
) -> None:
    tempo = replace(QUICK, settings=HURRIED | {"updated_at": ""})
    outcome = await play(scenario, sandbox, tempo)
    assert outcome.good, outcome.verdict
    assert outcome.seconds < QUICK.patience


def settings_of(sandbox: Sandbox) -> Settings:
    return Settings(
        supabase_url=sandbox.supabase_url,
        supabase_secret_key=sandbox.supabase_key,
        page_rows=10,
        **HURRIED,
    )


async def test_while_all_is_well_events_of_all_properties_come_in_commit_order(
    sandbox: Sandbox,
) -> None:
    settings = settings_of(sandbox)
    writer = Writer(sandbox, Truth(settings.projection), pause=0.002)
    await writer.begin(40)
    async with Line.open(settings) as line:
        await line.begin()
        await line.until(lambda: line.pipeline.status().counts["passes"] > 1 and line.quiet)
        await writer.change()
        await line.client.until(lambda: line.client.rows == writer.truth.now, 20)
        # No new rows: so soon after the start they wait for a read, and others overtake them.
        for key in 3 * list(writer.truth.now):
            await writer.change(key)
            await writer.move(key)
        await line.client.until(lambda: line.client.rows == writer.truth.now, 20)
    prices = [state["price"] for state in line.client.sequence if state is not None]
    assert len(prices) > 200
    assert prices == sorted(prices)
    assert judge(writer.truth, line.client).good


async def test_what_is_written_during_the_first_picture_is_in_it_or_told(sandbox: Sandbox) -> None:
    settings = settings_of(sandbox)
    writer = Writer(sandbox, Truth(settings.projection), pause=0.005)
    await writer.begin(40)
    sandbox.rest_faults.delay = 0.05
    async with Line.open(settings) as line:
        async with writer.writing():
            await line.begin()
            await writer.until_written(20)
        sandbox.rest_faults.heal()
        await line.client.until(lambda: line.client.rows == writer.truth.now, 20)
        await line.until(lambda: line.quiet)
    assert judge(writer.truth, line.client).good


async def test_a_bridge_that_starts_before_supabase_waits_for_it(sandbox: Sandbox) -> None:
    settings = settings_of(sandbox)
    writer = Writer(sandbox, Truth(settings.projection), pause=0.005)
    await writer.begin(20)
    sandbox.faults.refuse()
    sandbox.rest_faults.down = True
    async with Line.open(settings) as line:
        await line.until(lambda: line.source.status().state is SourceState.DOWN)
        sandbox.faults.accept()
        await line.until(lambda: line.source.status().state is SourceState.LIVE)
        assert not line.pipeline.status().reconciled
        sandbox.rest_faults.heal()
        await line.begin()
        await writer.change()
        await line.client.until(lambda: line.client.rows == writer.truth.now, 20)
    assert judge(writer.truth, line.client).good
