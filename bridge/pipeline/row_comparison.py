"""Compares rows that were read with the known rows, and has the merger emit the differences.

What a scan finds after a gap is emitted at once. At all other times the stream has a grace period
in which to deliver it, in commit order and with the commit's time; what it has not delivered by
then it has missed.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

from bridge import clock as clocks
from bridge.changes import Gap, GapReason
from bridge.pipeline.pending_rows import PendingRow, PendingRows
from bridge.pipeline.table_reader import ReadKind
from bridge.pipeline.table_scan import ScanKind, TableScan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from bridge.changes import Key, Record
    from bridge.clock import Clock
    from bridge.pipeline.deletion_guard import DeletionGuard
    from bridge.pipeline.merger import ChangeMerger
    from bridge.pipeline.table_reader import TableReader
    from bridge.pipeline.watermark import Watermark
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


@dataclass(frozen=True, slots=True)
class ComparedTable:
    """A table, what is known of it, and the one way to change that.

    `transaction` gives the merger to one task at a time and commits its row changes.
    """

    projection: Projection
    rows: RowStore
    merger: ChangeMerger
    table: Table
    transaction: Callable[[], AbstractAsyncContextManager[ChangeMerger]]
    clock: Clock


class StreamState(Protocol):
    """What the source and the reads of its table know of each other."""

    @property
    def live(self) -> bool:
        """Whether the stream delivers changes at present."""
        ...

    @property
    def passed_at(self) -> float:
        """Up to when everything that was committed has been merged; infinite: it is not known."""
        ...

    def record_missed(self, rows: int) -> None:
        """Record rows that the stream did not deliver within the grace period."""
        ...

    def record_confirmed(self, at: float) -> None:
        """Record that a scan which began then found nothing that the stream had not delivered."""
        ...


class RowComparison:
    """Compares pages and single rows, and keeps the rows that the stream may still deliver."""

    def __init__(
        self,
        compared: ComparedTable,
        reader: TableReader,
        watermark: Watermark,
        guard: DeletionGuard,
        *,
        grace: float,
        gap: Callable[[Gap], None],
        schedule_scans: Callable[[float], None],
        stream: StreamState,
    ) -> None:
        self._projection = compared.projection
        self._rows = compared.rows
        self._merger = compared.merger
        self._table = compared.table
        self._transaction = compared.transaction
        self._clock = compared.clock
        self._reader = reader
        self._watermark = watermark
        self._guard = guard
        self._grace = grace
        self._gap = gap
        self._schedule_scans = schedule_scans
        self._stream = stream
        self.pending = PendingRows()
        self.repaired = 0

    async def compare(self, scan: TableScan, records: Sequence[Record]) -> None:
        """Compare the rows of a page, in short steps of the loop."""
        for portion in portions(records, len(records) if scan.initial_load else ROWS_PER_STEP):
            if scan.initial_load:
                async with self._transaction() as merger:
                    for record in portion:
                        merger.load_initial(record)
            elif self._at_once(scan):
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

    def compare_keys(self, scan: TableScan, keys: Sequence[Key]) -> None:
        at_once = self._at_once(scan)
        for key in keys:
            if key not in self._rows:
                if at_once:
                    scan.unknown.append(key)
                else:
                    self._add_pending(scan, key, None)

    def leave_deleted(self, scan: TableScan, keys: Sequence[Key]) -> bool:
        """Leave rows that the scan did not meet to a stream without gaps, for the grace period.
        Return False if the stream may have lost their deletion.
        """
        if not self._exact or scan.at_once:
            return False
        for key in keys:
            self._add_pending(scan, key, None)
        return True

    async def read_rows(
        self, keys: Sequence[Key], *, unpublished: bool = False, missing: int | None = None
    ) -> None:
        """Read single rows and merge them. A row that is not found is deleted if the guard confirms
        it; otherwise `DeletionUnprovenError` is raised once the others are merged.

        `unpublished`: rows of an interrupted initial load; their deletion is not emitted.
        `missing`: number of known rows that the scan has not met.
        """
        confirmed = False
        while not confirmed:
            at = self._clock.monotonic()
            async with self._reader.read(ReadKind.ROWS, partial(self._table.rows, keys)) as records:
                found = {record[self._projection.key]: record for record in records}
                if unpublished:
                    await self._merge_unpublished(keys, found)
                    return
                gone = [key for key in keys if key not in found and self._unreported(key)]
                absent = set(gone)
                await self._merge([key for key in keys if key not in absent], found)
                confirmed = not gone or await self._guard.confirm(missing or len(gone), at)
                if confirmed:
                    await self._merge(gone, found)
            keys = gone

    def _unreported(self, key: Key) -> bool:
        """Return whether a row is known and the stream has not reported its deletion."""
        merger = self._merger
        return merger.state(key) is not None and not merger.reported_deleted(key)

    async def _merge(self, keys: Sequence[Key], found: Mapping[Key, Record]) -> None:
        """Merge the rows of the read in flight; those that are not found are deleted."""
        if not keys:
            return
        async with self._transaction() as merger:
            now, at = self._clock.monotonic(), clocks.timestamp(self._clock.wall())
            for key in keys:
                self.repaired += merger.apply_read(key, found.get(key), now, at)

    async def _merge_unpublished(self, keys: Sequence[Key], found: Mapping[Key, Record]) -> None:
        async with self._transaction() as merger:
            now, at = self._clock.monotonic(), clocks.timestamp(self._clock.wall())
            for key in keys:
                if key in found:
                    self.repaired += merger.apply_read(key, found[key], now, at)
                else:
                    merger.drop_initial(key)

    def none_missing(self) -> None:
        """Record that a scan has met or settled all known rows."""
        self._guard.settled()

    def confirm(self, scan: TableScan) -> None:
        """Record a complete scan as proof of life of the stream, unless it found differences."""
        if self._stream.live and not scan.found and scan.kind is not ScanKind.KEYS:
            self._stream.record_confirmed(scan.started)

    # -- pending rows -------------------------------------------------------------------------

    def _add_pending(self, scan: TableScan, key: Key, record: Record | None) -> None:
        scan.pending += 1
        self.pending.add(
            PendingRow(
                key,
                None if record is None else self._rows.encode(record),
                self._clock.monotonic() + self._grace,
                recent=scan.kind is ScanKind.RECENT,
                watermark=self._watermark.at,
                known=self._merger.state(key),
            )
        )

    def expire_pending(self) -> None:
        """Re-read pending rows that the stream has not delivered within the grace period, or will
        not, since it is not live.
        """
        now, oldest = self._clock.monotonic(), self.pending.oldest_watermark
        if not self._stream.live:
            now = float("inf")
        # A stream without gaps delivers what it has not passed yet, however far behind it is.
        now = min(now, self._stream.passed_at + self._grace)
        missed = []
        for pending in self.pending.pop_expired(now):
            if self._was_delivered(pending):
                continue
            self._schedule_scans(self._clock.monotonic())  # where one was missed, more may be
            if pending.recent:
                missed.append(pending.key)
            else:
                self._merger.request_reread(pending.key)
        if self._stream.live:
            self._stream.record_missed(len(missed))
        if len(missed) > MAX_MISSED_ROWS:
            self._watermark.rewind(oldest)
            self._gap(Gap(GapReason.MISSED_CHANGES, f"{len(missed)} rows"))
            log.warning("the stream is live but has not delivered %d changed rows", len(missed))
        else:
            for key in missed:
                self._merger.request_reread(key)

    def _was_delivered(self, pending: PendingRow) -> bool:
        """Return whether the stream has delivered what a scan found, or something newer."""
        state = self._merger.state(pending.key)
        if self._exact:
            return state != pending.known
        return state is not None if pending.row is None else state == pending.row

    @property
    def _exact(self) -> bool:
        """Whether the stream has no gaps, and shows how far it is."""
        return self._stream.passed_at < float("inf")

    def _at_once(self, scan: TableScan) -> bool:
        """Return whether findings are emitted without a grace period for the stream, after which
        their rows would have to be read again.
        """
        if self._exact:
            return scan.at_once
        unread = self._reader.fails(ReadKind.ROWS)
        return scan.at_once or unread or self.pending.full or not self._stream.live

    def pending_full(self, scan: TableScan) -> bool:
        """Return whether a scan ends early, so that the stream can deliver its findings."""
        if scan.at_once or not self.pending.full:
            return False
        return self._exact or scan.kind is ScanKind.RECENT


def portions(records: Iterable[Record], size: int) -> Iterator[list[Record]]:
    """Yield `records` in lists of at most `size`."""
    rest = iter(records)
    while portion := list(islice(rest, size)):
        yield portion
