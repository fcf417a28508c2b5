"""A short run of random faults; `python -m tests.chaos` runs for minutes."""

from __future__ import annotations

import pytest

from tests.chaos.run import Options, Run

MACHINE_FAULTS = ("machine_kill", "machine_leave", "redis_flush", "redis_restart", "redis_promote")


@pytest.mark.parametrize(
    ("seed", "log", "seconds"),
    [pytest.param(11, "sqlite:", 8, marks=pytest.mark.once), (12, "memory:", 4)],
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


@pytest.mark.once
async def test_clients_receive_every_change_while_machines_and_their_redis_server_break() -> None:
    options = Options(10, 35, clients=10, machines=3, only=MACHINE_FAULTS, pause=1, patience=60)
    report = await Run(options).run(print)
    print(report)
    assert not report.violations
    assert not report.notes
    assert report.counts["received"] > 50
    assert {name for name in report.faults if name.startswith("machine_")}
    assert {name for name in report.faults if name.startswith("redis_")}
