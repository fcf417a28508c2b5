"""Scenarios: a fault of Supabase, injected while a writer changes the table, and the outcome.

A scenario runs against a sandbox and a bridge without clients' connections. Afterwards the events
of one client with a subscription to everything are compared with the committed states.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from bridge.sandbox.postgrest import faults as rest_faults
from bridge.settings import Settings
from bridge.source.base import SourceState
from tests.integration.pipeline_rig import PipelineRig
from tests.support.checker import StateChecker
from tests.support.expected_table import ExpectedTable
from tests.support.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from bridge.sandbox import Sandbox
    from tests.support.faults import LastingFault
    from tests.support.violations import Kind, Violation

ROWS = 30

Act: TypeAlias = "Callable[[ScenarioRun], Awaitable[None]]"


@dataclass(frozen=True)
class Timing:
    """Times of a scenario in seconds."""

    settings: Mapping[str, Any]
    """Settings of the bridge that are not the defaults."""
    fault_seconds: float
    """Duration of a lasting fault."""
    pause: float
    """Between two writes."""
    patience: float
    """Until the client has to be converged."""
    idle_seconds: float
    """Until the rig has to be idle, or another change is written."""
    shutdown_seconds: float
    """Duration of a slow shutdown of the database."""


@dataclass(frozen=True)
class Scenario:
    """`act` injects the fault and returns when it is over; meanwhile the writer writes.

    `altered`: changes of the schema that last for the whole scenario. `undone`: changes that `act`
    makes; both are undone after it, also if it fails. `only_act_writes`: the writer runs only the
    statements of `act`. `omits_large_values`: an event may have an earlier large value.
    """

    name: str
    act: Act
    altered: tuple[LastingFault, ...] = ()
    undone: tuple[LastingFault, ...] = ()
    only_act_writes: bool = False
    omits_large_values: bool = False


class ScenarioList:
    """A list of scenarios; `add` returns a decorator that adds one."""

    def __init__(self) -> None:
        self._scenarios: list[Scenario] = []

    def __iter__(self) -> Iterator[Scenario]:
        return iter(self._scenarios)

    def add(
        self,
        name: str,
        *,
        altered: tuple[LastingFault, ...] = (),
        undone: tuple[LastingFault, ...] = (),
        only_act_writes: bool = False,
        omits_large_values: bool = False,
    ) -> Callable[[Act], Act]:
        def decorate(act: Act) -> Act:
            self._scenarios.append(
                Scenario(
                    name,
                    act,
                    altered,
                    undone,
                    only_act_writes=only_act_writes,
                    omits_large_values=omits_large_values,
                )
            )
            return act

        return decorate


@dataclass(frozen=True)
class Outcome:
    """`seconds`: from the end of the fault until the client was converged; infinite if never."""

    changes: int
    events: int
    violations: tuple[Violation, ...]
    blended: int
    seconds: float

    def count(self, *kinds: Kind) -> int:
        """Return the number of violations of these kinds."""
        counts = Counter(violation.kind for violation in self.violations)
        return sum(counts[kind] for kind in kinds)


class SandboxTarget:
    """Injects faults into a sandbox of this process."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def fault(self, name: str, **options: Any) -> None:
        if name in rest_faults.NAMES:
            self._sandbox.rest_faults.apply(name, **options)
        else:
            await self._sandbox.faults.apply(name, **options)

    async def execute(self, statement: str) -> object:
        return await self._sandbox.execute(statement)


@dataclass
class ScenarioRun:
    sandbox: Sandbox
    rig: PipelineRig
    writer: Writer
    timing: Timing

    @property
    def target(self) -> SandboxTarget:
        return SandboxTarget(self.sandbox)

    @property
    def keys(self) -> list[str]:
        return list(self.writer.table.rows)

    async def written(self, count: int = 20) -> None:
        """Wait until the writer has committed `count` more changes."""
        await self.writer.until_written(count)

    async def fault_time(self) -> None:
        """Wait for the duration of a lasting fault."""
        await asyncio.sleep(self.timing.fault_seconds)

    async def until(self, reached: Callable[[], bool]) -> None:
        await self.rig.until(reached, self.timing.patience)

    async def until_down(self) -> None:
        """Wait until the source has noticed that its subscription has ended."""
        await self.until(lambda: self.rig.source.status().state is not SourceState.LIVE)

    async def until_live(self) -> None:
        await self.until(lambda: self.rig.source.status().state is SourceState.LIVE)

    async def until_converged(self) -> None:
        """Wait until the client holds the rows of the table."""
        await self.rig.client.until(self.converged, self.timing.patience)

    def converged(self) -> bool:
        return self.rig.client.rows == self.writer.table.rows


async def run(scenario: Scenario, sandbox: Sandbox, timing: Timing) -> Outcome:
    """Run a scenario; the sandbox is left without faults."""
    settings = Settings(
        supabase_url=sandbox.supabase_url,
        supabase_secret_key=sandbox.supabase_key,
        **timing.settings,
    )
    table = ExpectedTable(settings.projection)
    table.omits_large_values = scenario.omits_large_values
    writer = Writer(sandbox.execute, table, timing.pause)
    target = SandboxTarget(sandbox)
    for altered in scenario.altered:
        await altered.start(target)
    try:
        await writer.begin(ROWS)
        async with PipelineRig.open(settings) as rig:
            return await _run(scenario, ScenarioRun(sandbox, rig, writer, timing))
    finally:
        sandbox.faults.lift()
        sandbox.rest_faults.heal()
        for altered in (*scenario.altered, *scenario.undone):
            await altered.stop(target)


async def _run(scenario: Scenario, run_: ScenarioRun) -> Outcome:
    rig, writer, table, client = run_.rig, run_.writer, run_.writer.table, run_.rig.client
    await rig.begin()
    # Wait for the second scan, which follows every start, and for a change of each row, so that
    # what happens next is repaired because of the fault alone.
    await rig.until(lambda: rig.pipeline.status().counts["passes"] > 1 and rig.idle)
    await writer.change()
    await run_.until_converged()
    commits, events = table.commits, len(client.states)
    if scenario.only_act_writes:
        await scenario.act(run_)
    else:
        async with writer.writing():
            await scenario.act(run_)
    ended = time.monotonic()
    try:
        await run_.until_converged()
        seconds = time.monotonic() - ended
        changes, received = table.commits - commits, len(client.states) - events
        await _write_afterwards(run_)
    except TimeoutError:
        changes, received = table.commits - commits, len(client.states) - events
        seconds = float("inf")
    await writer.reload()  # the table itself decides
    checker = StateChecker(table)
    violations = (*checker.check(client), *checker.unconverged(client))
    return Outcome(changes, received, violations, checker.blended, seconds)


async def _write_afterwards(run_: ScenarioRun) -> None:
    """Check that the stream delivers changes again, and that no late change breaks the client.

    A mute channel may be repaired by table reads before it is detected, and a source that was mute
    twice is live only after a change: hence several attempts, and no endless wait for idleness.
    """
    rig, writer = run_.rig, run_.writer
    async with asyncio.timeout(run_.timing.patience):
        delivered = False
        while not delivered:
            await _idle_soon(run_)
            before = rig.changes
            await writer.insert()
            await writer.change()
            await run_.until_converged()
            delivered = await _idle_soon(run_) and rig.changes > before


async def _idle_soon(run_: ScenarioRun) -> bool:
    """Wait for the rig to be idle, for `idle_seconds`. Return whether it is."""
    with suppress(TimeoutError):
        await run_.rig.until(lambda: run_.rig.idle, run_.timing.idle_seconds)
    return run_.rig.idle
