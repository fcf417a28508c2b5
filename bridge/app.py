"""The application: everything is built, wired, opened and closed here, and nowhere else."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.routing import Mount, Route, WebSocketRoute

from bridge import settings as settings_module
from bridge.auth.token_verifier import bearer_token
from bridge.clock import SystemClock
from bridge.errors import Code, RequestRejected
from bridge.gateway import gateway as server
from bridge.gateway.delivery import writer as wire
from bridge.gateway.http_snapshot import SnapshotEndpoint
from bridge.gateway.presence import Presence
from bridge.gateway.upstream_status import UpstreamState
from bridge.log.backends import create_backend
from bridge.notifications.notifier import Notifier
from bridge.notifications.watch_index import WatchIndex
from bridge.notifications.watch_sync import TableFollower, WatchSync
from bridge.ops.admin import Admin
from bridge.ops.endpoints import OpsEndpoints
from bridge.ops.readiness import Readiness, not_ready
from bridge.ops.status import StatusReport
from bridge.options import (
    admission_limits,
    authenticator,
    client_address,
    document_options,
    source_options,
)
from bridge.pipeline.pipeline import Pipeline
from bridge.schema import routes as contract
from bridge.security.admin_auth import AdminAuth
from bridge.security.admission import AdmissionMiddleware
from bridge.security.origins import Origins
from bridge.security.rejection import UnavailableResponse
from bridge.source.base import SourceState
from bridge.source.change_queue import ChangeQueue
from bridge.source.factory import create_source, create_table
from bridge.supervisor import end_process, run_until_failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from bridge.gateway.gateway import Gateway
    from bridge.log.base import EventLog
    from bridge.ops.admin import SignOut
    from bridge.rights import Rights
    from bridge.settings import Settings
    from bridge.source.base import Source, Table

log = logging.getLogger(__name__)


def create_app(
    settings: Settings | None = None,
    *,
    source: Source | None = None,
    table: Table | None = None,
    watching: tuple[Source, Table] | None = None,
) -> Bridge:
    """The bridge as an ASGI application.

    `settings` are read from the environment if they are not given; `errors.SettingsError` says what
    is wrong with them. `source` and `table` take the place of Supabase's, and `watching` of those
    of the table of watches.

    It serves by itself (`uvicorn.run(create_app(), lifespan="on")`), or inside another Starlette or
    FastAPI application, which has to run its lifespan:

        bridge = create_app()
        app = Starlette(routes=[Mount("/live", app=bridge)], lifespan=bridge.lifespan)

    Its clients then connect with the path `/live/socket.io`. One process may run it once at a time,
    with one worker.
    """
    return Bridge(settings or settings_module.load(), source=source, table=table, watching=watching)


@dataclass(frozen=True, slots=True)
class _Running:
    """What one run of the lifespan built."""

    source: Source
    pipeline: Pipeline
    log: EventLog
    gateway: Gateway
    watchers: WatchSync | None
    started_at: float


class Bridge(Starlette):
    """Serves Socket.IO at `settings.path`, and `/properties`, `/livez`, `/readyz`, `/status`,
    `/metrics`, and what the contract is at `/docs` and `/asyncapi.json`.

    `on_failure` is called when a task of the bridge has failed, which only a restart can repair: by
    default it sends the process SIGTERM. `failure` is the exception, None while all tasks run.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        source: Source | None = None,
        table: Table | None = None,
        watching: tuple[Source, Table] | None = None,
    ) -> None:
        self.settings = settings
        self.failure: BaseException | None = None
        self.on_failure: Callable[[BaseException], None] = end_process
        self._source = source
        self._table = table
        self._watching = watching
        self._running: _Running | None = None
        proxies = client_address(settings)
        origins = Origins(settings.cors_origins)
        operators = AdminAuth(settings.admin_secret, proxies)
        self.operations = OpsEndpoints(
            self._status,
            operators=operators,
            stale_after=settings.stale_after,
            secrets=settings.secrets,
        )
        self.admission = AdmissionMiddleware(
            _Clients(self), admission_limits(settings), origins=origins, proxies=proxies
        )
        super().__init__(
            routes=[
                *self.operations.routes(),
                *Admin(operators, self._sign_out).routes(),
                *contract.routes(document_options(settings)),
                SnapshotEndpoint(
                    self._clients,
                    origins=origins,
                    proxies=proxies,
                    max_rooms=settings.max_rooms,
                    rights=self._rights,
                ).route,
                # A mount doesn't match its own path without the slash; both are the endpoint.
                Route(settings.path, endpoint=self.admission),
                WebSocketRoute(settings.path, endpoint=self.admission),
                Mount(settings.path, app=self.admission),
            ],
            lifespan=self.lifespan,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wire.keep_transport(scope, send)
        await super().__call__(scope, receive, send)

    @asynccontextmanager
    async def lifespan(self, _app: Any = None) -> AsyncIterator[None]:
        """Runs the bridge: everything is open and at work inside, and closed after."""
        if self._running is not None:
            raise RuntimeError("the bridge is running already; its lifespan was entered twice")
        self.failure = None
        settings = self.settings
        async with AsyncExitStack() as closing:
            source_of = source_options(settings)
            table = await _open(self._table or create_table(source_of), closing)
            source = self._source or create_source(source_of, table)
            backend = create_backend(settings)
            events = backend.log
            closing.push_async_callback(events.close)
            await events.open()
            inbox = ChangeQueue(settings.queue_changes)
            watches, presence, clock = WatchIndex(), Presence(), SystemClock()
            notifier = Notifier(
                settings.notify_rules,
                watches,
                present=presence.users,
                users=settings.notify_users,
                scoped=bool(settings.regions_claim),
                clock=clock,
            )
            watchers = None
            if settings.watching is not None:
                if settings.auth == "off":
                    log.warning(
                        "nobody will be notified: users are known by their tokens, and "
                        "BRIDGE_AUTH=off looks at none; expected optional or required"
                    )
                watchers = WatchSync(watches, notifier, partial(self._follow, settings.watching))
                closing.push_async_callback(watchers.close)
                await watchers.open()
            pipeline = Pipeline(
                projection=settings.projection,
                table=table,
                log=events,
                inbox=inbox,
                publish=lambda entries: gateway.publish(entries),  # noqa: PLW0108 - made below
                settings=settings,
                clock=clock,
                expand=None if watchers is None else notifier.expand,
            )
            await pipeline.load()

            def upstream() -> UpstreamState:
                status = pipeline.status()
                return UpstreamState(
                    live=source.status().state is SourceState.LIVE and events.error is None,
                    reconciled=status.reconciled,
                    scanning=status.scanning,
                )

            gateway = server.Gateway(
                settings,
                log=events,
                store=backend.sessions,
                rows=pipeline.rows,
                upstream=upstream,
                access=authenticator(settings, store=backend.revocations),
                presence=presence,
            )
            await gateway.open()
            closing.push_async_callback(gateway.close)
            self._running = _Running(source, pipeline, events, gateway, watchers, time.monotonic())
            try:
                async with asyncio.TaskGroup() as tasks:
                    parts = {
                        "source": source.run(inbox),
                        "pipeline": pipeline.run(),
                        "gateway": gateway.run(),
                        **({} if watchers is None else {"watchers": watchers.run()}),
                    }
                    work = tasks.create_task(self._work(**parts), name="bridge")
                    try:
                        yield
                    finally:
                        work.cancel()
            finally:
                self._running = None

    @asynccontextmanager
    async def _follow(
        self, settings: Settings, watchers: WatchSync
    ) -> AsyncIterator[TableFollower]:
        """What follows the table of watches: a line like the listings', whose events nobody hears.
        `settings` are its own.
        """
        async with AsyncExitStack() as closing:
            source, table = self._watching or (None, None)
            source_of = source_options(settings)
            table = await _open(table or create_table(source_of), closing)
            events = create_backend(settings).log
            closing.push_async_callback(events.close)
            await events.open()
            inbox = ChangeQueue(settings.queue_changes)
            pipeline = Pipeline(
                projection=settings.projection,
                table=table,
                log=events,
                inbox=inbox,
                publish=lambda _entries: None,
                settings=settings,
                follow=watchers.follow,
            )
            await pipeline.load()
            source = source or create_source(source_of, table)
            yield TableFollower(source, inbox, pipeline, events)

    async def drain(self) -> None:
        """End all client connections and take no more, ahead of the end of the lifespan: a server
        that waits for its requests before it ends the lifespan would wait for polls.
        """
        if self._running is not None:
            await self._running.gateway.close()

    async def _work(self, **parts: Coroutine[Any, Any, None]) -> None:
        """Run the parts until this is cancelled, or until one of them dies."""
        self.failure = await run_until_failure(parts)
        log.critical("the bridge has died: %s", self.failure, exc_info=self.failure)
        self.on_failure(self.failure)

    def _status(self) -> StatusReport | Readiness:
        if self.failure is not None:
            return not_ready(f"the bridge has died: {self.failure}", "the bridge has died")
        running = self._running
        if running is None:
            short = "the bridge is not running"
            return not_ready(f"{short}: give its lifespan to the application it is part of", short)
        return StatusReport(
            source=running.source.status(),
            pipeline=running.pipeline.status(),
            hub=running.gateway.hub.counts(),
            connections=self.admission.connections.total,
            rejections=self.admission.rejections,
            slow_clients_closed=running.gateway.slow_clients_closed,
            recoveries=running.gateway.recoveries(),
            head=str(running.log.head),
            log_error=running.log.error,
            started_at=running.started_at,
            watchers=None if running.watchers is None else running.watchers.status(),
        )

    async def _rights(self, request: Request) -> Rights:
        """Of who asks over HTTP."""
        gateway = self._clients()
        if gateway is None:
            raise RequestRejected(Code.NOT_READY, "the bridge is not running")
        return (
            await gateway.access.authenticate(bearer_token(request.headers.get("Authorization")))
        ).rights

    def _sign_out(self) -> SignOut | None:
        gateway = self._clients()
        return None if gateway is None else gateway.sign_out

    def _clients(self) -> Gateway | None:
        return self._running.gateway if self._running else None


class _Clients:
    """The Socket.IO endpoint of a bridge: the gateway of its present run."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gateway = self._bridge._clients()  # noqa: SLF001 - of the same file
        app = gateway or UnavailableResponse("The bridge is not running.")
        await app(scope, receive, send)


async def _open(table: Table, closing: AsyncExitStack) -> Table:
    """A table that knows `open` and `close` is opened now and closed last."""
    if hasattr(table, "close"):
        closing.push_async_callback(table.close)
    if hasattr(table, "open"):
        await table.open()
    return table
