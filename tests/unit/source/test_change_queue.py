from __future__ import annotations

import asyncio

import pytest

from bridge.changes import Change, Checkpoint, Gap, GapReason, Op
from bridge.source.change_queue import ChangeQueue


def change(number: int) -> Change:
    return Change(Op.DELETE, number, {}, "")


async def test_queue_keeps_the_order_of_items() -> None:
    queue = ChangeQueue(10)
    for number in range(3):
        queue.put_nowait(change(number))
    assert [item.key for item in await queue.get_many(2) if isinstance(item, Change)] == [0, 1]
    assert [item.key for item in await queue.get_many(2) if isinstance(item, Change)] == [2]


async def test_get_from_an_empty_queue_waits() -> None:
    queue = ChangeQueue(10)
    taking = asyncio.ensure_future(queue.get_many(1))
    await asyncio.sleep(0)
    assert not taking.done()
    queue.put_nowait(change(1))
    assert await taking == [change(1)]


async def test_overflow_replaces_queued_items_by_a_gap() -> None:
    queue = ChangeQueue(3)
    for number in range(4):
        queue.put_nowait(change(number))
    items = await queue.get_many(10)
    assert isinstance(items[0], Gap)
    assert items[0].reason is GapReason.OVERFLOW
    assert items[1:] == [change(3)]
    assert queue.dropped == 3


async def test_overflow_by_a_gap_leaves_one_gap() -> None:
    queue = ChangeQueue(2)
    for number in range(2):
        queue.put_nowait(change(number))
    queue.put_nowait(Gap(GapReason.MISSED_CHANGES))
    [gap] = await queue.get_many(10)
    assert isinstance(gap, Gap)
    assert gap.reason is GapReason.OVERFLOW


@pytest.mark.parametrize("flood", [1, 5, 1000])
async def test_queue_never_exceeds_its_limit(flood: int) -> None:
    queue = ChangeQueue(4)
    for number in range(flood):
        queue.put_nowait(change(number))
    assert len(queue) <= 4


def committed(number: int) -> Change:
    return Change(Op.DELETE, number, {}, "", lsn=7)


async def test_transaction_is_not_divided() -> None:
    queue = ChangeQueue(10)
    await queue.put_all([committed(1), committed(2), committed(3), Checkpoint("a")])
    await queue.put_all([committed(4), Checkpoint("b")])
    assert [*await queue.get_many(2)][-1] == Checkpoint("a")
    assert await queue.get_many(1) == [committed(4), Checkpoint("b")]


async def test_source_that_can_wait_waits_for_room_and_loses_nothing() -> None:
    queue = ChangeQueue(2)
    await queue.put_all([committed(1), Checkpoint("a")])
    putting = asyncio.ensure_future(queue.put_all([committed(2), Checkpoint("b")]))
    await asyncio.sleep(0)
    assert not putting.done()
    await queue.get_many(1)
    await putting
    assert queue.dropped == 0
    assert await queue.get_many(9) == [committed(2), Checkpoint("b")]


async def test_stored_position_is_passed_to_the_source() -> None:
    queue, seen = ChangeQueue(2), list[str]()
    queue.on_stored = seen.append
    queue.store("a")
    assert (queue.stored, seen) == ("a", ["a"])
