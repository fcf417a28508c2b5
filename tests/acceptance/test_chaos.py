"""A short run of the chaos suite; `python -m tests.chaos` is the long one."""

from __future__ import annotations

import pytest

from tests.chaos.run import Options, Run


@pytest.mark.parametrize(("seed", "log"), [(11, "sqlite:"), (12, "memory:")])
async def test_every_client_is_told_the_truth_whatever_goes_wrong(seed: int, log: str) -> None:
    options = Options(
        seconds=8, seed=seed, clients=14, log=log, round_seconds=8, pause=0.6, patience=40
    )
    report = await Run(options).play(print)
    print(report)
    assert not report.violations
    assert not report.notes
    assert report.counts["told"] > 100
    assert report.faults.total() > 3
