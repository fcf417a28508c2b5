"""What every fault costs a bridge with its default settings, at the true pace of Realtime, as a
Markdown table: `python -m tests.integration.faults_report [words of a scenario's name]`.

Each scenario has a sandbox and a process of its own; several are played at a time.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

from bridge.sandbox import Sandbox
from tests.integration.scenarios import SCENARIOS
from tests.integration.stage import Outcome, Tempo, play

TRUE = Tempo(settings={}, span=4, pause=0.05, patience=90)
AT_A_TIME = 4
HEAD = (
    "| fault | changes made during it | events told | lost | repeated | out of order "
    "| seconds until repaired |\n|---|--:|--:|--:|--:|--:|--:|"
)


def line(name: str, outcome: Outcome) -> str:
    verdict = outcome.verdict
    disordered = verdict.disordered + verdict.invented
    wrong = "".join(f"; {complaint}" for complaint in verdict.complaints)
    if verdict.blended:
        wrong += f"; {verdict.blended} told with a value from before"
    return (
        f"| {name}{wrong} | {outcome.changes} | {outcome.events} | {verdict.lost} "
        f"| {verdict.repeated} | {disordered} | {outcome.seconds:.1f} |"
    )


def played(number: int) -> Outcome:
    """In a process of its own."""
    # Not `logging.disable`: the source hears of unreadable frames by way of a log record.
    logging.getLogger().addHandler(logging.NullHandler())
    return asyncio.run(_played(number))


async def _played(number: int) -> Outcome:
    async with Sandbox.open(seed=False) as sandbox:
        return await play(SCENARIOS[number], sandbox, TRUE)


def main(words: str) -> int:
    """The number of scenarios in which a client was told anything but the truth."""
    chosen = [n for n, scenario in enumerate(SCENARIOS) if words in scenario.name]
    bad = 0
    print(HEAD)
    with ProcessPoolExecutor(
        AT_A_TIME, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1
    ) as pool:
        for number, outcome in zip(chosen, pool.map(played, chosen), strict=True):
            bad += not outcome.good
            print(line(SCENARIOS[number].name, outcome), flush=True)
    return bad


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:])))
