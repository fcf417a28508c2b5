"""A few cases of each attack; `python -m tests.fuzz` runs more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.__main__ import ATTACKS
from tests.fuzz.target import Target
from tests.support.examples import examples

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from random import Random

    from tests.fuzz.attack import Attack

EXAMPLES = 60


@pytest.fixture(scope="module", params=ATTACKS, ids=lambda attack: attack.name)
async def attacked(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Attack, Target]]:
    """An attack, and a bridge of its own."""
    async with Target.open() as target:
        yield request.param, target


@settings(
    max_examples=examples(EXAMPLES),
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(dice=st.randoms(use_true_random=False))
async def test_attack_has_an_allowed_outcome_and_causes_no_fault(
    attacked: tuple[Attack, Target], dice: Random
) -> None:
    attack, target = attacked
    await attack.case(target, dice)
    target.raise_faults()


async def test_well_behaved_clients_are_served_after_the_attack(
    attacked: tuple[Attack, Target],
) -> None:
    attack, target = attacked
    for _ in range(2):
        await target.check_service()
    assert attack.name
