"""A short run of random faults; `python -m tests.chaos` runs for minutes."""

from __future__ import annotations

import pytest

from tests.chaos.run import Options, Run


@pytest.mark.parametrize(
    ("seed", "log", "seconds"),
    [pytest.param(11, "sqlite:", 6, marks=pytest.mark.once), (12, "memory:", 3)],
)
async def test_clients_receive_every_committed_change_under_random_faults(
    seed: int, log: str, seconds: float
) -> None:
    options = Options(seconds, seed, clients=14, log=log, pause=0.5, patience=40)
    report = await Run(options).run(print)
    print(report)
    assert not report.violations
    assert not report.notes
    assert report.counts["received"] > 100
    assert report.faults.total() > 3
