"""Conformance of event logs: every backend has the same guarantees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.clock import ManualClock
from bridge.errors import PositionGoneError
from bridge.events import Event
from bridge.log.base import Position, Progress

if TYPE_CHECKING:
    from tests.unit.log.conftest import OpenLog


def event(number: int) -> Event:
    return Event("property-deleted", number, ("everything",), b"{}")


async def test_entries_have_rising_positions_of_one_epoch(open_log: OpenLog) -> None:
    log = await open_log(10, 60, ManualClock())
    entries = (await log.append([event(1), event(2)], [])).entries
    assert entries[0].position < entries[1].position
    assert log.head == entries[1].position


async def test_entries_after_a_position_are_in_order(open_log: OpenLog) -> None:
    log = await open_log(10, 60, ManualClock())
    start = log.head
    first = (await log.append([event(1)], [])).entries
    rest = (await log.append([event(2), event(3)], [])).entries
    assert list(log.after(start)) == [*first, *rest]
    assert list(log.after(first[0].position)) == list(rest)
    assert list(log.after(log.head)) == []


async def test_position_of_another_epoch_is_gone(open_log: OpenLog) -> None:
    log = await open_log(10, 60, ManualClock())
    with pytest.raises(PositionGoneError, match="epoch"):
        log.after(Position("other", 0))


async def test_position_past_the_head_is_gone(open_log: OpenLog) -> None:
    log = await open_log(10, 60, ManualClock())
    with pytest.raises(PositionGoneError):
        log.after(Position(log.head.epoch, log.head.seq + 1))


async def test_oldest_entries_are_gone_past_the_limit_of_events(open_log: OpenLog) -> None:
    log = await open_log(3, 60, ManualClock())
    start = log.head
    entries = (await log.append([event(n) for n in range(5)], [])).entries
    with pytest.raises(PositionGoneError):
        log.after(start)
    assert list(log.after(entries[1].position)) == list(entries[2:])


async def test_entries_are_gone_past_their_age(open_log: OpenLog) -> None:
    clock = ManualClock()
    log = await open_log(10, 60, clock)
    start = log.head
    await log.append([event(1)], [])
    clock.advance(61)
    with pytest.raises(PositionGoneError):
        log.after(start)
    assert list(log.after(log.head)) == []


async def test_two_logs_have_two_epochs(open_log: OpenLog) -> None:
    a, b = await open_log(1, 1), await open_log(1, 1)
    assert a.head.epoch != b.head.epoch


async def test_new_log_has_no_rows_and_no_progress(open_log: OpenLog) -> None:
    log = await open_log(10, 60, ManualClock())
    assert [rows async for rows in log.rows()] == []
    assert log.progress == Progress()
    assert log.head.seq == 0


async def test_rows_without_events_do_not_move_the_head(open_log: OpenLog) -> None:
    log = await open_log(10, 60, ManualClock())
    assert (await log.append([], [("a", b"[1]")])).entries == []
    assert log.head.seq == 0


async def test_progress_is_that_of_the_last_append_with_progress(open_log: OpenLog) -> None:
    log = await open_log(10, 60, ManualClock())
    await log.append([], [], Progress(loaded=True, watermark="2026-01-01T00:00:00Z"))
    await log.append([event(1)], [])
    assert log.progress == Progress(loaded=True, watermark="2026-01-01T00:00:00Z")


async def test_entry_has_its_event_and_the_time_of_the_append(open_log: OpenLog) -> None:
    clock = ManualClock()
    log = await open_log(10, 60, clock)
    [entry] = (await log.append([event(7)], [])).entries
    assert (entry.event, entry.at) == (event(7), clock.wall())
    assert list(log.after(Position(log.head.epoch, 0))) == [entry]


async def test_log_that_can_be_written_has_no_error(open_log: OpenLog) -> None:
    log = await open_log(10, 60, ManualClock())
    await log.append([event(1)], [])
    assert log.error is None


@pytest.mark.parametrize(
    "text",
    ["", "x", "-1", "e-", "e-x", "e--1x", "e-1.0", "e-\u0661", "e-\u0663", "e-" + "1" * 20],
)
def test_text_of_another_form_is_no_position(text: str) -> None:
    assert Position.parse(text) is None


@pytest.mark.parametrize(
    "position", [Position("a-b", 7), Position("a-b", 10**18), Position("e-", 1)]
)
def test_position_is_parsed_from_its_text(position: Position) -> None:
    assert Position.parse(str(position)) == position
