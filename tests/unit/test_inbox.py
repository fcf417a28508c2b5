from __future__ import annotations

import asyncio

import pytest

from bridge.changes import Change, Gap, GapReason, Op
from bridge.source.change_queue import Inbox


def change(number: int) -> Change:
    return Change(Op.DELETE, number, {}, "")


async def test_items_come_out_in_the_order_in_which_they_went_in() -> None:
    inbox = Inbox(10)
    for number in range(3):
        inbox.put(change(number))
    assert [item.key for item in await inbox.take(2) if isinstance(item, Change)] == [0, 1]
    assert [item.key for item in await inbox.take(2) if isinstance(item, Change)] == [2]


async def test_taking_from_an_empty_inbox_waits() -> None:
    inbox = Inbox(10)
    taking = asyncio.ensure_future(inbox.take(1))
    await asyncio.sleep(0)
    assert not taking.done()
    inbox.put(change(1))
    assert await taking == [change(1)]


async def test_overflow_drops_what_waits_and_leaves_a_gap_in_its_place() -> None:
    inbox = Inbox(3)
    for number in range(4):
        inbox.put(change(number))
    items = await inbox.take(10)
    assert isinstance(items[0], Gap)
    assert items[0].reason is GapReason.OVERFLOW
    assert items[1:] == [change(3)]
    assert inbox.dropped == 3


async def test_a_gap_that_does_not_fit_is_covered_by_the_gap_of_the_overflow() -> None:
    inbox = Inbox(2)
    for number in range(2):
        inbox.put(change(number))
    inbox.put(Gap(GapReason.MUTE))
    [gap] = await inbox.take(10)
    assert isinstance(gap, Gap)
    assert gap.reason is GapReason.OVERFLOW


@pytest.mark.parametrize("flood", [1, 5, 1000])
async def test_the_inbox_never_holds_more_than_its_limit(flood: int) -> None:
    inbox = Inbox(4)
    for number in range(flood):
        inbox.put(change(number))
    assert len(inbox) <= 4
