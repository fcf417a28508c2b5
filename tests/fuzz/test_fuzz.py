"""A few cases of each attack, the same ones each time; `python -m tests.fuzz` plays more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.__main__ import ATTACKS
from tests.fuzz.stand import Stand
from tests.support.examples import examples

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from random import Random

    from tests.fuzz.attack import Attack

EXAMPLES = 60


@pytest.fixture(scope="module", params=ATTACKS, ids=lambda attack: attack.name)
async def attacked(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Attack, Stand]]:
    """An attack, and a bridge that it alone is made on."""
    async with Stand.open() as stand:
        yield request.param, stand


@settings(
    max_examples=examples(EXAMPLES),
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(dice=st.randoms(use_true_random=False))
async def test_what_is_hostile_harms_nobody(attacked: tuple[Attack, Stand], dice: Random) -> None:
    attack, stand = attacked
    await attack.case(stand, dice)
    stand.blameless()


async def test_those_who_behave_are_served_afterwards(attacked: tuple[Attack, Stand]) -> None:
    attack, stand = attacked
    for _ in range(2):
        await stand.checked()
    assert attack.name
