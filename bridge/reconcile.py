"""Comparing the table with what was told, and having the ledger tell the difference.

Four kinds of reads, one at a time, the first that is due:

- a **pass** over all rows after every `Gap`: what the stream missed is told as ordinary events;
- **doubts**: single rows that only a read can settle, read at once;
- **recent** rows, every few seconds: what changed lately and was not told within the stream's
  usual lag was lost, and is told;
- a **sweep** over all keys, more rarely and at a gentle pace: deletes and TRUNCATE, of which the
  stream says nothing.

The stream flows on meanwhile; `ledger` says why this is safe.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from bridge import clock as clocks
from bridge.changes import Gap, GapReason
from bridge.log.base import Progress
from bridge.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from contextlib import AbstractAsyncContextManager

    from bridge.changes import Json, Key, Record
    from bridge.clock import Clock
    from bridge.ledger import Ledger
    from bridge.projection import Projection
    from bridge.rows import Rows
    from bridge.settings import Settings
    from bridge.source.base import Table

log = logging.getLogger(__name__)

KEYS_PER_READ = 100
"""Keys in one read of single rows: they travel in the URL, whose length is limited."""

RECENT_OVERLAP_SECONDS = 10.0
"""How far back a look at recent rows goes behind the newest one it saw: `updated_at` is often the
start of a transaction, and rows become visible at its end."""

SWEEP_SHARE = 0.2
"""The share of time in which a sweep may keep the database busy."""


class Reconciler:
    def __init__(
        self,
        *,
        projection: Projection,
        rows: Rows,
        ledger: Ledger,
        table: Table,
        turn: Callable[[], AbstractAsyncContextManager[Ledger]],
        keep: Callable[[Progress], Awaitable[None]],
        settings: Settings,
        clock: Clock,
    ) -> None:
        """`turn` gives the ledger to one task at a time, and stores and tells what was decided.
        `keep` stores progress.
        """
        self._projection = projection
        self._rows = rows
        self._ledger = ledger
        self._table = table
        self._reading = Reading(ledger)
        self._turn = turn
        self._keep = keep
        self._settings = settings
        self._clock = clock
        self._wake = asyncio.Event()
        self._gap: Gap | None = None
        self._fill = False
        self._suspects: dict[Key, tuple[float, Record | None]] = {}
        self._cursor: str | None = None
        self._newest: Json = None
        self._recent_due = self._sweep_due = float("inf")
        self.first_pass_done = asyncio.Event()
        self.repaired = 0
        self.passes = 0
        self.passing = False
        """Whether a pass looks for what the stream missed, or is due."""
        self.activity = "waiting"

    @property
    def error(self) -> str | None:
        """Why the table can't be read at present."""
        return self._reading.error

    # -- what the pipeline says ---------------------------------------------------------------

    def gap(self, gap: Gap, *, fill: bool = False) -> None:
        """Something may be missing: pass over the table as soon as the read in flight is over."""
        self._gap = gap
        self._fill = fill
        self.passing = self.passing or gap.reason is not GapReason.ROUTINE
        self._wake.set()

    def look(self) -> None:
        """The ledger may have doubts."""
        if self._ledger.doubts:
            self._wake.set()

    # -- the loop -----------------------------------------------------------------------------

    async def run(self) -> None:
        while True:
            self._wake.clear()
            now = self._clock.monotonic()
            self._ledger.expire(now)
            self._suspect_overdue(now)
            if self._gap is not None:
                await self._pass()
            elif self._ledger.doubts:
                await self._settle()
            elif now >= self._recent_due:
                await self._recent()
            elif now >= self._sweep_due:
                await self._sweep()
            else:
                self.activity = "watching" if self.passes else "waiting"
                await self._sleep(now)

    async def _sleep(self, now: float) -> None:
        due = min(
            self._recent_due,
            self._sweep_due,
            *(deadline for deadline, _ in self._suspects.values()),
            now + 60,
        )
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, due - now)):
                await self._wake.wait()

    # -- the four reads -----------------------------------------------------------------------

    async def _pass(self) -> None:
        gap, fill = self._gap, self._fill
        self._gap, self._fill = None, False
        assert gap is not None
        self.passing = gap.reason is not GapReason.ROUTINE
        started = self._clock.monotonic()
        before = self.repaired
        seen: set[Key] = set()
        after: Key | None = None
        while True:
            self.activity = f"pass over the table ({gap.reason.value}): {len(seen)} rows read"
            page = partial(self._table.page, after, self._settings.page_rows)
            async with self._reading.read(page) as records:
                if not records:
                    break
                async with self._turn() as ledger:
                    if fill:
                        for record in records:
                            ledger.fill(record)
                    else:
                        self._observe(ledger, records)
            seen.update(record[self._projection.key] for record in records)
            after = records[-1][self._projection.key]
            await self._settle()
        if fill:
            self._ledger.filled(self._clock.monotonic())
        await self._confirm_gone(seen)
        if fill:
            await self._keep(Progress(filled=True))
        self.passes += 1
        self.passing = self.passing and self._gap_waits()
        now = self._clock.monotonic()
        if self._projection.updated_at:
            await self._start_cursor()
            self._recent_due = now + self._settings.watch_interval
        self._sweep_due = now + self._settings.sweep_interval
        self.first_pass_done.set()
        log.info(
            "pass over the table (%s): %d rows, %s, %.2f s",
            gap.reason.value,
            len(seen),
            "remembered" if fill else f"{self.repaired - before} repaired",
            now - started,
        )

    def _gap_waits(self) -> bool:
        return self._gap is not None

    async def _settle(self) -> None:
        """Read the rows in doubt until there are none."""
        while keys := self._ledger.unread(KEYS_PER_READ):
            await self._read_rows(keys)

    async def _recent(self) -> None:
        self.activity = "reading recent rows"
        column = self._projection.updated_at
        assert column is not None
        now = self._clock.monotonic()
        if self._cursor is None:
            await self._start_cursor()
        since, after = self._cursor, None
        while since is not None:
            page = partial(self._table.recent, since, after, self._settings.page_rows)
            async with self._reading.read(page) as records:
                for record in records:
                    key = record[self._projection.key]
                    if self._ledger.differs(record):
                        self._suspects.setdefault(key, (now + self._settings.watch_grace, record))
            if not records:
                break
            since, after = records[-1][column], records[-1][self._projection.key]
        self._cursor = self._before(since)
        await self._look_at_newest()
        self._recent_due = self._clock.monotonic() + self._settings.watch_interval

    async def _sweep(self) -> None:
        if not self._projection.updated_at:
            # Nothing cheaper finds an update that was lost.
            self.gap(Gap(GapReason.ROUTINE))
            return
        started = self._clock.monotonic()
        seen: set[Key] = set()
        after: Key | None = None
        while self._gap is None:
            self.activity = f"sweep over the keys: {len(seen)} read"
            page_started = self._clock.monotonic()
            page = partial(self._table.keys, after, self._settings.page_rows)
            async with self._reading.read(page) as keys:
                pass
            if not keys:
                break
            now = self._clock.monotonic()
            for key in keys:
                if key not in self._rows:
                    self._suspects.setdefault(key, (now + self._settings.watch_grace, None))
            seen.update(keys)
            after = keys[-1]
            await self._settle()
            await asyncio.sleep((now - page_started) * (1 / SWEEP_SHARE - 1))
        else:
            return  # a pass is due, which finds more than a sweep
        await self._confirm_gone(seen)
        now = self._clock.monotonic()
        self._sweep_due = now + max(self._settings.sweep_interval, (now - started) / SWEEP_SHARE)

    # -- pieces -------------------------------------------------------------------------------

    async def _confirm_gone(self, seen: set[Key]) -> None:
        """Known rows that a pass did not see are gone only if a direct read says so."""
        missing = [key for key in self._rows if key not in seen]
        for start in range(0, len(missing), KEYS_PER_READ):
            await self._read_rows(missing[start : start + KEYS_PER_READ])

    async def _read_rows(self, keys: Sequence[Key]) -> None:
        async with self._reading.read(partial(self._table.rows, keys)) as records:
            found = {record[self._projection.key]: record for record in records}
            async with self._turn() as ledger:
                now, at = self._clock.monotonic(), clocks.timestamp(self._clock.wall())
                for key in keys:
                    self.repaired += ledger.observe(key, found.get(key), now, at)

    def _observe(self, ledger: Ledger, records: Iterable[Record]) -> None:
        now, at = self._clock.monotonic(), clocks.timestamp(self._clock.wall())
        for record in records:
            key = record[self._projection.key]
            self.repaired += ledger.observe(key, record, now, at)

    def _suspect_overdue(self, now: float) -> None:
        """Rows that the table showed changed and that the stream has not told for too long."""
        for key, (deadline, record) in list(self._suspects.items()):
            if deadline > now:
                break  # in the order in which they were put, with one grace for all
            del self._suspects[key]
            if key not in self._rows if record is None else self._ledger.differs(record):
                self._ledger.suspect(key)
                self._sweep_due = min(self._sweep_due, now)  # where one was lost, more may be

    async def _start_cursor(self) -> None:
        async with self._reading.read(self._table.newest) as newest:
            if newest is not None and self._projection.updated_at:
                self._newest = newest[self._projection.updated_at]
                self._cursor = self._before(self._newest)

    async def _look_at_newest(self) -> None:
        """A newest row that is older than before, or none at all: rows went away. The stream tells
        ordinary deletes, but never TRUNCATE; the sweep finds out.
        """
        async with self._reading.read(self._table.newest) as newest:
            pass
        column = self._projection.updated_at
        at = newest[column] if newest is not None and column else None
        now = self._clock.monotonic()
        if at is None and len(self._rows):
            self._sweep_due = now
        elif at is not None and self._newest is not None and at < self._newest:
            self._sweep_due = min(self._sweep_due, now + self._settings.watch_grace)
        self._newest = at

    def _before(self, timestamp: Json) -> str | None:
        """Where the next look at recent rows begins: a little before `timestamp`, and never in the
        future, which a row with a wrong date may claim to be from.
        """
        at = clocks.unix(timestamp) if isinstance(timestamp, str) else None
        if at is None:
            return None
        return clocks.timestamp(min(at, self._clock.wall()) - RECENT_OVERLAP_SECONDS)
