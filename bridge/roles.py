"""The two roles of a process: `Ingest` follows the table, `Serve` serves clients.

The log is all that connects them: `Ingest` appends, `Serve` follows. Of the processes that share a
log each serves clients, and the leader (`leadership`) also follows the table.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from bridge.changes import Gap, GapReason
from bridge.clock import SystemClock
from bridge.gateway.build import build_gateway
from bridge.log.backends import create_backend
from bridge.notifications.notifier import Notifier
from bridge.notifications.watch_index import WatchIndex
from bridge.notifications.watch_sync import WatchSync, WatchUpstream
from bridge.options import (
    authenticator,
    gateway_options,
    notifier_options,
    reconcile_options,
    source_options,
    watch_log_options,
    watch_projection,
    watch_sync_options,
)
from bridge.pipeline.event_sink import EventSink
from bridge.pipeline.pipeline import Pipeline
from bridge.source.change_queue import ChangeQueue
from bridge.source.factory import create_source, create_table
from bridge.upstream import UpstreamReport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Coroutine
    from contextlib import AbstractAsyncContextManager

    from bridge.gateway.gateway import Gateway
    from bridge.gateway.presence import Presence
    from bridge.gateway.upstream_status import UpstreamState
    from bridge.log.backends import LogBackend
    from bridge.log.base import EventLog
    from bridge.replica import Replica
    from bridge.settings import Settings
    from bridge.source.base import Source, Table

log = logging.getLogger(__name__)

WATCHES_SECONDS: Final = 5.0
"""How long a process that takes over waits for the watches before it emits what was missed."""


@dataclass(frozen=True, slots=True)
class Ingest:
    """The role that follows the table and appends to the log. One process at a time has it.

    `watchers` is None if notifications are off.
    """

    source: Source
    queue: ChangeQueue
    pipeline: Pipeline
    watchers: WatchSync | None
    takes_over: bool
    """Whether changes that another process missed have to be notified, too."""

    def report(self) -> UpstreamReport:
        watchers = self.watchers
        return UpstreamReport(
            self.source.status(),
            self.pipeline.status(),
            None if watchers is None else watchers.status(),
        )

    def tasks(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Return what runs until cancelled, by name."""
        tasks = {"source": self.source.run(self.queue), "pipeline": self._run_pipeline()}
        if self.watchers is not None:
            tasks["watchers"] = self.watchers.run()
        return tasks

    async def _run_pipeline(self) -> None:
        if self.takes_over and self.watchers is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(WATCHES_SECONDS):
                    await self.watchers.loaded()
        await self.pipeline.run()


@dataclass(frozen=True, slots=True)
class Serve:
    """The role that serves clients. It receives what they are sent from `replica` alone, which
    follows the log.
    """

    replica: Replica
    gateway: Gateway

    def tasks(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Return what runs until cancelled, by name."""
        return {"replica": self.replica.run(), "gateway": self.gateway.run()}


async def open_ingest(
    settings: Settings,
    backend: LogBackend,
    replica: Replica,
    present: Collection[str],
    closing: AsyncExitStack,
    *,
    source: Source | None,
    table: Table | None,
    watching: tuple[Source, Table] | None,
) -> Ingest:
    """Open the parts that follow the table; `closing` closes them. `replica` shares its rows with
    the pipeline, so that they are kept once. `present`: the users that can be notified. `source`,
    `table` and `watching` replace Supabase.
    """
    options = source_options(settings)
    table = await _open_table(table or create_table(options), closing)
    await _forget_position(settings, backend.log)
    watches = WatchIndex()
    notifier = Notifier(notifier_options(settings), watches, present=present, clock=SystemClock())
    watch_upstream = partial(_watch_upstream, settings, watching)
    watchers = await _open_watchers(settings, watches, notifier, watch_upstream, closing)
    pipeline = Pipeline(
        projection=settings.projection,
        table=table,
        queue=(queue := ChangeQueue(settings.queue_changes)),
        sink=EventSink(
            settings.projection,
            backend.log,
            replica,
            add_notifications=None if watchers is None else notifier.add_notifications,
        ),
        options=reconcile_options(settings),
    )
    queue.stored = backend.log.progress.stream
    if backend.shared and backend.log.progress.loaded and settings.source == "realtime":
        # What was missed is read now: a subscription takes a second or more.
        queue.put_nowait(Gap(GapReason.TAKEOVER))
    return Ingest(
        source=source or create_source(options, table),
        queue=queue,
        pipeline=pipeline,
        watchers=watchers,
        takes_over=backend.shared,
    )


async def _open_watchers(
    settings: Settings,
    watches: WatchIndex,
    notifier: Notifier,
    watch_upstream: Callable[[], AbstractAsyncContextManager[WatchUpstream]],
    closing: AsyncExitStack,
) -> WatchSync | None:
    if not settings.watchers:
        return None
    if settings.auth == "off":
        log.warning(
            "no user will be notified: users are identified by their tokens, and "
            "BRIDGE_AUTH=off ignores tokens; expected optional or required"
        )
    watchers = WatchSync(watches, notifier, watch_upstream, watch_sync_options(settings))
    closing.push_async_callback(watchers.close)
    await watchers.open()
    return watchers


async def open_serve(
    settings: Settings,
    backend: LogBackend,
    replica: Replica,
    presence: Presence,
    closing: AsyncExitStack,
    *,
    upstream: Callable[[], UpstreamState],
) -> Serve:
    """Open the parts that serve clients from `replica`; `closing` closes them."""
    gateway = build_gateway(
        gateway_options(settings),
        log=replica,
        store=backend.sessions,
        rows=replica.rows,
        upstream=upstream,
        authenticator=authenticator(settings, store=backend.revocations),
        presence=presence,
        shared=replica if backend.shared else None,
        process=backend.log.process if backend.shared else None,
    )
    await gateway.open()
    closing.push_async_callback(gateway.close)
    replica.subscribe(gateway.publish)
    return Serve(replica, gateway)


@asynccontextmanager
async def _watch_upstream(
    settings: Settings, watching: tuple[Source, Table] | None
) -> AsyncIterator[WatchUpstream]:
    """Open the table of watches, its source and its log; close them after the block."""
    async with AsyncExitStack() as closing:
        source, table = watching or (None, None)
        options = source_options(settings, watch_projection(settings))
        table = await _open_table(table or create_table(options), closing)
        log = create_backend(watch_log_options(settings)).log
        closing.push_async_callback(log.close)
        await log.open()
        await _forget_position(settings, log)
        yield WatchUpstream(source or create_source(options, table), table, log)


async def _forget_position(settings: Settings, log: EventLog) -> None:
    """Remove the position of the source `postgres` from the log of another source, whose changes
    the log has from now on: replication must not be resumed before them.
    """
    if settings.source != "postgres" and log.progress.stream is not None:
        await log.append((), (), replace(log.progress, stream=None))


async def _open_table(table: Table, closing: AsyncExitStack) -> Table:
    """Open a table that has `open`, and close it last if it has `close`."""
    if hasattr(table, "close"):
        closing.push_async_callback(table.close)
    if hasattr(table, "open"):
        await table.open()
    return table
