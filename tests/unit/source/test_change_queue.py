from __future__ import annotations

import asyncio

import pytest

from bridge.changes import Change, Gap, GapReason, Op
from bridge.source.change_queue import ChangeQueue


def change(number: int) -> Change:
    return Change(Op.DELETE, number, {}, "")


async def test_items_come_out_in_the_order_in_which_they_went_in() -> None:
    inbox = ChangeQueue(10)
    for number in range(3):
        inbox.put_nowait(change(number))
    assert [item.key for item in await inbox.get_many(2) if isinstance(item, Change)] == [0, 1]
    assert [item.key for item in await inbox.get_many(2) if isinstance(item, Change)] == [2]


async def test_taking_from_an_empty_inbox_waits() -> None:
    inbox = ChangeQueue(10)
    taking = asyncio.ensure_future(inbox.get_many(1))
    await asyncio.sleep(0)
    assert not taking.done()
    inbox.put_nowait(change(1))
    assert await taking == [change(1)]


async def test_overflow_drops_what_waits_and_leaves_a_gap_in_its_place() -> None:
    inbox = ChangeQueue(3)
    for number in range(4):
        inbox.put_nowait(change(number))
    items = await inbox.get_many(10)
    assert isinstance(items[0], Gap)
    assert items[0].reason is GapReason.OVERFLOW
    assert items[1:] == [change(3)]
    assert inbox.dropped == 3


async def test_a_gap_that_does_not_fit_is_covered_by_the_gap_of_the_overflow() -> None:
    inbox = ChangeQueue(2)
    for number in range(2):
        inbox.put_nowait(change(number))
    inbox.put_nowait(Gap(GapReason.MISSED_CHANGES))
    [gap] = await inbox.get_many(10)
    assert isinstance(gap, Gap)
    assert gap.reason is GapReason.OVERFLOW


@pytest.mark.parametrize("flood", [1, 5, 1000])
async def test_the_inbox_never_holds_more_than_its_limit(flood: int) -> None:
    inbox = ChangeQueue(4)
    for number in range(flood):
        inbox.put_nowait(change(number))
    assert len(inbox) <= 4
