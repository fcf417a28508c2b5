"""The loop from a source's items to committed row changes of one table."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from bridge import clock as clocks
from bridge.changes import (
    Change,
    Checkpoint,
    Gap,
    GapReason,
    SnapshotBegin,
    SnapshotEnd,
    SnapshotPage,
    Truncate,
)
from bridge.clock import SystemClock
from bridge.pipeline.merger import ChangeMerger
from bridge.pipeline.meters import PipelineMeters
from bridge.pipeline.reconciler import Reconciler
from bridge.pipeline.snapshot_merge import DELETES_PER_COMMIT, SnapshotMerge
from bridge.pipeline.updated_at_check import UpdatedAtCheck

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from bridge.changes import Item, Key
    from bridge.clock import Clock
    from bridge.log.base import Progress
    from bridge.pipeline.merger import RowChangeSet
    from bridge.pipeline.meters import Origin
    from bridge.pipeline.reconciler import ReconcileOptions
    from bridge.projection import Projection
    from bridge.rows import RowStore
    from bridge.source.base import Table
    from bridge.source.change_queue import ChangeQueue

log = logging.getLogger(__name__)

MAX_CHANGES_PER_COMMIT: Final = 256
"""Changes that are merged, stored and published together; each takes about 30 µs of the loop. A
transaction of a source that sends checkpoints is not divided."""


class RowSink(Protocol):
    """Stores the row changes of one table and publishes them."""

    @property
    def rows(self) -> RowStore:
        """The rows as of the last commit."""
        ...

    @property
    def progress(self) -> Progress:
        """The progress that was stored last."""
        ...

    @property
    def counts(self) -> Mapping[str, int]:
        """Number of events published, by kind."""
        ...

    async def commit(self, changes: RowChangeSet, progress: Progress | None = None) -> None:
        """Store a set of row changes, and progress if it is given, all or nothing; publish the
        changes. One call at a time.

        `rows` holds its rows when this returns, and not before they are stored. Raises
        `errors.LogUnusableError`.
        """
        ...

    async def store_progress(self, progress: Progress) -> None:
        """Store progress alone. Raises `errors.LogUnusableError`."""
        ...


@dataclass(frozen=True, slots=True)
class PipelineStatus:
    """The state of a pipeline at one moment."""

    reconciled: bool  # the first scan of the table is done
    scanning: bool  # a scan after a gap is under way or due
    rows: int
    pending_rereads: int  # rows that wait for a re-read
    counts: dict[str, int]  # events by name (those for members only apart), changes, gaps, repairs
    activity: str  # for people
    error: str | None  # why a kind of read of the table fails at present
    unreadable_since: float | None = None
    """Since when the table can't be read in some respect, in monotonic seconds."""


