"""The loop from a source's items to committed row changes of one table."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from bridge.changes import Change, Gap, GapReason
from bridge.clock import SystemClock
from bridge.pipeline.merger import ChangeMerger
from bridge.pipeline.reconciler import Reconciler
from bridge.pipeline.updated_at_check import UpdatedAtCheck

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from bridge.clock import Clock
    from bridge.log.base import Progress
    from bridge.pipeline.merger import RowChangeSet
    from bridge.pipeline.reconciler import ReconcileOptions
    from bridge.projection import Projection
    from bridge.rows import RowStore
    from bridge.source.base import Table
    from bridge.source.change_queue import ChangeQueue

log = logging.getLogger(__name__)

MAX_CHANGES_PER_COMMIT: Final = 256
"""Changes that are merged, stored and published together; each takes about 30 µs of the loop."""


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

    async def commit(self, changes: RowChangeSet) -> None:
        """Store a set of row changes, all or nothing, and publish it. One call at a time.

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
        )

    @property
    def rows(self) -> RowStore:
        """The rows as of the last commit."""
        return self._sink.rows

    def status(self) -> PipelineStatus:
        reconciler = self._reconciler
        return PipelineStatus(
            reconciled=reconciler.first_scan_done.is_set(),
            scanning=reconciler.scanning,
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
            activity=reconciler.activity,
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
            if not loaded:
                # Changes wait for the initial load: no old values are known before it is complete.
                first = next((item for item in items if isinstance(item, Gap)), None)
                self._reconciler.gap(first or Gap(GapReason.SUBSCRIBED), initial_load=True)
                await self._reconciler.first_scan_done.wait()
                items = [item for item in items if item is not first]
                loaded = True
            async with self._transaction() as merger:
                now = self._clock.monotonic()
                for item in items:
                    if isinstance(item, Change):
                        self._updated_at.check(item, merger.state(item.key))
                        merger.apply_change(item, now)
                        self._counts["changes"] += 1
                    else:
                        self._gap(item)
            self._reconciler.check_rereads()

    def _gap(self, gap: Gap) -> None:
        self._counts["gaps"] += 1
        log.info("changes may be missing: %s %s", gap.reason.value, gap.detail)
        self._reconciler.gap(gap)

    async def _store_progress(self, progress: Progress) -> None:
        async with self._lock:
            await self._sink.store_progress(progress)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[ChangeMerger]:
        """Give the merger to one task at a time, and commit the row changes of the block."""
        async with self._lock:
            yield self._merger
            changes = self._merger.take()
            if changes:
                await self._sink.commit(changes)
                self._merger.applied()
