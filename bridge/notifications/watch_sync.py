"""Keeps the index of watches equal to their table, for as long as the bridge runs.

A failure here never affects the listings: while the table can't be read, notifications are made
from the watches that are known, and if the watches' own log fails, everything is rebuilt.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential

from bridge.notifications.watch_index import Watch
from bridge.pipeline.pipeline import Pipeline
from bridge.rows import RowStore
from bridge.source.change_queue import ChangeQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractAsyncContextManager

    from tenacity import RetryCallState

    from bridge.log.base import EventLog, Progress, RowUpdate
    from bridge.notifications.notifier import Notifier, NotifierCounts
    from bridge.notifications.watch_index import WatchIndex
    from bridge.pipeline.merger import RowChangeSet
    from bridge.pipeline.pipeline import PipelineStatus
    from bridge.pipeline.reconciler import ReconcileOptions
    from bridge.projection import Projection
    from bridge.source.base import Source, SourceStatus, Table

log = logging.getLogger(__name__)

FIRST_RETRY_SECONDS: Final = 1.0
LONGEST_RETRY_SECONDS: Final = 60.0
"""Between attempts to follow the table; doubling. Outages of Supabase are handled by the source and
the pipeline, not here."""

LOADED_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class WatchSyncOptions:
    """`projection`: the table of watches. `queue_changes`: limit of its change queue."""

    projection: Projection
    reconcile: ReconcileOptions
    queue_changes: int


@dataclass(frozen=True, slots=True)
class WatchUpstream:
    """The table of watches, its source of changes, and the log that keeps its rows from one run to
    the next. All are open.
    """

    source: Source
    table: Table
    log: EventLog


class WatchSink:
    """Implements `pipeline.RowSink`: stores the rows in the log and updates the index of watches.
    There are no events.
    """

    def __init__(self, projection: Projection, log: EventLog, watches: WatchIndex) -> None:
        self.rows = RowStore(projection.known)
        self.counts: Counter[str] = Counter()
        self._log = log
        self._watches = watches

    @property
    def progress(self) -> Progress:
        return self._log.progress

    async def load(self) -> None:
        """Load the stored rows of the log."""
        async for rows in self._log.rows():
            self.rows.load(rows)
            self._index(rows)

    async def commit(self, changes: RowChangeSet, progress: Progress | None = None) -> None:
        await self._log.append((), list(changes.rows.items()), progress)
        self.rows.apply(changes.rows.items())
        self._index(changes.rows.items())

    async def store_progress(self, progress: Progress) -> None:
        await self._log.append((), (), progress)

    def _index(self, rows: Iterable[RowUpdate]) -> None:
        for key, row in rows:
            self._watches.set(key, None if row is None else Watch.of(self.rows.decode(row)))


@dataclass(frozen=True, slots=True)
class _Run:
    """One attempt to follow the table."""

    source: Source
    queue: ChangeQueue
    pipeline: Pipeline
    log: EventLog


@dataclass(frozen=True, slots=True)
class WatchSyncStatus:
    """The state of the synchronisation at one moment. `error`: why the table can't be followed at
    present, or None.
    """

    watches: int
    error: str | None
    source: SourceStatus | None
    pipeline: PipelineStatus | None
    counts: NotifierCounts


class WatchSync:
    """Follows the table of watches and updates `watches`; starts again after every failure."""

    def __init__(
        self,
        watches: WatchIndex,
        notifier: Notifier,
        connect: Callable[[], AbstractAsyncContextManager[WatchUpstream]],
        options: WatchSyncOptions,
    ) -> None:
        """`connect` opens the upstream and closes it at the end of the block."""
        self._watches = watches
        self._notifier = notifier
        self._connect = connect
        self._options = options
        self._run: _Run | None = None
        self._closing = AsyncExitStack()
        self._error: str | None = None

    def status(self) -> WatchSyncStatus:
        run = self._run
        pipeline = None if run is None else run.pipeline.status()
        source = None if run is None else run.source.status()
        error = self._error
        if run is not None and pipeline is not None and source is not None:
            error = run.log.error or pipeline.error or source.error or error
        return WatchSyncStatus(
            watches=len(self._watches),
            error=error,
            source=source,
            pipeline=pipeline,
            counts=self._notifier.counts(),
        )

    async def open(self) -> None:
        """Load the watches of an earlier run, before any event is made. Never raises: `run` tries
        again.
        """
        try:
            await self._begin()
        except Exception as error:  # noqa: BLE001 - the listings go on after any failure
            self._report(error)
            await self.close()

    async def run(self) -> None:
        """Follow the table until cancelled. Raises nothing."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(Exception),
            wait=wait_exponential(multiplier=FIRST_RETRY_SECONDS, max=LONGEST_RETRY_SECONDS),
            before_sleep=self._on_failure,
        ):
            with attempt:
                await self._follow()

    async def loaded(self) -> None:
        """Wait until the watches are known, from an earlier run or from the table."""
        while not self._loaded:  # noqa: ASYNC110 - several events would do
            await asyncio.sleep(LOADED_POLL_SECONDS)

    @property
    def _loaded(self) -> bool:
        run = self._run
        return run is not None and (run.log.progress.loaded or run.pipeline.status().reconciled)

    async def close(self) -> None:
        self._run = None
        await self._closing.aclose()

    async def _begin(self) -> _Run:
        upstream = await self._closing.enter_async_context(self._connect())
        options = self._options
        sink = WatchSink(options.projection, upstream.log, self._watches)
        await sink.load()
        queue = ChangeQueue(options.queue_changes)
        queue.stored = upstream.log.progress.stream
        pipeline = Pipeline(
            projection=options.projection,
            table=upstream.table,
            queue=queue,
            sink=sink,
            options=options.reconcile,
        )
        self._run = _Run(upstream.source, queue, pipeline, upstream.log)
        self._error = None
        return self._run

    async def _follow(self) -> None:
        run = self._run or await self._begin()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(run.source.run(run.queue), name="source of watches")
                tasks.create_task(run.pipeline.run(), name="pipeline of watches")
                tasks.create_task(self._remove_stale(run.pipeline), name="remove stale watches")
        finally:
            await self.close()

    async def _remove_stale(self, pipeline: Pipeline) -> None:
        """Remove watches of an earlier attempt that are not in the table any more, once this one
        has scanned all of it: its row changes do not include their deletion.
        """
        await pipeline.reconciled()
        for key in [key for key in self._watches if key not in pipeline.rows]:
            self._watches.set(key, None)

    def _on_failure(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        assert error is not None
        self._report(error)

    def _report(self, error: BaseException) -> None:
        cause = error
        while isinstance(cause, BaseExceptionGroup) and len(cause.exceptions) == 1:
            cause = cause.exceptions[0]
        self._error = str(cause) or type(cause).__name__
        log.error(
            "the table of watches can't be followed, notifications are made from the %d watches "
            "that are known: %s",
            len(self._watches),
            self._error,
            exc_info=cause,
        )
