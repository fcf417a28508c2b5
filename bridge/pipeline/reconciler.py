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
from bridge.pipeline.pending_rows import Suspect, Suspects
from bridge.pipeline.scan_scheduler import Agenda
from bridge.pipeline.table_reader import Reading
from bridge.pipeline.table_scan import Kind, Walk
from bridge.pipeline.watermark import EVER, Cursor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from bridge.changes import Json, Key, Record
    from bridge.clock import Clock
    from bridge.pipeline.merger import Ledger
    from bridge.projection import Projection
    from bridge.rows import Rows
    from bridge.settings import Settings
    from bridge.source.base import Table

log = logging.getLogger(__name__)

KEYS_PER_READ = 100
"""Keys in one read of single rows: they travel in the URL, whose length is limited."""

ROWS_AT_ONCE = 256
"""Rows that are compared in one step of the loop: 1 ms where they are as they were told, 8 ms where
all of them have changed."""

LOST_AT_ONCE = 200
"""Rows that the stream is found not to have told at one time; more are a gap. Fewer are read one by
one, in two reads."""

MANY_RECENT = 1000
"""Recent rows that every look may read again; past it the cursor follows the time, which relies on
a table whose clock goes as fast as ours."""

REPORT_SECONDS = 10.0
"""Between two lines in the log about a walk under way."""

