"""Which reads fail, since when, and whether that leaves something unseen."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import pytest

from bridge.clock import ManualClock
from bridge.errors import TableUnreadableError
from bridge.pipeline.merger import ChangeMerger
from bridge.pipeline.table_reader import REPORT_SECONDS, ReadKind, TableReader
from bridge.projection import Projection
from bridge.rows import RowStore

PROJECTION = Projection()


class Reads:
    """A reader on a manual clock. `take` reads each of some kinds, which succeed or fail."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        merger = ChangeMerger(PROJECTION, RowStore(PROJECTION.known))
        self.reader = TableReader(merger, self.clock)

    async def take(self, kinds: Iterable[ReadKind], error: str | None = None) -> None:
        async def query() -> None:
            self.clock.advance(1.0)
            if error is not None:
                raise TableUnreadableError(error)

        for kind in kinds:
            if error is None:
                async with self.reader.read(kind, query):
                    pass
            else:
                with pytest.raises(TableUnreadableError):
                    async with self.reader.read(kind, query):
                        pass


async def test_table_is_unreadable_since_the_first_failure() -> None:
    reads = Reads()
    began = reads.clock.monotonic()
    for _ in range(3):
        await reads.take([ReadKind.PAGE, ReadKind.RECENT], "gone")
    assert reads.reader.unreadable_since == began
    assert reads.reader.error == "gone"


async def test_table_is_readable_again_after_a_read_that_succeeds() -> None:
    reads = Reads()
    await reads.take([ReadKind.PAGE], "gone")
    await reads.take([ReadKind.PAGE])
    assert reads.reader.unreadable_since is None
    assert reads.reader.error is None


@pytest.mark.parametrize("kind", [ReadKind.RECENT, ReadKind.KEYS])
async def test_table_is_readable_while_pages_show_what_another_read_can_not(kind: ReadKind) -> None:
    reads = Reads()
    await reads.take([kind], "timeout")
    await reads.take([ReadKind.PAGE])
    assert reads.reader.unreadable_since is None
    assert reads.reader.error == "timeout"


async def test_table_is_unreadable_while_its_rows_are_and_its_keys_are_not() -> None:
    reads = Reads()
    await reads.take([ReadKind.PAGE, ReadKind.RECENT, ReadKind.KEYS])
    await reads.take([ReadKind.RECENT, ReadKind.PAGE], "42703")
    await reads.take([ReadKind.KEYS, ReadKind.NEWEST])
    assert reads.reader.unreadable_since is not None


async def test_time_of_a_read_that_fails_does_not_count_as_load() -> None:
    reads = Reads()
    await reads.take([ReadKind.PAGE], "gone")
    assert reads.reader.seconds == 0
    await reads.take([ReadKind.PAGE])
    assert reads.reader.seconds == 1.0


async def test_read_that_goes_on_failing_is_logged_now_and_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reads = Reads()
    with caplog.at_level(logging.WARNING):
        for _ in range(int(REPORT_SECONDS)):
            await reads.take([ReadKind.PAGE], "gone")
        assert len(caplog.records) == 1
        await reads.take([ReadKind.PAGE], "gone")
    assert len(caplog.records) == 2
