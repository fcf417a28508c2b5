"""A few at a time, and the others wait a little."""

from __future__ import annotations

import asyncio

import pytest

from bridge.errors import Code, Refused
from bridge.security.concurrency import Turns


def turns(seconds: float = 5.0) -> Turns:
    return Turns(2, 3, waiting_per_key=2, waiting=3, seconds=seconds)


async def test_who_comes_early_has_its_turn_at_once() -> None:
    it = turns()
    for key in "aab":
        await it.take(key)
    assert it.taken == 3


async def test_the_others_wait_until_there_is_one() -> None:
    it = turns()
    first, _ = [await it.take("a") for _ in range(2)]
    waiting = asyncio.create_task(it.take("a"))
    await asyncio.sleep(0)
    assert not waiting.done()
    it.give_back(first)
    await waiting
    assert it.taken == 2


async def test_one_key_leaves_turns_to_others() -> None:
    it = turns()
    for _ in range(2):
        await it.take("a")
    waiting = asyncio.create_task(it.take("a"))
    await it.take("b")
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


async def test_so_many_may_wait_and_the_others_are_refused() -> None:
    it = turns()
    held = [await it.take("a") for _ in range(2)]
    waiting = [asyncio.create_task(it.take("a")) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Refused) as refused:
        await it.take("a")
    assert refused.value.code is Code.RATE_LIMITED
    for turn in held:
        it.give_back(turn)
    for turn in await asyncio.gather(*waiting):
        it.give_back(turn)
    assert it.taken == 0


async def test_nobody_waits_longer_than_is_set() -> None:
    it = turns(seconds=0.01)
    first, _ = [await it.take("a") for _ in range(2)]
    with pytest.raises(Refused):
        await it.take("a")
    it.give_back(first)
    await it.take("a")  # who gave up keeps no seat and no turn


async def test_who_is_cancelled_while_waiting_keeps_nothing() -> None:
    it = turns()
    held = [await it.take("a") for _ in range(2)]
    for _ in range(5):
        waiting = asyncio.create_task(it.take("a"))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    for turn in held:
        it.give_back(turn)
    assert it.taken == 0
    assert [await it.take("a") for _ in range(2)]
