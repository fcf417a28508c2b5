"""`Pipeline` merges, stores and publishes the changes of its queue in commits of limited size."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from bridge.changes import Gap, GapReason
from bridge.log.base import Progress
from bridge.options import reconcile_options
from bridge.pipeline.pipeline import Pipeline
from bridge.projection import Projection
from bridge.rows import RowStore
from bridge.source.change_queue import ChangeQueue
from tests.fakes import FakeTable, row, settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.changes import Key, Record
    from bridge.pipeline.merger import RowChangeSet

PROJECTION = Projection()
CHANGES_PER_COMMIT = 256
"""The bound that the design states: 256 changes of about 30 µs each; not taken from the code."""


class RecordingSink:
    """Stores nothing but the rows; records the number of row changes of each commit."""

    def __init__(self) -> None:
        self.rows = RowStore(PROJECTION.known)
        self.progress = Progress()
        self.counts: Counter[str] = Counter()
        self.commits: list[int] = []
        self.committed = asyncio.Condition()

    async def commit(self, changes: RowChangeSet, progress: Progress | None = None) -> None:
        self.rows.apply(changes.rows.items())
        self.commits.append(len(changes.changes))
        async with self.committed:
            self.committed.notify_all()

    async def store_progress(self, progress: Progress) -> None:
        self.progress = progress


async def test_commit_has_at_most_256_changes_of_a_full_queue() -> None:
    stored = [row(f"{n:04}", price=0) for n in range(1000)]
    table, sink, queue = FakeTable(*stored), RecordingSink(), ChangeQueue(10_000)
    sink.rows.load([(each["id"], sink.rows.encode(each)) for each in stored])
    sink.progress = Progress(loaded=True)
    for n in range(1000):
        queue.put_nowait(table.write(row(f"{n:04}", price=n + 1)))
    pipeline = Pipeline(
        projection=PROJECTION,
        table=table,
        queue=queue,
        sink=sink,
        options=reconcile_options(settings()),
    )
    running = asyncio.create_task(pipeline.run())
    try:
        async with asyncio.timeout(20), sink.committed:
            await sink.committed.wait_for(lambda: sum(sink.commits) == 1000)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    assert max(sink.commits) == CHANGES_PER_COMMIT


async def test_difference_is_emitted_without_grace_while_the_source_is_not_live() -> None:
    table, sink, queue = FakeTable(row("p1", price=0)), RecordingSink(), ChangeQueue(10)
    sink.rows.load([("p1", sink.rows.encode(row("p1", price=0)))])
    sink.progress = Progress(loaded=True)
    queue.live = False
    queue.put_nowait(Gap(GapReason.SUBSCRIBED))
    pipeline = Pipeline(
        projection=PROJECTION,
        table=table,
        queue=queue,
        sink=sink,
        options=reconcile_options(settings(watch_interval=0.02, watch_grace=3600)),
    )
    running = asyncio.create_task(pipeline.run())
    try:
        async with asyncio.timeout(20):
            await pipeline.reconciled()
            table.write(row("p1", price=1, updated_at="2026-02-01T00:00:00Z"))
            async with sink.committed:
                await sink.committed.wait_for(lambda: sum(sink.commits) == 1)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


class ScannedTable(FakeTable):
    """Counts the reads of recent rows."""

    scans = 0

    async def recent(self, since: str, after: Key | None, limit: int) -> Sequence[Record]:
        self.scans += 1
        return await super().recent(since, after, limit)


async def test_scan_confirms_a_stream_that_has_delivered_everything_and_no_other() -> None:
    table, sink, queue = ScannedTable(row("p1", price=0)), RecordingSink(), ChangeQueue(10)
    sink.rows.load([("p1", sink.rows.encode(row("p1", price=0)))])
    sink.progress = Progress(loaded=True)
    queue.put_nowait(Gap(GapReason.SUBSCRIBED))
    pipeline = Pipeline(
        projection=PROJECTION,
        table=table,
        queue=queue,
        sink=sink,
        options=reconcile_options(settings(watch_interval=0.01, watch_grace=3600)),
    )
    running = asyncio.create_task(pipeline.run())
    try:
        async with asyncio.timeout(20):
            await pipeline.reconciled()
            while queue.confirmed_at is None:
                await asyncio.sleep(0.01)
            table.write(row("p1", price=1, updated_at="2026-02-01T00:00:00Z"))
            begun = time.monotonic()
            table.scans = 0
            while table.scans < 10:
                await asyncio.sleep(0.01)
        assert queue.confirmed_at <= begun
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
