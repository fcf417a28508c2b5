"""Comparing the table with what was told, and having the ledger tell the difference.

One loop makes one read at a time: rows that only a read can settle (**doubts**) in every round,
and a page of the walk that `agenda` says is due. Nothing that is long holds up what is urgent, and
a large table is read at a pace that leaves it to others.

What a walk finds after a gap is told at once. At all other times the stream is given a grace to
tell it, in commit order, with the commit's time; what it has not told by then was lost.

The stream flows on meanwhile; `ledger` says why this is safe.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

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
    from bridge.projection import Projection
    from bridge.rows import RowStore
    from bridge.settings import Settings
    from bridge.source.base import Table

log = logging.getLogger(__name__)

MAX_KEYS_PER_READ = 100
"""Keys in one read of single rows: they travel in the URL, whose length is limited."""

ROWS_PER_STEP = 256
"""Rows that are compared in one step of the loop: 1 ms where they are as they were told, 8 ms where
all of them have changed."""

MAX_MISSED_ROWS = 200
"""Rows that the stream is found not to have told at one time; more are a gap. Fewer are read one by
one, in two reads."""

MAX_RECENT_ROWS = 1000
"""Recent rows that every look may read again; past it the cursor follows the time, which relies on
a table whose clock goes as fast as ours."""

REPORT_SECONDS = 10.0
"""Between two lines in the log about a walk under way."""

STORE_WATERMARK_SECONDS = 5.0
"""Between two times at which the cursor is stored: a restart reads so much more."""


class Reconciler:
    def __init__(
        self,
        *,
        projection: Projection,
        rows: RowStore,
        ledger: ChangeMerger,
        table: Table,
        turn: Callable[[], AbstractAsyncContextManager[ChangeMerger]],
        keep: Callable[[Progress], Awaitable[None]],
        settings: Settings,
        clock: Clock,
    ) -> None:
        """`turn` gives the ledger to one task at a time, and stores and tells what was decided.
        `keep` stores progress.
        """
        self._projection = projection
        self._rows = rows
        self._merger = ledger
        self._table = table
        self._reader = TableReader(ledger)
        self._transaction = turn
        self._store = keep
        self._settings = settings
        self._clock = clock
        self._wake = asyncio.Event()
        self._scheduler = ScanScheduler(settings)
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
        """How often what a gap made doubtful was looked for to the end."""
        return self._scheduler.completed_scans

    @property
    def scanning(self) -> bool:
        """Whether what the stream missed is being looked for, or about to be."""
        return self._scheduler.catching_up

    @property
    def activity(self) -> str:
        """For people."""
        walk = self._scheduler.current
        if walk is not None:
            return walk.describe(len(self._rows))
        return "watching" if self.completed_scans else "waiting"

    # -- what the pipeline says ---------------------------------------------------------------

    def resume(self, progress: Progress) -> None:
        """Go on from what the log has stored."""
        self._stored = progress
        if progress.loaded and self._projection.updated_at:
            self._watermark.resume(progress.watermark)

    def gap(self, gap: Gap, *, fill: bool = False) -> None:
        """Something may be missing: look for it as soon as the read in flight is over."""
        self._scheduler.gap(gap, fill=fill)
        self._wake.set()

    def check_rereads(self) -> None:
        """The ledger may have doubts."""
        if self._merger.pending_rereads:
            self._wake.set()

    # -- the loop -----------------------------------------------------------------------------

    async def run(self) -> None:
        while True:
            self._wake.clear()
            self._merger.expire(self._clock.monotonic())
            self._expire_pending()
            settled = await self._reread()
            walk = self._scheduler.next(
                self._clock.monotonic(), rows=len(self._rows), since=self._since()
            )
            if walk is not None:
                await self._step(walk)
            elif not settled:
                await self._sleep()
            await self._store_watermark()

    async def _sleep(self) -> None:
        now = self._clock.monotonic()
        due = min(self._scheduler.due(), self._pending.due, now + 60)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, due - now)):
                await self._wake.wait()

    async def _reread(self) -> bool:
        """Read some of the rows in doubt. False: there are none."""
        keys = self._merger.rows_to_reread(MAX_KEYS_PER_READ)
        if keys:
            await self._read_rows(keys)
        return bool(keys)

    async def _step(self, walk: TableScan) -> None:
        before, began = self.repaired, self._clock.monotonic()
        if not walk.begun:
            await self._begin(walk)
            return
        if walk.unknown:
            keys, walk.unknown = walk.unknown[:MAX_KEYS_PER_READ], walk.unknown[MAX_KEYS_PER_READ:]
            await self._read_rows(keys)
        elif not walk.ended:
            await self._page(walk)
        elif (
            walk.unseen is None or (gone := walk.unseen.pop(self._rows, MAX_KEYS_PER_READ)) is None
        ):
            await self._end(walk)
            return
        elif gone:
            # What a walk did not meet is gone only if a direct read says so.
            await self._read_rows(gone, forget=walk.initial_load)
        now = self._clock.monotonic()
        walk.repaired += self.repaired - before
        self._scheduler.record_step(walk, now - began, now)
        if now >= walk.report_due:
            walk.report_due = now + REPORT_SECONDS
            log.info("%s, %s", walk.describe(len(self._rows)), walk.found_so_far)

    # -- a walk -------------------------------------------------------------------------------

    async def _begin(self, walk: TableScan) -> None:
        now = self._clock.monotonic()
        walk.begun = True
        walk.started, walk.wall = now, self._clock.wall()
        walk.report_due = now + REPORT_SECONDS
        if walk.kind is ScanKind.RECENT:
            walk.since = walk.since or EVER
        if walk.catches_up:
            log.info("%s begins, %d rows are known", walk.name, len(self._rows))
        if walk.at_once and walk.kind is not ScanKind.KEYS and self._projection.updated_at:
            # As it is now, since rows that have been read may change before the walk is over.
            async with self._reader.read(self._table.newest) as newest:
                walk.newest = self._newest = self._time_of(newest)
                if newest is None and self._watermark.at is None:
                    self._watermark.at = EVER  # whatever comes is later
        if walk.unseen is not None:
            for _ in walk.unseen.collect(self._rows):
                await asyncio.sleep(0)

    async def _page(self, walk: TableScan) -> None:
        limit = self._settings.page_rows
        if walk.kind is ScanKind.KEYS:
            async with self._reader.read(partial(self._table.keys, walk.after, limit)) as keys:
                self._compare_keys(walk, keys)
        elif walk.kind is ScanKind.RECENT and self._pending_full(walk):
            walk.ended = True
            return
        else:
            async with self._reader.read(self._rows_of(walk, limit)) as records:
                await self._compare(walk, records)
            keys = [record[self._projection.key] for record in records]
            if walk.kind is ScanKind.RECENT and records:
                walk.since = self._time_of(records[-1])
        if keys:
            walk.after = keys[-1]
        if walk.unseen is not None:
            walk.unseen.discard(keys)
        walk.add_page(len(keys))

    async def _end(self, walk: TableScan) -> None:
        if walk.initial_load:
            self._merger.initial_load_done(self._clock.monotonic())
        if walk.at_once and walk.kind is not ScanKind.KEYS:
            self._watermark.advance(walk.newest, walk.wall)
        elif walk.kind is ScanKind.RECENT:
            self._watermark.advance(walk.since, walk.wall)
            if walk.read > MAX_RECENT_ROWS:
                self._watermark.advance_idle(
                    walk.since, walk.wall, walk.started, self._clock.monotonic()
                )
            await self._check_newest()
        now, passes = self._clock.monotonic(), self.completed_scans
        self._scheduler.finished(walk, now)
        loud = walk.catches_up or walk.found or now - walk.started > REPORT_SECONDS
        log.log(logging.INFO if loud else logging.DEBUG, walk.summary(now))
        if walk.initial_load:
            await self._store_progress(Progress(loaded=True, watermark=self._watermark.at))
        elif self.completed_scans > passes:
            self._store_due = 0.0
        # A restart knows the rows from before, and has told now what `updated_at` shows; what is
        # gone is found by the keys, which in a large table nobody has to wait for.
        if self.completed_scans > passes or (walk.catches_up and walk.kind is ScanKind.RECENT):
            self.first_scan_done.set()

    # -- comparing ----------------------------------------------------------------------------

    async def _compare(self, walk: TableScan, records: Sequence[Record]) -> None:
        """What a page showed, in short steps of the loop."""
        for some in portions(records, len(records) if walk.initial_load else ROWS_PER_STEP):
            if walk.initial_load:
                async with self._transaction() as ledger:
                    for record in some:
                        ledger.load_initial(record)
            elif walk.at_once or self._pending.full:
                async with self._transaction() as ledger:
                    now, at = self._clock.monotonic(), clocks.timestamp(self._clock.wall())
                    for record in some:
                        key = record[self._projection.key]
                        self.repaired += ledger.apply_read(key, record, now, at)
            else:
                for record in some:
                    if self._merger.differs(record):
                        self._add_pending(walk, record[self._projection.key], record)
            await asyncio.sleep(0)

    def _compare_keys(self, walk: TableScan, keys: Sequence[Key]) -> None:
        at_once = walk.at_once or self._pending.full
        for key in keys:
            if key not in self._rows:
                if at_once:
                    walk.unknown.append(key)
                else:
                    self._add_pending(walk, key, None)

    async def _read_rows(self, keys: Sequence[Key], *, forget: bool = False) -> None:
        """Read single rows, and tell them. `forget`: those that are gone were never told."""
        async with self._reader.read(partial(self._table.rows, keys)) as records:
            found = {record[self._projection.key]: record for record in records}
            async with self._transaction() as ledger:
                now, at = self._clock.monotonic(), clocks.timestamp(self._clock.wall())
                for key in keys:
                    if forget and key not in found:
                        ledger.drop_initial(key)
                    else:
                        self.repaired += ledger.apply_read(key, found.get(key), now, at)

    # -- waiting for the stream ---------------------------------------------------------------

    def _add_pending(self, walk: TableScan, key: Key, record: Record | None) -> None:
        walk.pending += 1
        self._pending.add(
            PendingRow(
                key,
                None if record is None else self._rows.encode(record),
                self._clock.monotonic() + self._settings.watch_grace,
                lost=walk.kind is ScanKind.RECENT,
                watermark=self._watermark.at,
            )
        )

    def _expire_pending(self) -> None:
        """Rows that the table showed changed and that the stream has not told for too long."""
        now, floor = self._clock.monotonic(), self._pending.oldest_watermark
        lost = []
        for suspect in self._pending.pop_expired(now):
            state = self._merger.state(suspect.key)
            if state is not None if suspect.row is None else state == suspect.row:
                continue
            self._scheduler.schedule_key_scan(now)  # where one was lost, more may be
            if suspect.lost:
                lost.append(suspect.key)
            else:
                self._merger.request_reread(suspect.key)
        if len(lost) > MAX_MISSED_ROWS:
            self._watermark.rewind(floor)
            self.gap(Gap(GapReason.MISSED_CHANGES, f"{len(lost)} rows"))
            log.warning("the stream goes on, but has not told of %d rows", len(lost))
        else:
            for key in lost:
                self._merger.request_reread(key)

    def _pending_full(self, walk: TableScan) -> bool:
        """Whether a look has found so many rows that the stream must be given time to tell them."""
        return not walk.at_once and self._pending.full

    # -- the cursor ---------------------------------------------------------------------------

    def _since(self) -> str | None:
        """Where recent rows begin: what waits for the stream has not been told yet."""
        return self._pending.oldest_watermark or self._watermark.at

    async def _store_watermark(self) -> None:
        """Store the cursor now and then. Not while there are doubts: they are not told either."""
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
        """A newest row that is older than before, or none at all: rows went away. The stream tells
        ordinary deletes, but never TRUNCATE; a walk over the keys finds out.
        """
        async with self._reader.read(self._table.newest) as newest:
            pass
        at, now = self._time_of(newest), self._clock.monotonic()
        if newest is None and len(self._rows):
            self._scheduler.schedule_key_scan(now)
        elif at is not None and self._newest is not None and at < self._newest:
            self._scheduler.schedule_key_scan(now + self._settings.watch_grace)
        self._newest = at

    # -- pieces -------------------------------------------------------------------------------

    def _rows_of(self, walk: TableScan, limit: int) -> Callable[[], Awaitable[Sequence[Record]]]:
        if walk.since is None:
            return partial(self._table.page, walk.after, limit)
        return partial(self._table.recent, walk.since, walk.after, limit)

    def _time_of(self, record: Record | None) -> Json:
        column = self._projection.updated_at
        return None if record is None or column is None else record[column]


def portions(records: Iterable[Record], size: int) -> Iterator[list[Record]]:
    rest = iter(records)
    while some := list(islice(rest, size)):
        yield some
