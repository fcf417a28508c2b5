"""Makes the reads of a scan, one step at a time. A step that fails leaves the scan as it was."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from bridge.clock import is_future
from bridge.errors import DeletionUnprovenError, TableUnreadableError
from bridge.pipeline import row_comparison
from bridge.pipeline.range_digests import RangeDigests, RangeRead
from bridge.pipeline.scan_scheduler import SLOW_FAILURE_SECONDS
from bridge.pipeline.table_reader import ReadKind
from bridge.pipeline.table_scan import ScanKind, TableScan
from bridge.pipeline.watermark import EVER, Watermark

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from bridge.changes import Json, Key, Record
    from bridge.pipeline.row_comparison import ComparedTable, RowComparison
    from bridge.pipeline.scan_scheduler import ScanScheduler
    from bridge.pipeline.table_reader import TableReader

log = logging.getLogger(__name__)

MAX_RECENT_ROWS: Final = 1000
"""Recent rows that every recent scan may read again. Beyond it the watermark follows the time,
which relies on a database clock as fast as that of this machine."""

REPORT_SECONDS: Final = 10.0
"""Between two log lines about a scan under way."""

NEWEST_FAILURES: Final = 2
"""Failed reads of the newest row after which a scan begins without it: the table may be readable
in other ways."""


NEWEST_PAUSE_SECONDS: Final = 60.0
"""Between attempts to read the newest row after one that failed slowly. Scans do without it, and
all other reads wait for its timeout."""


class ScanRunner:
    """Takes the steps of the scans of one table."""

    def __init__(
        self,
        compared: ComparedTable,
        reader: TableReader,
        comparison: RowComparison,
        scheduler: ScanScheduler,
        watermark: Watermark,
        *,
        page_rows: int,
        grace: float,
    ) -> None:
        self._rows = compared.rows
        self._projection = compared.projection
        self._merger = compared.merger
        self._table = compared.table
        self._clock = compared.clock
        self._reader = reader
        self._comparison = comparison
        self._scheduler = scheduler
        self._watermark = watermark
        self._page_rows = page_rows
        self._grace = grace
        self._newest: Json = None
        self._digests = RangeDigests()
        self._newest_due = 0.0

    async def step(self, scan: TableScan) -> bool:
        """Take the next step of `scan`. Return True if it is complete."""
        began = self._clock.monotonic()
        try:
            return await self._step(scan)
        except TableUnreadableError as error:
            if error.refused:
                scan.shrink_pages(self._page_rows)
            now = self._clock.monotonic()
            readable = isinstance(error, DeletionUnprovenError)
            self._scheduler.failed(scan, now, now - began, readable=readable)
            return False

    async def _step(self, scan: TableScan) -> bool:
        if not scan.begun:
            await self._begin(scan)
            return False
        before, busy = self._comparison.repaired, self._reader.seconds
        if scan.unknown:
            limit = row_comparison.MAX_KEYS_PER_READ
            await self._comparison.read_rows(scan.unknown[:limit])
            del scan.unknown[:limit]
        elif not scan.ended:
            await self._page(scan)
        elif (unseen := self._pop_unseen(scan)) is None:
            await self._end(scan)
            return True
        elif unseen and not self._comparison.leave_deleted(scan, unseen):
            # A row that the scan did not meet is deleted only if a direct read does not find it.
            await self._confirm_deleted(scan, unseen)
        now = self._clock.monotonic()
        scan.repaired += self._comparison.repaired - before
        self._scheduler.record_step(scan, self._reader.seconds - busy, now)
        if now >= scan.report_due:
            scan.report_due = now + REPORT_SECONDS
            log.info("%s, %s", scan.describe(len(self._rows)), scan.findings)
        return False

    async def _confirm_deleted(self, scan: TableScan, unseen: list[Key]) -> None:
        assert scan.unseen is not None
        if scan.missing is None:
            scan.missing = len(unseen)
            for count in scan.unseen.count(self._rows):
                scan.missing += count
                await asyncio.sleep(0)
        try:
            await self._comparison.read_rows(
                unseen, unpublished=scan.initial_load, missing=scan.missing
            )
        except TableUnreadableError:
            scan.unseen.restore(unseen)
            scan.missing = None
            raise
        scan.missing = max(0, scan.missing - len(unseen))

    async def _begin(self, scan: TableScan) -> None:
        now = self._clock.monotonic()
        scan.started, scan.wall = now, self._clock.wall()
        scan.report_due = now + REPORT_SECONDS
        if scan.kind is ScanKind.RECENT:
            scan.since = scan.since or EVER
        if scan.catches_up and not scan.newest_failures:
            log.info("%s begins, %d rows are known", scan.name, len(self._rows))
        if scan.at_once and scan.kind is not ScanKind.KEYS and self._projection.updated_at:
            await self._read_newest(scan)
        scan.begun = True
        if scan.by_digest:
            self._digests.begin()
        if scan.unseen is not None:
            for _ in scan.unseen.collect(self._rows):
                await asyncio.sleep(0)

    async def _read_newest(self, scan: TableScan) -> None:
        """Read the watermark to be: as of now, since rows that were read may change before the scan
        is complete.
        """
        if self._clock.monotonic() < self._newest_due:
            return
        try:
            async with self._read_newest_row() as newest:
                scan.newest = self._newest = self._updated_at(newest)
                if newest is None and self._watermark.at is None:
                    self._watermark.at = EVER  # every later row is newer
        except TableUnreadableError:
            scan.newest_failures += 1
            if scan.newest_failures < NEWEST_FAILURES:
                raise

    @asynccontextmanager
    async def _read_newest_row(self) -> AsyncIterator[Record | None]:
        began = self._clock.monotonic()
        try:
            async with self._reader.read(ReadKind.NEWEST, self._table.newest) as newest:
                yield newest
        except TableUnreadableError:
            now = self._clock.monotonic()
            if now - began >= SLOW_FAILURE_SECONDS:
                self._newest_due = now + NEWEST_PAUSE_SECONDS
            raise

    async def _page(self, scan: TableScan) -> None:
        limit = min(scan.limit or self._page_rows, self._page_rows)
        if scan.kind is ScanKind.KEYS:
            query = partial(self._table.keys, scan.after, limit)
            async with self._reader.read(ReadKind.KEYS, query) as keys:
                self._comparison.compare_keys(scan, keys[scan.repeated(keys[:1]) :])
        elif self._comparison.pending_full(scan):
            scan.ended, scan.unseen = True, None
            return
        elif scan.kind is ScanKind.RECENT:
            await self._recent_page(scan, limit)
            return
        elif scan.by_digest and await self._pass_range(scan):
            return
        else:
            up_to = () if scan.range is None else (scan.range.up_to,)
            query_rows = partial(self._table.page, scan.after, limit, *up_to)
            async with self._reader.read(ReadKind.PAGE, query_rows) as records:
                keys = [record[self._projection.key] for record in records]
                await self._comparison.compare(scan, records[scan.repeated(keys) :])
        if scan.unseen is not None:
            scan.unseen.discard(keys)
        if scan.range is not None:
            self._turn_page_of_range(scan, scan.range, keys, limit)
            return
        start, repeated = scan.after, scan.repeated(keys)
        scan.turn_page(keys)
        scan.add_page(len(keys), limit, repeated)
        if scan.by_digest:
            self._digests.add(start, None if scan.ended else scan.after)

    async def _recent_page(self, scan: TableScan, limit: int) -> None:
        if self._comparison.pending_full(scan):
            scan.ended = True
            return
        assert scan.since is not None
        query = partial(self._table.recent, scan.since, scan.after, limit)
        async with self._reader.read(ReadKind.RECENT, query) as records:
            await self._comparison.compare(scan, records)
        if records:
            self._advance(scan, records, limit)
            if scan.ended:
                return
            scan.after = records[-1][self._projection.key]
        scan.add_page(len(records), limit)

    # -- digests ------------------------------------------------------------------------------

    async def _pass_range(self, scan: TableScan) -> bool:
        """Pass over the next range of keys if it holds what it held when it was last compared.
        Return False if it has to be read.
        """
        known = self._digests.get(scan.after)
        if scan.range is not None or known is None:
            return False
        query = partial(self._table.digest, scan.after, known.up_to)
        digest = await self._reader.attempt(ReadKind.DIGEST, query)
        if digest is None:
            return False
        if known.unchanged(digest, self._clock.monotonic()):
            scan.passed += 1
            self._digests.keep(scan.after, known)
            scan.pass_range(known.up_to)
            return True
        scan.range = RangeRead(scan.after, known.up_to, digest)
        return False

    def _turn_page_of_range(
        self, scan: TableScan, read: RangeRead, keys: Sequence[Key], limit: int
    ) -> None:
        """Go on within a range, or behind it. A page may be shorter than the limit, so the range
        ends with its last key or with a page of no other row.
        """
        scan.read += len(keys) - scan.repeated(keys)
        scan.grow_pages()
        no_other = bool(read.ends) and len(keys) < limit and keys[-1:] == [scan.last]
        if keys and keys[-1] != read.up_to and not no_other:
            scan.turn_page(keys)
            if scan.after is not None and len(keys) > 1:
                read.ends.append(scan.after)
            return
        self._digests.compared(read, self._clock.monotonic())
        scan.pass_range(read.up_to)

    def _advance(self, scan: TableScan, records: Sequence[Record], limit: int) -> None:
        """Have the next page follow these rows. Those in the future come last in every scan: if
        they are many, they are left to full scans.
        """
        scan.since = self._updated_at(records[-1])
        wall = self._clock.wall()
        times = (self._updated_at(record) for record in reversed(records))
        scan.reached = next((at for at in times if not is_future(at, wall)), scan.reached)
        if scan.reached != scan.since and scan.read > MAX_RECENT_ROWS:
            scan.add_page(len(records), limit)
            scan.ended = True

    async def _end(self, scan: TableScan) -> None:
        now = self._clock.monotonic()
        if scan.unseen is not None:
            self._comparison.none_missing()
        if scan.by_digest:
            self._digests.finish()
        if scan.initial_load:
            self._merger.initial_load_done(now)
        if scan.at_once and scan.kind is not ScanKind.KEYS:
            self._watermark.advance(scan.newest, scan.wall)
        if scan.kind is ScanKind.RECENT and (not scan.at_once or scan.newest is None):
            self._watermark.advance(scan.reached, scan.wall)
            if scan.read > MAX_RECENT_ROWS:
                self._watermark.advance_idle(scan.reached, scan.wall, scan.started, now)
        if scan.kind is ScanKind.RECENT and not scan.at_once:
            await self._check_newest()
        now = self._clock.monotonic()
        self._scheduler.finished(scan, now)
        self._comparison.confirm(scan)
        log.log(_level(scan, now), "%s", scan.summary(now))

    async def _check_newest(self) -> None:
        """Schedule a key scan if the newest row is older than before, or the table is empty: rows
        were deleted. The stream delivers ordinary deletes, but never TRUNCATE.
        """
        if self._clock.monotonic() < self._newest_due:
            return
        try:
            async with self._read_newest_row() as newest:
                pass
        except TableUnreadableError:
            return  # key scans find deleted rows too, a little later
        at, now = self._updated_at(newest), self._clock.monotonic()
        if newest is None and len(self._rows):
            self._scheduler.schedule_key_scan(now)
        elif at is not None and self._newest is not None and at < self._newest:
            self._scheduler.schedule_key_scan(now + self._grace)
        self._newest = at

    def _pop_unseen(self, scan: TableScan) -> list[Key] | None:
        return (
            None
            if scan.unseen is None
            else scan.unseen.pop(self._rows, row_comparison.MAX_KEYS_PER_READ)
        )

    def _updated_at(self, record: Record | None) -> Json:
        column = self._projection.updated_at
        return None if record is None or column is None else record[column]


def _level(scan: TableScan, now: float) -> int:
    """Return the level of the scan's outcome. Rows that the stream may still deliver are usual
    while the table changes, so that they are not worth a line.
    """
    if scan.repaired and not scan.initial_load:
        return logging.WARNING
    if scan.catches_up or now - scan.started > REPORT_SECONDS:
        return logging.INFO
    return logging.DEBUG
