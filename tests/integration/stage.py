"""Where a scenario is played: a sandbox, a bridge before it, a writer, and the judgement."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from bridge.settings import Settings
from bridge.source.base import SourceState
from tests.integration.line import Line
from tests.integration.story import Truth, Verdict, judge
from tests.integration.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from bridge.sandbox import Sandbox

ROWS = 30

Act: TypeAlias = "Callable[[Stage], Awaitable[None]]"


@dataclass(frozen=True)
class Tempo:
    """How fast a scenario is played. Times are seconds."""

    settings: Mapping[str, Any]  # of the bridge, beside the defaults
    span: float  # how long a lasting fault lasts
    pause: float  # between two writes
    patience: float  # until a repair counts as missing


@dataclass(frozen=True)
class Scenario:
    """`act` makes the trouble, and returns when it is over; meanwhile the writer writes.

    `before` and `after` are SQL statements around it all. `idle`: the writer writes only what `act`
    has it write. `blends`: states may be told that blend old and new values, see the scenario.
    """

    name: str
    act: Act
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    idle: bool = False
    blends: bool = False


@dataclass(frozen=True)
class Outcome:
    changes: int
    events: int
    verdict: Verdict
    seconds: float
    blends: bool

    @property
    def good(self) -> bool:
        return self.verdict == Verdict(blended=self.verdict.blended if self.blends else 0)


@dataclass
class Stage:
    sandbox: Sandbox
    line: Line
    writer: Writer
    tempo: Tempo

    @property
    def keys(self) -> list[Any]:
        return list(self.writer.truth.now)

    async def written(self, count: int = 20) -> None:
        await self.writer.until_written(count)

    async def pass_time(self) -> None:
        """Let the fault last."""
        await asyncio.sleep(self.tempo.span)

    async def until(self, reached: Callable[[], bool]) -> None:
        await self.line.until(reached, self.tempo.patience)

    async def until_down(self) -> None:
        """Wait until the bridge has noticed that its subscription is over."""
        await self.until(lambda: self.line.source.status().state is not SourceState.LIVE)

    async def until_live(self) -> None:
        await self.until(lambda: self.line.source.status().state is SourceState.LIVE)

    def told(self) -> bool:
        return self.line.client.rows == self.writer.truth.now


async def play(scenario: Scenario, sandbox: Sandbox, tempo: Tempo) -> Outcome:
    settings = Settings(
        supabase_url=sandbox.supabase_url,
        supabase_secret_key=sandbox.supabase_key,
        **tempo.settings,
    )
    writer = Writer(sandbox, Truth(settings.projection), tempo.pause)
    for statement in scenario.before:
        await sandbox.execute(statement)
    try:
        await writer.begin(ROWS)
        async with Line.open(settings) as line:
            return await _play(scenario, Stage(sandbox, line, writer, tempo))
    finally:
        sandbox.faults.lift()
        sandbox.rest_faults.heal()
        for statement in scenario.after:
            await sandbox.execute(statement)


async def _play(scenario: Scenario, stage: Stage) -> Outcome:
    line, writer, truth, client = stage.line, stage.writer, stage.writer.truth, stage.line.client
    patience = stage.tempo.patience
    await line.begin()
    # Past what every start brings, so that what happens next is repaired for its own sake: the
    # second pass over the table, and a first change of each row.
    await line.until(lambda: line.pipeline.status().counts["passes"] > 1 and line.quiet)
    await writer.change()
    await client.until(stage.told, patience)
    commits, events = truth.commits, client.events
    if scenario.idle:
        await scenario.act(stage)
    else:
        async with writer.writing():
            await scenario.act(stage)
    ended = time.monotonic()
    try:
        await client.until(stage.told, patience)
        seconds = time.monotonic() - ended
        changes, told = truth.commits - commits, client.events - events
        await _live_on(stage)
    except TimeoutError:
        changes, told = truth.commits - commits, client.events - events
        seconds = float("inf")
    await writer.reread()  # the table itself has the last word
    return Outcome(changes, told, judge(truth, client), seconds, scenario.blends)


async def _live_on(stage: Stage) -> None:
    """The stream must flow again, and nothing that comes late may spoil what was told. A mute
    channel may be repaired by reads before it is known to be mute: hence more than one try.
    """
    line, writer = stage.line, stage.writer
    async with asyncio.timeout(stage.tempo.patience):
        alive = False
        while not alive:
            await line.until(lambda: line.quiet)
            heard = line.changes
            await writer.insert()
            await writer.change()
            await line.client.until(stage.told, stage.tempo.patience)
            await line.until(lambda: line.quiet)
            alive = line.changes > heard
