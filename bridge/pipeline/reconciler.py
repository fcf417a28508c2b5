"""Schedules the reads of one table: re-reads of single rows and the scans that are due.

One loop makes one read at a time: in every round the rows that the merger wants re-read, and one
page of the scan that the scheduler finds due. So no long scan delays an urgent re-read, and a large
table is read at a pace that leaves the database to others. Reads are never nested and never retried
in place: one that fails gives its turn to the others and is due again after a pause of its own.

The stream goes on during reads; `merger` explains why that is safe.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bridge.errors import TableUnreadableError
from bridge.log.base import Progress
from bridge.pipeline import row_comparison
from bridge.pipeline.backoff import Backoffs
from bridge.pipeline.deletion_guard import DeletionGuard
from bridge.pipeline.row_comparison import ComparedTable, RowComparison
from bridge.pipeline.scan_runner import ScanRunner
from bridge.pipeline.scan_scheduler import ScanScheduler
from bridge.pipeline.table_reader import ReadKind, TableReader
from bridge.pipeline.table_scan import ScanKind, TableScan
from bridge.pipeline.watermark import Watermark

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from bridge.changes import Gap
    from bridge.clock import Clock
    from bridge.pipeline.merger import ChangeMerger
    from bridge.pipeline.meters import PipelineMeters
    from bridge.pipeline.row_comparison import StreamState
    from bridge.pipeline.scan_scheduler import ScanOptions
    from bridge.projection import Projection
    from bridge.rows import RowStore
    from bridge.source.base import Table

STORE_WATERMARK_SECONDS: Final = 5.0
"""Between two times at which the watermark is stored: a restart reads that much more."""


@dataclass(frozen=True, slots=True)
class ReconcileOptions:
    """`page_rows`: rows or keys per page of a scan. `grace`: seconds that the stream has to deliver
    a change that a scan found. `delete_hold`: seconds for which a loss that empties or halves the
    table is held where the database can't prove that its rows are deleted.
    """

    page_rows: int
    grace: float
    scans: ScanOptions
    delete_hold: float = 300.0


class Reconciler:
    """Runs the scans and re-reads of one table."""

    def __init__(
        self,
        *,
        projection: Projection,
        rows: RowStore,
        merger: ChangeMerger,
        table: Table,
        transaction: Callable[[], AbstractAsyncContextManager[ChangeMerger]],
        store_progress: Callable[[Progress], Awaitable[None]],
        stream: StreamState,
        options: ReconcileOptions,
        clock: Clock,
        meters: PipelineMeters,
    ) -> None:
        """`transaction` gives the merger to one task at a time and commits its row changes."""
        self._projection = projection
        self._rows = rows
        self._merger = merger
        self._store = store_progress
        self._clock = clock
        self._meters = meters
        self._wake = asyncio.Event()
        self._backoffs = Backoffs()
        self._reader = TableReader(merger, clock)
        self._scheduler = ScanScheduler(
            options.scans,
            has_updated_at=projection.updated_at is not None,
            backoffs=self._backoffs,
        )
        self._watermark = Watermark()
        compared = ComparedTable(projection, rows, merger, table, transaction, clock)
        self._comparison = RowComparison(
            compared,
            self._reader,
            self._watermark,
            DeletionGuard(
                f"{projection.schema}.{projection.table}",
                table,
                rows,
                reader=self._reader,
                clock=clock,
                hold=options.delete_hold,
            ),
            grace=options.grace,
            gap=self.gap,
            schedule_scans=self._schedule_scans,
            stream=stream,
        )
        self._runner = ScanRunner(
            compared,
            self._reader,
            self._comparison,
            self._scheduler,
            self._watermark,
            page_rows=options.page_rows,
            grace=options.grace,
        )
        self._stored = Progress()
        self._store_due = 0.0
        self.first_scan_done = asyncio.Event()

    @property
    def repaired(self) -> int:
        """Number of rows that were emitted from a read."""
        return self._comparison.repaired

    @property
    def error(self) -> str | None:
        """Why a kind of read fails at present."""
        return self._reader.error

    @property
    def unreadable_since(self) -> float | None:
        """Since when the table can't be read in some respect, in monotonic seconds."""
        return self._reader.unreadable_since

    @property
    def completed_scans(self) -> int:
        """Number of gaps with complete scans."""
        return self._scheduler.completed_scans

    @property
    def scanning(self) -> bool:
        """Whether a scan for a gap is under way or due."""
        return self._scheduler.catching_up

    @property
    def activity(self) -> str:
        """For people."""
        scan = self._scheduler.current
        if scan is not None:
            return scan.describe(len(self._rows))
        return "following changes" if self.completed_scans else "waiting for the source"

    # -- called by the pipeline ---------------------------------------------------------------

    def resume(self, progress: Progress) -> None:
        """Continue from the progress that the log stored."""
        self._stored = progress
        if progress.loaded and self._projection.updated_at:
            self._watermark.resume(progress.watermark)

    def gap(self, gap: Gap, *, initial_load: bool = False) -> None:
        """Schedule the scans for a gap, to begin when the read in flight is over."""
        self._meters.gap(gap.reason)
        self._scheduler.gap(gap, initial_load=initial_load)
        self._wake.set()

    def in_step(self, progress: Progress) -> None:
        """Record that the known rows are those at a position of the stream, without a scan."""
        self._stored = progress
        if not self.first_scan_done.is_set():
            self._scheduler.in_step(self._clock.monotonic())
            self.first_scan_done.set()
            self._wake.set()

    def check_rereads(self) -> None:
        """Wake the loop if the merger has requested re-reads."""
        if self._merger.pending_rereads:
            self._wake.set()

    # -- the loop -----------------------------------------------------------------------------

    async def run(self) -> None:
        while True:
            self._wake.clear()
            self._merger.expire(self._clock.monotonic())
            self._comparison.expire_pending()
            reread = await self._reread()
            scan = self._scheduler.next(
                self._clock.monotonic(), rows=len(self._rows), since=self._since()
            )
            if scan is not None:
                completed = self._scheduler.completed_scans
                if await self._runner.step(scan):
                    await self._finished(scan, repaired_gap=completed < self.completed_scans)
                    if not self._scheduler.catching_up:
                        self._meters.repaired()
            elif not reread:
                await self._sleep()
            await self._store_watermark()

    async def _sleep(self) -> None:
        now = self._clock.monotonic()
        due = min(self._scheduler.due(), self._comparison.pending.due, now + 60)
        if self._merger.pending_rereads:
            due = min(due, self._backoffs[ReadKind.ROWS].due)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, due - now)):
                await self._wake.wait()

    async def _reread(self) -> bool:
        """Re-read some of the rows that the merger requested. Return False if none was tried."""
        backoff, now = self._backoffs[ReadKind.ROWS], self._clock.monotonic()
        keys = self._merger.rows_to_reread(row_comparison.MAX_KEYS_PER_READ)
        if not keys or now < backoff.due:
            return False
        try:
            await self._comparison.read_rows(keys)
        except TableUnreadableError:
            self._merger.defer_rereads(keys)  # one that is refused does not hold up the others
            backoff.failed(self._clock.monotonic())
        else:
            self._scheduler.recovered(backoff.succeeded(), self._clock.monotonic())
        return True

    def _schedule_scans(self, at: float) -> None:
        """Look for further losses where one was found: in all keys, then in all rows."""
        self._scheduler.schedule_key_scan(at)
        self._scheduler.schedule_full_scan(at)

    async def _finished(self, scan: TableScan, *, repaired_gap: bool) -> None:
        if scan.initial_load:
            await self._store_progress(Progress(loaded=True, watermark=self._watermark.at))
        elif repaired_gap:
            self._store_due = 0.0
        # After a restart the rows of the earlier run are known, and the recent scan has emitted
        # what `updated_at` shows. Deleted rows are found by the key scan, which clients of a large
        # table need not wait for.
        if repaired_gap or (scan.catches_up and scan.kind is ScanKind.RECENT):
            self.first_scan_done.set()

    # -- the watermark ------------------------------------------------------------------------

    def _since(self) -> str | None:
        """Return where recent rows begin: pending rows have not been emitted yet."""
        return self._comparison.pending.oldest_watermark or self._watermark.at

    async def _store_watermark(self) -> None:
        """Store the watermark every few seconds, except while re-reads are pending: their rows
        have not been emitted.
        """
        at = self._since()
        if not self._stored.loaded or self._merger.pending_rereads or at == self._stored.watermark:
            return
        if self._clock.monotonic() >= self._store_due:
            await self._store_progress(Progress(loaded=True, watermark=at))

    async def _store_progress(self, progress: Progress) -> None:
        self._stored = progress
        self._store_due = self._clock.monotonic() + STORE_WATERMARK_SECONDS
        await self._store(progress)
