"""A run of the chaos suite is drawn from its seed, and from nothing else."""

from __future__ import annotations

from itertools import islice
from typing import Any

from tests.chaos.faults import FAULTS
from tests.chaos.plan import Plan


def everything(plan: Plan) -> list[Any]:
    return [
        plan.settings,
        [(role.name, role.auth, role.transports, role.snapshots) for role in plan.roles],
        [list(islice(writes, 300)) for writes in plan.writes()],
        [
            (each.at, each.name, each.span, each.dice.random())
            for number in range(3)
            for each in plan.injections(number, 30, 1)
        ],
    ]


def test_the_same_seed_gives_the_same_plan() -> None:
    assert everything(Plan(7, 30)) == everything(Plan(7, 30))


def test_another_seed_gives_another_plan() -> None:
    for one, other in zip(everything(Plan(7, 30))[1:], everything(Plan(8, 30))[1:], strict=True):
        assert one != other


def test_only_the_faults_that_were_named_happen() -> None:
    plan = Plan(7, 30, only=("kill", "cut"))
    assert {each.name for each in plan.injections(1, 60, 0.5)} == {"kill", "cut"}


def test_all_faults_happen_sooner_or_later_and_are_over_when_the_round_is() -> None:
    each = list(Plan(7, 30).injections(1, 4000, 1))
    assert {one.name for one in each} == FAULTS.keys()
    assert all(one.at + one.span <= 4000 for one in each)


def test_the_writers_write_of_the_same_properties_and_never_the_same_text() -> None:
    first, second = (list(islice(writes, 400)) for writes in Plan(7, 30).writes())
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
