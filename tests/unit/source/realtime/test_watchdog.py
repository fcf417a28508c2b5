"""A mute stream is noticed, a quiet one is left alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bridge.errors import TableUnreadableError
from bridge.options import watchdog_options
from bridge.source.realtime.disconnects import SubscriptionEnded
from bridge.source.realtime.watchdog import SILENCE_SECONDS, StreamWatchdog
from tests.fakes import FakeTable, row, settings

INTERVAL, GRACE = 5.0, 3.0


def at(second: int) -> str:
    return f"2026-01-05T09:00:{second:02d}Z"


class Stream:
    """A watch over a table with one row, written at `at(...)`."""

    def __init__(self, **overrides: Any) -> None:
        self.table = FakeTable(row("p1", updated_at=at(0)))
        self.watch = StreamWatchdog(
            watchdog_options(settings(watch_interval=INTERVAL, watch_grace=GRACE, **overrides)),
            self.table,
        )

    def write(self, second: int) -> None:
        self.table.write(row("p1", updated_at=at(second)))


async def test_a_quiet_table_proves_that_the_stream_is_up_to_date() -> None:
    stream = Stream()
    assert [await stream.watch.check(now) for now in (0.0, 5.0, 500.0)] == [True] * 3


async def test_a_row_that_the_stream_does_not_show_within_the_grace_means_mute() -> None:
    stream = Stream()
    await stream.watch.check(0.0)
    stream.write(1)
    assert not await stream.watch.check(5.0)
    with pytest.raises(
        SubscriptionEnded, match="mute: the table has a row of 2026-01-05T09:00:01Z"
    ):
        await stream.watch.check(8.0)


async def test_the_second_look_comes_as_soon_as_the_grace_is_over() -> None:
    stream = Stream()
    await stream.watch.check(0.0)
    stream.write(1)
    await stream.watch.check(5.0)
    assert not await stream.watch.check(7.9)
    with pytest.raises(SubscriptionEnded):
        await stream.watch.check(8.0)


async def test_a_row_that_the_stream_shows_in_time_proves_it_alive() -> None:
    stream = Stream()
    await stream.watch.check(0.0)
    stream.write(1)
    await stream.watch.check(5.0)
    stream.watch.arrived(at(1), 6.0)
    assert await stream.watch.check(8.0)
    assert stream.watch.proof_at == 6.0


async def test_a_stream_that_lags_and_makes_progress_is_alive() -> None:
    stream = Stream()
    await stream.watch.check(0.0)
    for second in range(1, 50):
        stream.write(second)
        stream.watch.arrived(at(second - 1), second * GRACE)
        assert not await stream.watch.check(10.0 + second * GRACE)


async def test_progress_that_stops_means_mute() -> None:
    stream = Stream()
    await stream.watch.check(0.0)
    stream.write(9)
    await stream.watch.check(5.0)
    stream.watch.arrived(at(1), 6.0)
    assert not await stream.watch.check(8.0)
    with pytest.raises(
        SubscriptionEnded, match=r"nothing later than 2026-01-05T09:00:01Z for 3\.0 s"
    ):
        await stream.watch.check(11.0)


async def test_what_was_written_before_the_session_need_not_be_shown() -> None:
    stream = Stream()
    stream.write(30)
    assert await stream.watch.check(0.0)
    assert await stream.watch.check(5.0)


async def test_a_change_without_updated_at_counts_as_life() -> None:
    stream = Stream()
    await stream.watch.check(0.0)
    stream.write(1)
    await stream.watch.check(5.0)
    stream.watch.arrived(None, 6.0)  # a DELETE
    assert not await stream.watch.check(8.0)


async def test_an_emptied_table_is_no_sign_of_muteness() -> None:
    stream = Stream()
    await stream.watch.check(0.0)
    stream.table.contents.clear()
    assert await stream.watch.check(5.0)


async def test_fractions_of_any_length_compare_as_times() -> None:
    stream = Stream()
    stream.table.write(row("p1", updated_at="2026-01-05T09:00:01.5Z"))
    await stream.watch.check(0.0)
    stream.table.write(row("p1", updated_at="2026-01-05T09:00:01.25Z"))
    assert await stream.watch.check(5.0)


async def test_an_unreadable_table_proves_nothing_and_ends_nothing() -> None:
    class Unreadable(FakeTable):
        async def newest(self) -> None:
            raise TableUnreadableError("down")

    watch = StreamWatchdog(watchdog_options(settings(watch_interval=INTERVAL)), Unreadable())
    assert not await watch.check(0.0)
    assert not await watch.check(100.0)


async def test_a_table_that_does_not_answer_holds_nobody_up() -> None:
    class Hanging(FakeTable):
        async def newest(self) -> None:
            await asyncio.Event().wait()

    watch = StreamWatchdog(watchdog_options(settings(watch_interval=0.01)), Hanging())
    async with asyncio.timeout(5):
        assert not await watch.check(0.0)


async def test_the_table_is_not_asked_before_the_interval_is_over() -> None:
    stream = Stream()
    await stream.watch.check(0.0)
    stream.write(1)
    assert not await stream.watch.check(4.9)
    assert not await stream.watch.check(5.0)


async def test_without_updated_at_a_long_silence_is_as_good_as_mute() -> None:
    stream = Stream(updated_at="")
    assert not await stream.watch.check(0.0)
    assert not await stream.watch.check(SILENCE_SECONDS)
    with pytest.raises(SubscriptionEnded, match="nothing came"):
        await stream.watch.check(SILENCE_SECONDS + INTERVAL)
