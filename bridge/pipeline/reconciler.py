"""Compares the table with the known rows and has the merger emit the differences.

One loop makes one read at a time: in every round the rows that the merger wants re-read, and one
page of the scan that the scheduler finds due. So no long scan delays an urgent re-read, and a large
table is read at a pace that leaves the database to others.

What a scan finds after a gap is emitted at once. At all other times the stream has a grace period
in which to deliver it, in commit order and with the commit's time; what it has not delivered by
then it has missed.

The stream goes on during reads; `merger` explains why that is safe.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

from bridge import clock as clocks
from bridge.changes import Gap, GapReason
from bridge.log.base import Progress
from bridge.pipeline.pending_rows import PendingRow, PendingRows
from bridge.pipeline.scan_scheduler import ScanScheduler
from bridge.pipeline.table_reader import TableReader
from bridge.pipeline.table_scan import ScanKind, TableScan
from bridge.pipeline.watermark import EVER, Watermark

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from bridge.changes import Json, Key, Record
    from bridge.clock import Clock
    from bridge.pipeline.merger import ChangeMerger
    from bridge.pipeline.scan_scheduler import ScanOptions
    from bridge.projection import Projection
    from bridge.rows import RowStore
    from bridge.source.base import Table

log = logging.getLogger(__name__)

MAX_KEYS_PER_READ: Final = 100
"""Keys in one read of single rows: they are part of the URL, and gateways limit its length."""

ROWS_PER_STEP: Final = 256
"""Rows that are compared in one step of the loop: 1 ms if none differs from its last emitted state,
8 ms if all do."""

MAX_MISSED_ROWS: Final = 200
"""Rows that the stream may miss at one time before that counts as a gap. Up to here they are
re-read one by one, in two reads."""

MAX_RECENT_ROWS: Final = 1000
"""Recent rows that every recent scan may read again. Beyond it the watermark follows the time,
which relies on a database clock as fast as that of this machine."""

REPORT_SECONDS: Final = 10.0
"""Between two log lines about a scan under way."""

STORE_WATERMARK_SECONDS: Final = 5.0
"""Between two times at which the watermark is stored: a restart reads that much more."""


@dataclass(frozen=True, slots=True)
class ReconcileOptions:
    """`page_rows`: rows or keys per page of a scan. `grace`: seconds that the stream has to deliver
    a change that a scan found.
    """

    page_rows: int
    grace: float
    scans: ScanOptions


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
        options: ReconcileOptions,
        clock: Clock,
    ) -> None:
        """`transaction` gives the merger to one task at a time and commits its row changes."""
        self._projection = projection
        self._rows = rows
        self._merger = merger
        self._table = table
        self._reader = TableReader(merger)
        self._transaction = transaction
        self._store = store_progress
        self._options = options
        self._clock = clock
        self._wake = asyncio.Event()
        self._scheduler = ScanScheduler(
            options.scans, has_updated_at=projection.updated_at is not None
        )
        self._pending = PendingRows()
        self._watermark = Watermark()
        self._stored = Progress()
        self._store_due = 0.0
        self._newest: Json = None
        self.first_scan_done = asyncio.Event()
        self.repaired = 0

    @property
    def error(self) -> str | None:
        """Why the table can't be read at present."""
        return self._reader.error

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
        self._scheduler.gap(gap, initial_load=initial_load)
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
            self._expire_pending()
            reread = await self._reread()
            scan = self._scheduler.next(
                self._clock.monotonic(), rows=len(self._rows), since=self._since()
            )
            if scan is not None:
                await self._step(scan)
            elif not reread:
                await self._sleep()
            await self._store_watermark()

    async def _sleep(self) -> None:
        now = self._clock.monotonic()
        due = min(self._scheduler.due(), self._pending.due, now + 60)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, due - now)):
                await self._wake.wait()

    async def _reread(self) -> bool:
        """Re-read some of the rows that the merger requested. Return False if there are none."""
        keys = self._merger.rows_to_reread(MAX_KEYS_PER_READ)
        if keys:
            await self._read_rows(keys)
        return bool(keys)

    async def _step(self, scan: TableScan) -> None:
        before, began = self.repaired, self._clock.monotonic()
        if not scan.begun:
            await self._begin(scan)
            return
        if scan.unknown:
            keys, scan.unknown = scan.unknown[:MAX_KEYS_PER_READ], scan.unknown[MAX_KEYS_PER_READ:]
            await self._read_rows(keys)
        elif not scan.ended:
            await self._page(scan)
        elif (unseen := self._pop_unseen(scan)) is None:
            await self._end(scan)
            return
        elif unseen:
            # A row that the scan did not meet is deleted only if a direct read does not find it.
            await self._read_rows(unseen, unpublished=scan.initial_load)
        now = self._clock.monotonic()
        scan.repaired += self.repaired - before
        self._scheduler.record_step(scan, now - began, now)
        if now >= scan.report_due:
            scan.report_due = now + REPORT_SECONDS
            log.info("%s, %s", scan.describe(len(self._rows)), scan.findings)

    # -- a scan -------------------------------------------------------------------------------

    async def _begin(self, scan: TableScan) -> None:
        now = self._clock.monotonic()
        scan.begun = True
        scan.started, scan.wall = now, self._clock.wall()
        scan.report_due = now + REPORT_SECONDS
        if scan.kind is ScanKind.RECENT:
            scan.since = scan.since or EVER
        if scan.catches_up:
            log.info("%s begins, %d rows are known", scan.name, len(self._rows))
        if scan.at_once and scan.kind is not ScanKind.KEYS and self._projection.updated_at:
            # As of now, since rows that were read may change before the scan is complete.
            async with self._reader.read(self._table.newest) as newest:
                scan.newest = self._newest = self._updated_at(newest)
                if newest is None and self._watermark.at is None:
                    self._watermark.at = EVER  # every later row is newer
        if scan.unseen is not None:
            for _ in scan.unseen.collect(self._rows):
                await asyncio.sleep(0)

    async def _page(self, scan: TableScan) -> None:
        limit = self._options.page_rows
        if scan.kind is ScanKind.KEYS:
            async with self._reader.read(partial(self._table.keys, scan.after, limit)) as keys:
                self._compare_keys(scan, keys)
        elif scan.kind is ScanKind.RECENT and self._pending_full(scan):
            scan.ended = True
            return
        else:
            async with self._reader.read(self._rows_of(scan, limit)) as records:
                await self._compare(scan, records)
            keys = [record[self._projection.key] for record in records]
            if scan.kind is ScanKind.RECENT and records:
                scan.since = self._updated_at(records[-1])
        if keys:
            scan.after = keys[-1]
        if scan.unseen is not None:
            scan.unseen.discard(keys)
        scan.add_page(len(keys))

    async def _end(self, scan: TableScan) -> None:
        if scan.initial_load:
            self._merger.initial_load_done(self._clock.monotonic())
        if scan.at_once and scan.kind is not ScanKind.KEYS:
            self._watermark.advance(scan.newest, scan.wall)
        elif scan.kind is ScanKind.RECENT:
            self._watermark.advance(scan.since, scan.wall)
            if scan.read > MAX_RECENT_ROWS:
                self._watermark.advance_idle(
                    scan.since, scan.wall, scan.started, self._clock.monotonic()
                )
            await self._check_newest()
        now, completed = self._clock.monotonic(), self.completed_scans
        self._scheduler.finished(scan, now)
        notable = scan.catches_up or scan.found or now - scan.started > REPORT_SECONDS
        log.log(logging.INFO if notable else logging.DEBUG, scan.summary(now))
        if scan.initial_load:
            await self._store_progress(Progress(loaded=True, watermark=self._watermark.at))
        elif self.completed_scans > completed:
            self._store_due = 0.0
        # After a restart the rows of the earlier run are known, and the recent scan has emitted
        # what `updated_at` shows. Deleted rows are found by the key scan, which clients of a large
        # table need not wait for.
        if self.completed_scans > completed or (scan.catches_up and scan.kind is ScanKind.RECENT):
            self.first_scan_done.set()

    # -- comparing ----------------------------------------------------------------------------

    async def _compare(self, scan: TableScan, records: Sequence[Record]) -> None:
        """Compare the rows of a page, in short steps of the loop."""
        for portion in portions(records, len(records) if scan.initial_load else ROWS_PER_STEP):
            if scan.initial_load:
                async with self._transaction() as merger:
                    for record in portion:
                        merger.load_initial(record)
            elif scan.at_once or self._pending.full:
                async with self._transaction() as merger:
                    now, at = self._clock.monotonic(), clocks.timestamp(self._clock.wall())
                    for record in portion:
                        key = record[self._projection.key]
                        self.repaired += merger.apply_read(key, record, now, at)
            else:
                for record in portion:
                    if self._merger.differs(record):
                        self._add_pending(scan, record[self._projection.key], record)
            await asyncio.sleep(0)

    def _compare_keys(self, scan: TableScan, keys: Sequence[Key]) -> None:
        at_once = scan.at_once or self._pending.full
        for key in keys:
            if key not in self._rows:
                if at_once:
                    scan.unknown.append(key)
                else:
                    self._add_pending(scan, key, None)

    async def _read_rows(self, keys: Sequence[Key], *, unpublished: bool = False) -> None:
        """Read single rows and merge them. `unpublished`: rows of an interrupted initial load;
        their deletion is not emitted.
        """
        async with self._reader.read(partial(self._table.rows, keys)) as records:
            found = {record[self._projection.key]: record for record in records}
            async with self._transaction() as merger:
                now, at = self._clock.monotonic(), clocks.timestamp(self._clock.wall())
                for key in keys:
                    if unpublished and key not in found:
                        merger.drop_initial(key)
                    else:
                        self.repaired += merger.apply_read(key, found.get(key), now, at)

    # -- pending rows -------------------------------------------------------------------------

    def _add_pending(self, scan: TableScan, key: Key, record: Record | None) -> None:
        scan.pending += 1
        self._pending.add(
            PendingRow(
                key,
                None if record is None else self._rows.encode(record),
                self._clock.monotonic() + self._options.grace,
                recent=scan.kind is ScanKind.RECENT,
                watermark=self._watermark.at,
            )
        )

    def _expire_pending(self) -> None:
        """Re-read pending rows that the stream has not delivered within the grace period."""
        now, oldest = self._clock.monotonic(), self._pending.oldest_watermark
        missed = []
        for pending in self._pending.pop_expired(now):
            state = self._merger.state(pending.key)
            if state is not None if pending.row is None else state == pending.row:
                continue
            self._scheduler.schedule_key_scan(now)  # where one was missed, more may be
            if pending.recent:
                missed.append(pending.key)
            else:
                self._merger.request_reread(pending.key)
        if len(missed) > MAX_MISSED_ROWS:
            self._watermark.rewind(oldest)
            self.gap(Gap(GapReason.MISSED_CHANGES, f"{len(missed)} rows"))
            log.warning("the stream is live but has not delivered %d changed rows", len(missed))
        else:
            for key in missed:
                self._merger.request_reread(key)

    def _pending_full(self, scan: TableScan) -> bool:
        """Return whether a recent scan has to wait, so that the stream can deliver its findings."""
        return not scan.at_once and self._pending.full

    # -- the watermark ------------------------------------------------------------------------

    def _since(self) -> str | None:
        """Return where recent rows begin: pending rows have not been emitted yet."""
        return self._pending.oldest_watermark or self._watermark.at

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

    async def _check_newest(self) -> None:
        """Schedule a key scan if the newest row is older than before, or the table is empty: rows
        were deleted. The stream delivers ordinary deletes, but never TRUNCATE.
        """
        async with self._reader.read(self._table.newest) as newest:
            pass
        at, now = self._updated_at(newest), self._clock.monotonic()
        if newest is None and len(self._rows):
            self._scheduler.schedule_key_scan(now)
        elif at is not None and self._newest is not None and at < self._newest:
            self._scheduler.schedule_key_scan(now + self._options.grace)
        self._newest = at

    # -- helpers ------------------------------------------------------------------------------

    def _pop_unseen(self, scan: TableScan) -> list[Key] | None:
        return None if scan.unseen is None else scan.unseen.pop(self._rows, MAX_KEYS_PER_READ)

    def _rows_of(self, scan: TableScan, limit: int) -> Callable[[], Awaitable[Sequence[Record]]]:
        if scan.since is None:
            return partial(self._table.page, scan.after, limit)
        return partial(self._table.recent, scan.since, scan.after, limit)

    def _updated_at(self, record: Record | None) -> Json:
        column = self._projection.updated_at
        return None if record is None or column is None else record[column]


def portions(records: Iterable[Record], size: int) -> Iterator[list[Record]]:
    """Yield `records` in lists of at most `size`."""
    rest = iter(records)
    while portion := list(islice(rest, size)):
        yield portion