KEEP_SECONDS = 5.0
"""Between two times at which the cursor is stored: a restart reads so much more."""


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
        self._agenda = Agenda(settings)
        self._suspects = Suspects()
        self._cursor = Cursor()
        self._kept = Progress()
        self._keep_due = 0.0
        self._newest: Json = None
        self.first_pass_done = asyncio.Event()
        self.repaired = 0

    @property
    def error(self) -> str | None:
        """Why the table can't be read at present."""
        return self._reading.error

    @property
    def passes(self) -> int:
        """How often what a gap made doubtful was looked for to the end."""
        return self._agenda.passes

    @property
    def passing(self) -> bool:
        """Whether what the stream missed is being looked for, or about to be."""
        return self._agenda.catching_up

    @property
    def activity(self) -> str:
        """For people."""
        walk = self._agenda.walking
        if walk is not None:
            return walk.doing(len(self._rows))
        return "watching" if self.passes else "waiting"

    # -- what the pipeline says ---------------------------------------------------------------

    def resume(self, progress: Progress) -> None:
        """Go on from what the log has stored."""
        self._kept = progress
        if progress.filled and self._projection.updated_at:
            self._cursor.resume(progress.cursor)

    def gap(self, gap: Gap, *, fill: bool = False) -> None:
        """Something may be missing: look for it as soon as the read in flight is over."""
        self._agenda.gap(gap, fill=fill)
        self._wake.set()

    def look(self) -> None:
        """The ledger may have doubts."""
        if self._ledger.doubts:
            self._wake.set()

    # -- the loop -----------------------------------------------------------------------------

    async def run(self) -> None:
        while True:
            self._wake.clear()
            self._ledger.expire(self._clock.monotonic())
            self._give_up_waiting()
            settled = await self._settle()
            walk = self._agenda.next(
                self._clock.monotonic(), rows=len(self._rows), since=self._since()
            )
            if walk is not None:
                await self._step(walk)
            elif not settled:
                await self._sleep()
            await self._keep_cursor()

    async def _sleep(self) -> None:
        now = self._clock.monotonic()
        due = min(self._agenda.due(), self._suspects.due, now + 60)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, due - now)):
                await self._wake.wait()

    async def _settle(self) -> bool:
        """Read some of the rows in doubt. False: there are none."""
        keys = self._ledger.unread(KEYS_PER_READ)
        if keys:
            await self._read_rows(keys)
        return bool(keys)

    async def _step(self, walk: Walk) -> None:
        before, began = self.repaired, self._clock.monotonic()
        if not walk.begun:
            await self._begin(walk)
            return
        if walk.unknown:
            keys, walk.unknown = walk.unknown[:KEYS_PER_READ], walk.unknown[KEYS_PER_READ:]
            await self._read_rows(keys)
        elif not walk.ended:
            await self._page(walk)
        elif walk.unseen is None or (gone := walk.unseen.take(self._rows, KEYS_PER_READ)) is None:
            await self._end(walk)
            return
        elif gone:
            # What a walk did not meet is gone only if a direct read says so.
            await self._read_rows(gone, forget=walk.fill)
        now = self._clock.monotonic()
        walk.repaired += self.repaired - before
        self._agenda.stepped(walk, now - began, now)
        if now >= walk.report_due:
            walk.report_due = now + REPORT_SECONDS
            log.info("%s, %s", walk.doing(len(self._rows)), walk.found_so_far)

    # -- a walk -------------------------------------------------------------------------------

    async def _begin(self, walk: Walk) -> None:
        now = self._clock.monotonic()
        walk.begun = True
        walk.started, walk.wall = now, self._clock.wall()
        walk.report_due = now + REPORT_SECONDS
        if walk.kind is Kind.RECENT:
            walk.since = walk.since or EVER
        if walk.catches_up:
            log.info("%s begins, %d rows are known", walk.name, len(self._rows))
        if walk.at_once and walk.kind is not Kind.KEYS and self._projection.updated_at:
            # As it is now, since rows that have been read may change before the walk is over.
            async with self._reading.read(self._table.newest) as newest:
                walk.newest = self._newest = self._time_of(newest)
                if newest is None and self._cursor.at is None:
                    self._cursor.at = EVER  # whatever comes is later
        if walk.unseen is not None:
            for _ in walk.unseen.gather(self._rows):
                await asyncio.sleep(0)

    async def _page(self, walk: Walk) -> None:
        limit = self._settings.page_rows
        if walk.kind is Kind.KEYS:
            async with self._reading.read(partial(self._table.keys, walk.after, limit)) as keys:
                self._compare_keys(walk, keys)
        elif walk.kind is Kind.RECENT and self._crowded(walk):
            walk.ended = True
            return
        else:
            async with self._reading.read(self._rows_of(walk, limit)) as records:
                await self._compare(walk, records)
            keys = [record[self._projection.key] for record in records]
            if walk.kind is Kind.RECENT and records:
                walk.since = self._time_of(records[-1])
        if keys:
            walk.after = keys[-1]
        if walk.unseen is not None:
            walk.unseen.met(keys)
        walk.took(len(keys))

    async def _end(self, walk: Walk) -> None:
        if walk.fill:
            self._ledger.filled(self._clock.monotonic())
        if walk.at_once and walk.kind is not Kind.KEYS:
            self._cursor.reached(walk.newest, walk.wall)
        elif walk.kind is Kind.RECENT:
            self._cursor.reached(walk.since, walk.wall)
            if walk.read > MANY_RECENT:
                self._cursor.rested(walk.since, walk.wall, walk.started, self._clock.monotonic())
            await self._look_at_newest()
        now, passes = self._clock.monotonic(), self.passes
        self._agenda.done(walk, now)
        loud = walk.catches_up or walk.found or now - walk.started > REPORT_SECONDS
        log.log(logging.INFO if loud else logging.DEBUG, walk.done(now))
        if walk.fill:
            await self._keep_now(Progress(filled=True, cursor=self._cursor.at))
        elif self.passes > passes:
            self._keep_due = 0.0
        # A restart knows the rows from before, and has told now what `updated_at` shows; what is
        # gone is found by the keys, which in a large table nobody has to wait for.
        if self.passes > passes or (walk.catches_up and walk.kind is Kind.RECENT):
            self.first_pass_done.set()

    # -- comparing ----------------------------------------------------------------------------

    async def _compare(self, walk: Walk, records: Sequence[Record]) -> None:
        """What a page showed, in short steps of the loop."""
        for some in portions(records, len(records) if walk.fill else ROWS_AT_ONCE):
            if walk.fill:
                async with self._turn() as ledger:
                    for record in some:
                        ledger.fill(record)
            elif walk.at_once or self._suspects.full:
                async with self._turn() as ledger:
                    now, at = self._clock.monotonic(), clocks.timestamp(self._clock.wall())
                    for record in some:
                        key = record[self._projection.key]
                        self.repaired += ledger.observe(key, record, now, at)
            else:
                for record in some:
                    if self._ledger.differs(record):
                        self._suspect(walk, record[self._projection.key], record)
            await asyncio.sleep(0)

    def _compare_keys(self, walk: Walk, keys: Sequence[Key]) -> None:
        at_once = walk.at_once or self._suspects.full
        for key in keys:
            if key not in self._rows:
                if at_once:
                    walk.unknown.append(key)
                else:
                    self._suspect(walk, key, None)

    async def _read_rows(self, keys: Sequence[Key], *, forget: bool = False) -> None:
        """Read single rows, and tell them. `forget`: those that are gone were never told."""
        async with self._reading.read(partial(self._table.rows, keys)) as records:
            found = {record[self._projection.key]: record for record in records}
            async with self._turn() as ledger:
                now, at = self._clock.monotonic(), clocks.timestamp(self._clock.wall())
                for key in keys:
                    if forget and key not in found:
                        ledger.forget(key)
                    else:
                        self.repaired += ledger.observe(key, found.get(key), now, at)

    # -- waiting for the stream ---------------------------------------------------------------

    def _suspect(self, walk: Walk, key: Key, record: Record | None) -> None:
        walk.suspected += 1
        self._suspects.add(
            Suspect(
                key,
                None if record is None else self._rows.encode(record),
                self._clock.monotonic() + self._settings.watch_grace,
                lost=walk.kind is Kind.RECENT,
                floor=self._cursor.at,
            )
        )

    def _give_up_waiting(self) -> None:
        """Rows that the table showed changed and that the stream has not told for too long."""
        now, floor = self._clock.monotonic(), self._suspects.floor
        lost = []
        for suspect in self._suspects.overdue(now):
            state = self._ledger.state(suspect.key)
            if state is not None if suspect.row is None else state == suspect.row:
                continue
            self._agenda.sweep(now)  # where one was lost, more may be
            if suspect.lost:
                lost.append(suspect.key)
            else:
                self._ledger.suspect(suspect.key)
        if len(lost) > LOST_AT_ONCE:
            self._cursor.back(floor)
            self.gap(Gap(GapReason.LOST, f"{len(lost)} rows"))
            log.warning("the stream goes on, but has not told of %d rows", len(lost))
        else:
            for key in lost:
                self._ledger.suspect(key)

    def _crowded(self, walk: Walk) -> bool:
        """Whether a look has found so many rows that the stream must be given time to tell them."""
        return not walk.at_once and self._suspects.full

    # -- the cursor ---------------------------------------------------------------------------

    def _since(self) -> str | None:
        """Where recent rows begin: what waits for the stream has not been told yet."""
        return self._suspects.floor or self._cursor.at

    async def _keep_cursor(self) -> None:
        """Store the cursor now and then. Not while there are doubts: they are not told either."""
        at = self._since()
        if not self._kept.filled or self._ledger.doubts or at == self._kept.cursor:
            return
        if self._clock.monotonic() >= self._keep_due:
            await self._keep_now(Progress(filled=True, cursor=at))

    async def _keep_now(self, progress: Progress) -> None:
        self._kept = progress
        self._keep_due = self._clock.monotonic() + KEEP_SECONDS
        await self._keep(progress)

    async def _look_at_newest(self) -> None:
        """A newest row that is older than before, or none at all: rows went away. The stream tells
        ordinary deletes, but never TRUNCATE; a walk over the keys finds out.
        """
        async with self._reading.read(self._table.newest) as newest:
            pass
        at, now = self._time_of(newest), self._clock.monotonic()
        if newest is None and len(self._rows):
            self._agenda.sweep(now)
        elif at is not None and self._newest is not None and at < self._newest:
            self._agenda.sweep(now + self._settings.watch_grace)
        self._newest = at

    # -- pieces -------------------------------------------------------------------------------

    def _rows_of(self, walk: Walk, limit: int) -> Callable[[], Awaitable[Sequence[Record]]]:
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
