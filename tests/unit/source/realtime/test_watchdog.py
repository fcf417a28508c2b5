"""A mute stream is detected, a quiet one is not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from bridge.errors import TableUnreadableError
from bridge.options import watchdog_options
from bridge.source.realtime.disconnects import MuteStreamError, SubscriptionEnded
from bridge.source.realtime.watchdog import SILENCE_SECONDS, StreamWatchdog
from tests.fakes import FakeTable, row, settings

if TYPE_CHECKING:
    from bridge.changes import Record

INTERVAL, GRACE = 5.0, 3.0


def at(second: int) -> str:
    return f"2026-01-05T09:00:{second:02d}Z"


class Stream:
    """A watchdog over a table with one row, written at `at(...)`."""

    def __init__(self, **overrides: Any) -> None:
        self.table = FakeTable(row("p1", updated_at=at(0)))
        self.watchdog = StreamWatchdog(
            watchdog_options(settings(watch_interval=INTERVAL, watch_grace=GRACE, **overrides)),
            self.table,
        )

    def write(self, second: int) -> None:
        self.table.write(row("p1", updated_at=at(second)))


async def test_stream_of_a_quiet_table_is_up_to_date() -> None:
    stream = Stream()
    assert [await stream.watchdog.check(now) for now in (0.0, 5.0, 500.0)] == [True] * 3


async def test_stream_without_a_newer_row_within_the_grace_is_mute() -> None:
    stream = Stream()
    await stream.watchdog.check(0.0)
    stream.write(1)
    assert not await stream.watchdog.check(5.0)
    with pytest.raises(
        SubscriptionEnded, match="mute stream: the table has a row of 2026-01-05T09:00:01Z"
    ):
        await stream.watchdog.check(8.0)


async def test_watchdog_checks_again_as_soon_as_the_grace_is_over() -> None:
    stream = Stream()
    await stream.watchdog.check(0.0)
    stream.write(1)
    await stream.watchdog.check(5.0)
    assert not await stream.watchdog.check(7.9)
    with pytest.raises(SubscriptionEnded):
        await stream.watchdog.check(8.0)


async def test_stream_that_delivers_the_row_in_time_is_up_to_date() -> None:
    stream = Stream()
    await stream.watchdog.check(0.0)
    stream.write(1)
    await stream.watchdog.check(5.0)
    stream.watchdog.record_change(at(1), 6.0)
    assert await stream.watchdog.check(8.0)
    assert stream.watchdog.last_activity_at == 6.0


async def test_stream_that_lags_and_progresses_is_not_mute() -> None:
    stream = Stream()
    await stream.watchdog.check(0.0)
    for second in range(1, 50):
        stream.write(second)
        stream.watchdog.record_change(at(second - 1), second * GRACE)
        assert not await stream.watchdog.check(10.0 + second * GRACE)


async def test_stream_that_stops_progressing_is_mute() -> None:
    stream = Stream()
    await stream.watchdog.check(0.0)
    stream.write(9)
    await stream.watchdog.check(5.0)
    stream.watchdog.record_change(at(1), 6.0)
    assert not await stream.watchdog.check(8.0)
    with pytest.raises(SubscriptionEnded, match=r"none later than 2026-01-05T09:00:01Z for 3\.0 s"):
        await stream.watchdog.check(11.0)


async def test_stream_need_not_deliver_rows_older_than_the_session() -> None:
    stream = Stream()
    stream.write(30)
    assert await stream.watchdog.check(0.0)
    assert await stream.watchdog.check(5.0)


async def test_change_without_updated_at_counts_as_progress() -> None:
    stream = Stream()
    await stream.watchdog.check(0.0)
    stream.write(1)
    await stream.watchdog.check(5.0)
    stream.watchdog.record_change(None, 6.0)  # a DELETE
    assert not await stream.watchdog.check(8.0)


async def test_stream_of_an_emptied_table_is_not_mute() -> None:
    stream = Stream()
    await stream.watchdog.check(0.0)
    stream.table.contents.clear()
    assert await stream.watchdog.check(5.0)


async def test_timestamps_with_fractions_of_any_length_are_compared_as_times() -> None:
    stream = Stream()
    stream.table.write(row("p1", updated_at="2026-01-05T09:00:01.5Z"))
    await stream.watchdog.check(0.0)
    stream.table.write(row("p1", updated_at="2026-01-05T09:00:01.25Z"))
    assert await stream.watchdog.check(5.0)


async def test_unreadable_table_neither_confirms_nor_ends_the_session() -> None:
    class Unreadable(FakeTable):
        async def newest(self) -> None:
            raise TableUnreadableError("down")

    watchdog = StreamWatchdog(watchdog_options(settings(watch_interval=INTERVAL)), Unreadable())
    assert not await watchdog.check(0.0)
    assert not await watchdog.check(100.0)


async def test_table_without_a_response_does_not_block_the_session() -> None:
    class Hanging(FakeTable):
        async def newest(self) -> None:
            await asyncio.Event().wait()

    watchdog = StreamWatchdog(watchdog_options(settings(watch_interval=0.01)), Hanging())
    async with asyncio.timeout(20):
        assert not await watchdog.check(0.0)


async def test_table_is_read_once_per_interval() -> None:
    class Counting(FakeTable):
        reads = 0

        async def newest(self) -> Record | None:
            self.reads += 1
            return await super().newest()

    table = Counting(row("p1", updated_at=at(0)))
    watchdog = StreamWatchdog(watchdog_options(settings(watch_interval=INTERVAL)), table)
    reads = []
    for now in (0.0, 1.0, 4.9, 5.0, 9.9, 10.0):
        await watchdog.check(now)
        reads.append(table.reads)
    assert reads == [1, 1, 1, 2, 2, 3]


async def test_stream_without_updated_at_is_resubscribed_after_a_long_silence() -> None:
    stream = Stream(updated_at="")
    assert not await stream.watchdog.check(0.0)
    assert not await stream.watchdog.check(SILENCE_SECONDS)
    with pytest.raises(SubscriptionEnded, match="no changes for"):
        await stream.watchdog.check(SILENCE_SECONDS + INTERVAL)


@pytest.mark.parametrize("future", ["2099-01-01T00:00:00Z", "infinity", "12026-01-01T00:00:00Z"])
async def test_delivered_row_dated_in_the_future_does_not_hide_a_mute_stream(future: str) -> None:
    stream = Stream()
    await stream.watchdog.check(0.0)
    stream.watchdog.record_change(future, 1.0)
    stream.write(1)
    await stream.watchdog.check(5.0)
    with pytest.raises(SubscriptionEnded, match="mute stream"):
        await stream.watchdog.check(8.0)


def missed(stream: Stream, rows: int, now: float) -> None:
    stream.watchdog.check_missed(rows, now)


async def test_stream_that_missed_a_changed_row_and_delivers_nothing_is_mute() -> None:
    stream = Stream()
    missed(stream, 0, 0.0)
    with pytest.raises(MuteStreamError, match="1 rows of the table have changed"):
        missed(stream, 1, 2 * GRACE)


async def test_stream_that_missed_a_changed_row_and_delivers_others_is_not_mute() -> None:
    stream = Stream()
    missed(stream, 0, 0.0)
    stream.watchdog.record_change(at(1), 2 * GRACE)
    missed(stream, 1, 2 * GRACE + 1)


async def test_rows_missed_before_the_session_do_not_count() -> None:
    stream = Stream()
    missed(stream, 7, 0.0)
    missed(stream, 8, GRACE)  # it was written before, and its grace was over only now
    missed(stream, 8, 100.0)
