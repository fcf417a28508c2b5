"""A short run of the chaos suite; `python -m tests.chaos` is the long one."""

from __future__ import annotations

import pytest

from tests.chaos.run import Options, Run


@pytest.mark.parametrize(("seed", "log", "seconds"), [(11, "sqlite:", 8), (12, "memory:", 4)])
async def test_every_client_is_told_the_truth_whatever_goes_wrong(
    seed: int, log: str, seconds: float
) -> None:
    options = Options(seconds, seed, clients=14, log=log, pause=0.5, patience=40)
    report = await Run(options).play(print)
    print(report)
    assert not report.violations
    assert not report.notes
    assert report.counts["told"] > 100
    assert report.faults.total() > 3
