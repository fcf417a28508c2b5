"""The two roles of a process: `Ingest` follows the table, `Serve` serves clients.

One process has both. The log is all that connects them: `Ingest` appends, `Serve` follows.
"""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from bridge.clock import SystemClock
from bridge.gateway.build import build_gateway
from bridge.gateway.upstream_status import UpstreamState
from bridge.log.backends import create_backend
from bridge.notifications.notifier import Notifier
from bridge.notifications.watch_index import WatchIndex
from bridge.notifications.watch_sync import WatchSync, WatchUpstream
from bridge.ops.health import Health
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
from bridge.source.base import SourceState
from bridge.source.change_queue import ChangeQueue
from bridge.source.factory import create_source, create_table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from contextlib import AbstractAsyncContextManager

    from bridge.gateway.gateway import Gateway
    from bridge.gateway.presence import Presence
    from bridge.log.backends import LogBackend
    from bridge.log.base import EventLog
    from bridge.replica import Replica
    from bridge.settings import Settings
    from bridge.source.base import Source, Table

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ingest:
    """The role that follows the table and appends to the log. One process at a time has it.

    `watchers` is None if notifications are off.
    """

    log: EventLog
    source: Source
    queue: ChangeQueue
    pipeline: Pipeline
    watchers: WatchSync | None
    health: Health

    def upstream(self) -> UpstreamState:
        source, pipeline = self.source.status(), self.pipeline.status()
        log_error = self.log.error
        return UpstreamState(
            live=source.state is SourceState.LIVE and log_error is None,
            reconciled=pipeline.reconciled,
            scanning=pipeline.scanning,
            blind=self.health.update(source, pipeline, log_error),
        )

    def tasks(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Return what runs until cancelled, by name."""
        tasks = {"source": self.source.run(self.queue), "pipeline": self.pipeline.run()}
        if self.watchers is not None:
            tasks["watchers"] = self.watchers.run()
        return tasks


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
    log: EventLog,
    replica: Replica,
    presence: Presence,
    closing: AsyncExitStack,
    *,
    source: Source | None,
    table: Table | None,
    watching: tuple[Source, Table] | None,
) -> Ingest:
    """Open the parts that follow the table; `closing` closes them. `replica` shares its rows with
    the pipeline, so that they are kept once. `source`, `table` and `watching` replace Supabase.
    """
    options = source_options(settings)
    table = await _open_table(table or create_table(options), closing)
    await _forget_position(settings, log)
    watches = WatchIndex()
    notifier = Notifier(
        notifier_options(settings), watches, present=presence.users, clock=SystemClock()
    )
    watch_upstream = partial(_watch_upstream, settings, watching)
    watchers = await _open_watchers(settings, watches, notifier, watch_upstream, closing)
    pipeline = Pipeline(
        projection=settings.projection,
        table=table,
        queue=(queue := ChangeQueue(settings.queue_changes)),
        sink=EventSink(
            settings.projection,
            log,
            replica,
            add_notifications=None if watchers is None else notifier.add_notifications,
        ),
        options=reconcile_options(settings),
    )
    queue.stored = log.progress.stream
    return Ingest(
        log=log,
        source=source or create_source(options, table),
        queue=queue,
        pipeline=pipeline,
        watchers=watchers,
        health=Health(settings.stale_after, SystemClock()),
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
