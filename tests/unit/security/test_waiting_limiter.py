"""A few at a time, and the others wait a little."""

from __future__ import annotations

import asyncio

import pytest

from bridge.errors import Code, RequestRejected
from bridge.security.concurrency import WaitingLimiter


def turns(seconds: float = 5.0) -> WaitingLimiter:
    return WaitingLimiter(2, 3, waiting_per_key=2, waiting=3, seconds=seconds)


async def test_slot_is_acquired_without_waiting_if_free() -> None:
    it = turns()
    for key in "aab":
        await it.acquire(key)
    assert it.taken == 3


async def test_caller_waits_until_a_slot_is_released() -> None:
    it = turns()
    first, _ = [await it.acquire("a") for _ in range(2)]
    waiting = asyncio.create_task(it.acquire("a"))
    await asyncio.sleep(0)
    assert not waiting.done()
    it.release(first)
    await waiting
    assert it.taken == 2


async def test_slots_of_one_key_leave_slots_to_others() -> None:
    it = turns()
    for _ in range(2):
        await it.acquire("a")
    waiting = asyncio.create_task(it.acquire("a"))
    await it.acquire("b")
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


async def test_callers_beyond_the_waiting_limit_are_rejected() -> None:
    it = turns()
    held = [await it.acquire("a") for _ in range(2)]
    waiting = [asyncio.create_task(it.acquire("a")) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(RequestRejected) as refused:
        await it.acquire("a")
    assert refused.value.code is Code.RATE_LIMITED
    for turn in held:
        it.release(turn)
    for turn in await asyncio.gather(*waiting):
        it.release(turn)
    assert it.taken == 0


async def test_waiting_caller_is_rejected_after_the_timeout() -> None:
    it = turns(seconds=0.01)
    first, _ = [await it.acquire("a") for _ in range(2)]
    with pytest.raises(RequestRejected):
        await it.acquire("a")
    it.release(first)
    await it.acquire("a")  # who gave up keeps no seat and no turn


async def test_cancelled_caller_holds_no_slot() -> None:
    it = turns()
    held = [await it.acquire("a") for _ in range(2)]
    for _ in range(5):
        waiting = asyncio.create_task(it.acquire("a"))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    for turn in held:
        it.release(turn)
    assert it.taken == 0
    assert [await it.acquire("a") for _ in range(2)]
