"""The plan of a random run depends on its seed alone."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from tests.chaos.faults import FAULTS, names
from tests.chaos.plan import Plan


def everything(plan: Plan) -> list[Any]:
    return [
        plan.settings,
        [(spec.name, spec.auth, spec.transports, spec.snapshots) for spec in plan.specs],
        [list(islice(workload, 300)) for workload in plan.workloads()],
        [
            (each.at, each.name, each.seconds, each.rng.random())
            for number in range(3)
            for each in plan.injections(number, 30, 1)
        ],
    ]


def test_same_seed_gives_the_same_plan() -> None:
    assert everything(Plan(7, 30)) == everything(Plan(7, 30))


def test_other_seed_gives_another_plan() -> None:
    for one, other in zip(everything(Plan(7, 30))[1:], everything(Plan(8, 30))[1:], strict=True):
        assert one != other


def test_plan_injects_the_named_faults_only() -> None:
    plan = Plan(7, 30, only=("kill", "cut"))
    assert {each.name for each in plan.injections(1, 60, 0.5)} == {"kill", "cut"}


@pytest.mark.parametrize("machines", [False, True])
def test_plan_injects_every_fault_within_its_round(machines: bool) -> None:
    each = list(Plan(7, 30, machines=machines).injections(1, 4000, 1))
    assert {one.name for one in each} == set(names(machines=machines))
    assert all(one.at + one.seconds <= 4000 for one in each)


def test_every_fault_is_one_of_one_machine_or_of_several() -> None:
    assert {*names(machines=False), *names(machines=True)} == FAULTS.keys()


def test_workloads_share_keys_and_no_text() -> None:
    first, second = (list(islice(workload, 400)) for workload in Plan(7, 30).workloads())
    texts = [
        {p for t in some for _, ps in t.statements for p in words(ps) if is_label(p)}
        for some in (first, second)
    ]
    assert texts[0]
    assert not texts[0] & texts[1]


def words(parameters: tuple[Any, ...]) -> list[Any]:
    return [p for p in parameters if isinstance(p, str)]


def is_label(text: str) -> bool:
    return text.startswith(("a-", "b-"))