class Pipeline:
    """Takes items from a queue, merges them with reads of the table, and commits row changes."""

    def __init__(
        self,
        *,
        projection: Projection,
        table: Table,
        queue: ChangeQueue,
        sink: RowSink,
        options: ReconcileOptions,
        clock: Clock | None = None,
    ) -> None:
        """`sink.rows` holds the rows of an earlier run, if any, before `run` is called."""
        self._sink = sink
        self._queue = queue
        self._clock = clock or SystemClock()
        self._lock = asyncio.Lock()
        self._counts: Counter[str] = Counter()
        self.meters = PipelineMeters(self._clock)
        self._projection = projection
        self._position: str | None = None
        """The source's position after the changes that were merged last."""
        self._snapshot: SnapshotMerge | None = None
        self._merger = ChangeMerger(projection, sink.rows)
        self._updated_at = UpdatedAtCheck(projection, sink.rows)
        self._reconciler = Reconciler(
            projection=projection,
            rows=sink.rows,
            merger=self._merger,
            table=table,
            transaction=self._transaction,
            store_progress=self._store_progress,
            stream=queue,
            options=options,
            clock=self._clock,
            meters=self.meters,
        )

    @property
    def rows(self) -> RowStore:
        """The rows as of the last commit."""
        return self._sink.rows

    def status(self) -> PipelineStatus:
        reconciler = self._reconciler
        return PipelineStatus(
            reconciled=reconciler.first_scan_done.is_set(),
            scanning=reconciler.scanning or self._snapshot is not None,
            rows=len(self.rows),
            pending_rereads=self._merger.pending_rereads,
            counts={
                **self._sink.counts,
                **self._counts,
                "repaired": reconciler.repaired,
                "passes": reconciler.completed_scans,
                "dropped": self._queue.dropped,
                "updated_at_unchanged": self._updated_at.unchanged,
            },
            activity=reconciler.activity
            if self._snapshot is None
            else f"reading a snapshot: {self._snapshot.read} rows",
            error=reconciler.error,
            unreadable_since=reconciler.unreadable_since,
        )

    async def run(self) -> None:
        """Run until cancelled, from the rows and the progress of the sink. Raises only what makes
        it impossible to go on (the log can't be written).
        """
        self._reconciler.resume(self._sink.progress)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._reconciler.run(), name="reconcile")
            tasks.create_task(self._merge_changes(), name="merge changes")

    async def reconciled(self) -> None:
        """Wait until the first scan of the table is done, so that `rows` is complete. After a
        restart with a large table, rows that were deleted meanwhile are kept a little longer.
        """
        await self._reconciler.first_scan_done.wait()

    async def _merge_changes(self) -> None:
        loaded = self._sink.progress.loaded
        while True:
            items = await self._queue.get_many(MAX_CHANGES_PER_COMMIT)
            if not loaded and not isinstance(items[0], SnapshotBegin):
                # Changes wait for the initial load: no old values are known before it is complete.
                first = next((item for item in items if isinstance(item, Gap)), None)
                self._reconciler.gap(first or Gap(GapReason.SUBSCRIBED), initial_load=True)
                await self._reconciler.first_scan_done.wait()
                items = [item for item in items if item is not first]
            loaded = True
            await self._merge(items)
            self._reconciler.check_rereads()

    async def _merge(self, items: Sequence[Item]) -> None:
        changes: list[Item] = []
        for item in items:
            if isinstance(item, Change | Checkpoint | Gap) or (
                isinstance(item, Truncate) and len(self.rows) <= DELETES_PER_COMMIT
            ):
                changes.append(item)
                continue
            await self._merge_stream(changes)
            changes = []
            if isinstance(item, Truncate):
                await self._truncate(item)
            else:
                await self._merge_snapshot(item)
        await self._merge_stream(changes)

    async def _merge_stream(self, items: Sequence[Item]) -> None:
        """Merge changes, gaps and checkpoints; all in one commit."""
        if not items:
            return
        position = next(
            (item.position for item in reversed(items) if isinstance(item, Checkpoint)), None
        )
        async with self._transaction(position, origin="stream") as merger:
            now = self._clock.monotonic()
            for number, item in enumerate(items):
                if isinstance(item, Change):
                    if item.lsn is None:  # else nothing depends on `updated_at`
                        self._updated_at.check(item, merger.state(item.key))
                    merger.apply_change(item, now)
                    self._counts["changes"] += 1
                    self.meters.received(item.committed_at)
                elif isinstance(item, Gap):
                    self._gap(item)
                elif isinstance(item, Truncate):
                    merger.delete(merger.known_keys(), item.committed_at)
                    self._counts["changes"] += 1
                if number % MAX_CHANGES_PER_COMMIT == MAX_CHANGES_PER_COMMIT - 1:
                    await asyncio.sleep(0)  # a long transaction
        if isinstance(items[0], Checkpoint):  # without changes, so it is not stored yet
            await self._store_position()

    async def _truncate(self, item: Truncate) -> None:
        """Delete the rows of a large table, in several commits."""
        self._counts["changes"] += 1
        for keys in _portions(self._merger.known_keys(), DELETES_PER_COMMIT):
            async with self._transaction(origin="stream") as merger:
                merger.delete(keys, item.committed_at)

    def _gap(self, gap: Gap | SnapshotBegin) -> None:
        self._counts["gaps"] += 1
        detail = f" ({gap.detail})" if gap.detail else ""
        # The second read after each subscription is routine.
        level = logging.DEBUG if gap.reason is GapReason.POST_SUBSCRIBE else logging.INFO
        log.log(level, "changes may be missing: %s%s", gap.reason.value, detail)
        if isinstance(gap, Gap):
            self._reconciler.gap(gap)
        else:
            self.meters.gap(gap.reason)

    # -- snapshots of a source that has positions ---------------------------------------------

    async def _merge_snapshot(self, item: Item) -> None:
        at = clocks.timestamp(self._clock.wall())
        if isinstance(item, SnapshotBegin):
            self._gap(item)
            self._position = None
            self._snapshot = SnapshotMerge(
                self._projection, self.rows, loaded=self._sink.progress.loaded
            )
            return
        snapshot = self._snapshot
        if snapshot is None:
            return
        if isinstance(item, SnapshotPage):
            async with self._transaction() as merger:
                self._counts["snapshot_repaired"] += snapshot.merge(merger, item.records, at)
        elif isinstance(item, SnapshotEnd):
            for keys in snapshot.missing():
                async with self._transaction() as merger:
                    self._counts["snapshot_repaired"] += snapshot.delete(merger, keys, at)
            self._snapshot = None
            self._position = item.position
            await self._store_position()
            self.meters.repaired()

    # -- storing ------------------------------------------------------------------------------

    async def _store_position(self) -> None:
        """Store the source's position where no row changes do, and end what a scan would: the rows
        are those at this position.
        """
        async with self._lock:
            progress = self._next_progress(self._position)
            if progress is not None:
                await self._sink.store_progress(progress)
                self._confirm(progress)
        self._reconciler.in_step(self._sink.progress)

    async def _store_progress(self, progress: Progress) -> None:
        async with self._lock:
            progress = replace(progress, stream=self._position)
            await self._sink.store_progress(progress)
            self._confirm(progress)

    def _next_progress(self, position: str | None) -> Progress | None:
        """Return the progress to store with the next commit; None: it did not change."""
        stored = self._sink.progress
        if position is None or position == stored.stream:
            return None
        return replace(stored, loaded=True, stream=position)

    def _confirm(self, progress: Progress | None) -> None:
        """Let the source forget what the log holds now."""
        if progress is not None and progress.stream is not None:
            self._queue.store(progress.stream)

    @asynccontextmanager
    async def _transaction(
        self, position: str | None = None, *, origin: Origin = "repair"
    ) -> AsyncIterator[ChangeMerger]:
        """Give the merger to one task at a time, and commit the row changes of the block, with the
        source's `position` after them.
        """
        async with self._lock:
            yield self._merger
            changes = self._merger.take()
            progress = self._next_progress(position or self._position)
            if changes:
                await self._sink.commit(changes, progress)
                self._merger.applied()
                self.meters.published(changes.changes, origin)
                self._confirm(progress)
            # Not before its changes are stored: other writes store it too.
            self._position = position or self._position


def _portions(keys: Sequence[Key], size: int) -> Iterator[Sequence[Key]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]
