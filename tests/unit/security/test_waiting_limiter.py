"""A limiter of concurrent uses with a waiting queue."""

from __future__ import annotations

import asyncio

import pytest

from bridge.errors import Code, RequestRejected
from bridge.security.concurrency import WaitingLimiter


def limited(seconds: float = 5.0) -> WaitingLimiter:
    return WaitingLimiter(2, 3, waiting_per_key=2, waiting=3, seconds=seconds)


async def test_slot_is_acquired_without_waiting_if_free() -> None:
    limiter = limited()
    for key in "aab":
        await limiter.acquire(key)
    assert limiter.taken == 3


async def test_caller_waits_until_a_slot_is_released() -> None:
    limiter = limited()
    first, _ = [await limiter.acquire("a") for _ in range(2)]
    waiting = asyncio.create_task(limiter.acquire("a"))
    await asyncio.sleep(0)
    assert not waiting.done()
    limiter.release(first)
    await waiting
    assert limiter.taken == 2


async def test_slots_of_one_key_leave_slots_to_others() -> None:
    limiter = limited()
    for _ in range(2):
        await limiter.acquire("a")
    waiting = asyncio.create_task(limiter.acquire("a"))
    await limiter.acquire("b")
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


async def test_callers_beyond_the_waiting_limit_are_rejected() -> None:
    limiter = limited()
    held = [await limiter.acquire("a") for _ in range(2)]
    waiting = [asyncio.create_task(limiter.acquire("a")) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(RequestRejected) as refused:
        await limiter.acquire("a")
    assert refused.value.code is Code.RATE_LIMITED
    for turn in held:
        limiter.release(turn)
    for turn in await asyncio.gather(*waiting):
        limiter.release(turn)
    assert limiter.taken == 0


async def test_waiting_caller_is_rejected_after_the_timeout() -> None:
    limiter = limited(seconds=0.01)
    first, _ = [await limiter.acquire("a") for _ in range(2)]
    with pytest.raises(RequestRejected):
        await limiter.acquire("a")
    limiter.release(first)
    await limiter.acquire("a")  # the rejected caller holds neither a slot nor a place in the queue


async def test_cancelled_caller_holds_no_slot() -> None:
    limiter = limited()
    held = [await limiter.acquire("a") for _ in range(2)]
    for _ in range(5):
        waiting = asyncio.create_task(limiter.acquire("a"))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    for turn in held:
        limiter.release(turn)
    assert limiter.taken == 0
    assert [await limiter.acquire("a") for _ in range(2)]
