"""The one loop: source items in, log entries out."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from bridge.changes import Change, Gap, GapReason
from bridge.clock import SystemClock
from bridge.pipeline.merger import ChangeMerger
from bridge.pipeline.reconciler import Reconciler
from bridge.rows import RowStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from bridge.changes import Json, Key, Record
    from bridge.clock import Clock
    from bridge.events import Event
    from bridge.log.base import Entry, EventLog, Progress
    from bridge.projection import Projection
    from bridge.settings import Settings
    from bridge.source.base import Table
    from bridge.source.change_queue import ChangeQueue

    Expand: TypeAlias = Callable[[Sequence[Event], Callable[[Key], Record | None]], Sequence[Event]]
    Follow: TypeAlias = Callable[[Iterable[tuple[Key, Mapping[str, Json] | None]]], None]

log = logging.getLogger(__name__)

MAX_CHANGES_PER_COMMIT = 256
"""Changes that are decided, stored and told together at the most: a turn holds the loop for about
as many times 30 µs."""


@dataclass(frozen=True, slots=True)
class PipelineStatus:
    """A look at the pipeline."""

    reconciled: bool  # the first pass over the table is done
    scanning: bool  # a pass looks for what the stream missed
    rows: int
    pending_rereads: int  # rows that wait for a read
    counts: dict[str, int]  # events by name; those that only members are told by themselves
    activity: str
    error: str | None  # why the table can't be read at present


class Pipeline:
    """Takes items from `inbox`, decides what they change, stores it, and hands the entries on."""

    def __init__(
        self,
        *,
        projection: Projection,
        table: Table,
        log: EventLog,
        inbox: ChangeQueue,
        publish: Callable[[Sequence[Entry]], None],
        settings: Settings,
        clock: Clock | None = None,
        expand: Expand | None = None,
        follow: Follow | None = None,
    ) -> None:
        """`publish` gets entries once they are stored, in order, and must not block.

        `expand` may put further events between those that were decided; all are stored together. It
        also gets a way to the public columns of the rows that they leave behind. `follow` gets
        every row that becomes known, None where it is gone, in the step in which it does; that is
        more than what is told, since the first picture of the table tells nothing. Neither may
        raise or block.
        """
        self._projection = projection
        self._expand = expand
        self._follow = follow
        self._log = log
        self._inbox = inbox
        self._publish = publish
        self._clock = clock or SystemClock()
        self._lock = asyncio.Lock()
        self._counts: Counter[str] = Counter()
        self.rows = RowStore(projection.known)
        self._ledger = ChangeMerger(projection, self.rows)
        self._reconciler = Reconciler(
            projection=projection,
            rows=self.rows,
            ledger=self._ledger,
            table=table,
            turn=self._transaction,
            keep=self._keep,
            settings=settings,
            clock=self._clock,
        )

    def status(self) -> PipelineStatus:
        reconciler = self._reconciler
        return PipelineStatus(
            reconciled=reconciler.first_scan_done.is_set(),
            scanning=reconciler.scanning,
            rows=len(self.rows),
            pending_rereads=self._ledger.pending_rereads,
            counts={
                **self._counts,
                "repaired": reconciler.repaired,
                "passes": reconciler.completed_scans,
                "dropped": self._inbox.dropped,
            },
            activity=reconciler.activity,
            error=reconciler.error,
        )

    async def load(self) -> None:
        """Take the known rows from the log, which is open."""
        async for rows in self._log.rows():
            self.rows.load(rows)
            self._followed(rows)

    async def run(self) -> None:
        """Run for ever, from the rows that were loaded. Raises only what makes going on impossible
        (the log can't be written).
        """
        self._reconciler.resume(self._log.progress)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._reconciler.run(), name="reconcile")
            tasks.create_task(self._pump(), name="pump")

    async def reconciled(self) -> None:
        """Wait until the first pass over the table is done, and the known rows are all of it. After
        a restart with a large table, rows that went away meanwhile are known for a little longer.
        """
        await self._reconciler.first_scan_done.wait()

    async def _pump(self) -> None:
        filled = self._log.progress.loaded
        while True:
            items = await self._inbox.get_many(MAX_CHANGES_PER_COMMIT)
            if not filled:
                # Without a first picture of the table no change can be told truly: they wait.
                first = next((item for item in items if isinstance(item, Gap)), None)
                self._reconciler.gap(first or Gap(GapReason.SUBSCRIBED), fill=True)
                await self._reconciler.first_scan_done.wait()
                items = [item for item in items if item is not first]
                filled = True
            async with self._transaction() as ledger:
                now = self._clock.monotonic()
                for item in items:
                    if isinstance(item, Change):
                        ledger.apply_change(item, now)
                        self._counts["changes"] += 1
                    else:
                        self._gap(item)
            self._reconciler.check_rereads()

    def _gap(self, gap: Gap) -> None:
        self._counts["gaps"] += 1
        log.info("something may be missing: %s %s", gap.reason.value, gap.detail)
        self._reconciler.gap(gap)

    async def _keep(self, progress: Progress) -> None:
        async with self._lock:
            await self._log.append((), (), progress)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[ChangeMerger]:
        """The ledger, for one task at a time. What was decided in the block is stored, and only
        then becomes known and is told, in one step of the loop.
        """
        async with self._lock:
            yield self._ledger
            batch = self._ledger.take()
            if not batch:
                return
            events: Sequence[Event] = batch.events
            if self._expand is not None:
                events = self._expand(events, self._public)
            entries = await self._log.append(events, list(batch.rows.items()))
            self._ledger.stored()
            self._followed(batch.rows.items())
            for entry in entries:
                public = "public" in entry.event.views
                self._counts[entry.event.name if public else "member-events"] += 1
            self._publish(entries)

    def _public(self, key: Key) -> Record | None:
        row = self._ledger.state(key)
        if row is None:
            return None
        known = self.rows.decode(row)
        return {column: known[column] for column in self._projection.published if column in known}

    def _followed(self, rows: Iterable[tuple[Key, bytes | None]]) -> None:
        if self._follow is not None:
            self._follow((key, None if row is None else self.rows.decode(row)) for key, row in rows)
