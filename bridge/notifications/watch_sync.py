"""The table of watches, followed live as the listings are, for as long as the bridge runs.

Whatever becomes of it, the listings go on: while it can't be read, the watches that are known count
on, and where its own log fails all of it is built anew.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential

from bridge.notifications.watch_index import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractAsyncContextManager

    from tenacity import RetryCallState

    from bridge.changes import Key, Record
    from bridge.log.base import EventLog
    from bridge.notifications.notifier import Notifier, NotifierCounts
    from bridge.notifications.watch_index import WatchIndex
    from bridge.pipeline.pipeline import Pipeline, PipelineStatus
    from bridge.source.base import Source, SourceStatus
    from bridge.source.change_queue import ChangeQueue

log = logging.getLogger(__name__)

FIRST_RETRY_SECONDS: Final = 1.0
LONGEST_RETRY_SECONDS: Final = 60.0
"""Between attempts to follow the table; doubling. Outages of Supabase are mended inside one."""


@dataclass(frozen=True, slots=True)
class TableFollower:
    """What follows the table, open: a source, a pipeline, and the log in which its rows are kept
    from one start to the next.
    """

    source: Source
    inbox: ChangeQueue
    pipeline: Pipeline
    log: EventLog


@dataclass(frozen=True, slots=True)
class WatchSyncStatus:
    """A look. `error`: why the table is not followed at present, None while it is."""

    watches: int
    error: str | None
    source: SourceStatus | None
    pipeline: PipelineStatus | None
    counts: NotifierCounts


class WatchSync:
    def __init__(
        self,
        watches: WatchIndex,
        notifier: Notifier,
        build: Callable[[WatchSync], AbstractAsyncContextManager[TableFollower]],
    ) -> None:
        """`build` gives an open line whose pipeline hands its rows to `follow`."""
        self._watches = watches
        self._notifier = notifier
        self._build = build
        self._line: TableFollower | None = None
        self._closing = AsyncExitStack()
        self._error: str | None = None

    def status(self) -> WatchSyncStatus:
        line = self._line
        pipeline = None if line is None else line.pipeline.status()
        source = None if line is None else line.source.status()
        error = self._error
        if line is not None and pipeline is not None and source is not None:
            error = line.log.error or pipeline.error or source.error or error
        return WatchSyncStatus(
            watches=len(self._watches),
            error=error,
            source=source,
            pipeline=pipeline,
            counts=self._notifier.counts(),
        )

    def follow(self, rows: Iterable[tuple[Key, Record | None]]) -> None:
        """What the pipeline has come to know of the table."""
        for key, record in rows:
            self._watches.set(key, None if record is None else Watch.of(record))

    async def open(self) -> None:
        """Take up the watches that were known last, before anything is told of. Never raises: `run`
        tries again.
        """
        try:
            await self._begin()
        except Exception as error:  # noqa: BLE001 - whatever it is, the listings go on
            self._report(error)
            await self.close()

    async def run(self) -> None:
        """Follow the table, for ever. Raises nothing."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(Exception),
            wait=wait_exponential(multiplier=FIRST_RETRY_SECONDS, max=LONGEST_RETRY_SECONDS),
            before_sleep=self._failed,
        ):
            with attempt:
                await self._live()

    async def close(self) -> None:
        self._line = None
        await self._closing.aclose()

    async def _begin(self) -> TableFollower:
        self._line = await self._closing.enter_async_context(self._build(self))
        self._error = None
        return self._line

    async def _live(self) -> None:
        line = self._line or await self._begin()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(line.source.run(line.inbox), name="source of watches")
                tasks.create_task(line.pipeline.run(), name="pipeline of watches")
                tasks.create_task(self._forget(line.pipeline), name="forget watches")
        finally:
            await self.close()

    async def _forget(self, pipeline: Pipeline) -> None:
        """What an earlier line knew and this one does not, once it has seen the whole table: nobody
        else would ever take it away.
        """
        await pipeline.reconciled()
        for key in [key for key in self._watches if key not in pipeline.rows]:
            self._watches.set(key, None)

    def _failed(self, state: RetryCallState) -> None:
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
