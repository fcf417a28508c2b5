"""Print what every fault costs a bridge with default settings and the real delays of Realtime.

    python -m tests.integration.faults_report [part of a scenario's name]

The output is a Markdown table. Each scenario has a sandbox and a process of its own; several run at
a time. The exit code is the number of scenarios with a violation.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

from bridge.sandbox import Sandbox
from tests.integration.scenario import Outcome, Timing, run
from tests.integration.scenarios import SCENARIOS
from tests.support.violations import Kind

DEFAULTS = Timing(
    settings={}, fault_seconds=4, pause=0.05, patience=90, idle_seconds=9, shutdown_seconds=60
)
PROCESSES = 4
HEAD = (
    "| fault | changes made during it | events received | lost | repeated | out of order "
    "| seconds until repaired |\n|---|--:|--:|--:|--:|--:|--:|"
)
COLUMNS = (Kind.UNCONVERGED, Kind.REPEATED, Kind.DISORDERED, Kind.INVENTED)
"""Kinds that have a column; others follow the name of the fault."""


def line(name: str, outcome: Outcome) -> str:
    """Return a line of the table."""
    others = [violation for violation in outcome.violations if violation.kind not in COLUMNS]
    notes = "".join(f"; {violation.key}: {violation.text}" for violation in others)
    if outcome.blended:
        notes += f"; {outcome.blended} events with an earlier large value"
    lost, repeated = outcome.count(Kind.UNCONVERGED), outcome.count(Kind.REPEATED)
    disordered = outcome.count(Kind.DISORDERED, Kind.INVENTED)
    return (
        f"| {name}{notes} | {outcome.changes} | {outcome.events} | {lost} "
        f"| {repeated} | {disordered} | {outcome.seconds:.1f} |"
    )


def run_scenario(number: int) -> Outcome:
    """Run a scenario in a process of its own."""
    # Not `logging.disable`: the source detects unreadable frames by a log record.
    logging.getLogger().addHandler(logging.NullHandler())
    return asyncio.run(_run_scenario(number))


async def _run_scenario(number: int) -> Outcome:
    async with Sandbox.open(seed=False) as sandbox:
        return await run(SCENARIOS[number], sandbox, DEFAULTS)


def main(words: str) -> int:
    """Return the number of scenarios with a violation."""
    chosen = [n for n, scenario in enumerate(SCENARIOS) if words in scenario.name]
    bad = 0
    print(HEAD)
    with ProcessPoolExecutor(
        PROCESSES, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1
    ) as pool:
        for number, outcome in zip(chosen, pool.map(run_scenario, chosen), strict=True):
            bad += bool(outcome.violations)
            print(line(SCENARIOS[number].name, outcome), flush=True)
    return bad


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:])))
