"""Composition root: the ASGI application, which opens, runs and closes both roles of a process."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from starlette.applications import Starlette
from starlette.routing import Mount, Route, WebSocketRoute

from bridge.auth.token_verifier import bearer_token
from bridge.errors import Code, LogUnusableError, RequestRejected
from bridge.gateway.engineio.raw_websocket import keep_transport
from bridge.gateway.http_regions import RegionsEndpoint
from bridge.gateway.http_snapshot import SnapshotEndpoint
from bridge.gateway.presence import Presence
from bridge.group import Group
from bridge.log.backends import create_backend
from bridge.log.worker_lock import WorkerLock
from bridge.ops.admin import Admin
from bridge.ops.endpoints import OpsEndpoints
from bridge.ops.loop_lag import LoopLag
from bridge.ops.readiness import Readiness, not_ready
from bridge.ops.root_page import root_page_route
from bridge.ops.status import StatusReport
from bridge.ops.status_page import status_page_route
from bridge.ops.status_stream import StatusStream
from bridge.ops.traffic import Traffic
from bridge.options import (
    admin_secret,
    admission_limits,
    client_address,
    document_options,
    drain_seconds,
    log_options,
)
from bridge.replica import Replica
from bridge.roles import open_ingest, open_serve
from bridge.schema.routes import schema_routes
from bridge.security.admin_auth import AdminAuth
from bridge.security.admission import AdmissionMiddleware
from bridge.security.origins import Origins
from bridge.security.peer_request import PeerKey
from bridge.security.rejection import UnavailableResponse
from bridge.settings import load
from bridge.supervisor import end_process, run_until_failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Coroutine

    from starlette.requests import Request
    from starlette.types import Message, Receive, Scope, Send

    from bridge.gateway.gateway import Gateway
    from bridge.log.backends import LogBackend
    from bridge.log.base import EventLog, LogServer
    from bridge.ops.admin import SignOut
    from bridge.rights import Rights
    from bridge.roles import Ingest, Serve
    from bridge.settings import Settings
    from bridge.source.base import Source, Table

log = logging.getLogger(__name__)


def create_app(
    settings: Settings | None = None,
    *,
    source: Source | None = None,
    table: Table | None = None,
    watching: tuple[Source, Table] | None = None,
    backend: LogBackend | None = None,
) -> Bridge:
    """Return the bridge as an ASGI application.

    Without `settings` they are read from the environment; raises `errors.SettingsError` if any is
    missing or wrong. `source` and `table` replace Supabase as the source of changes and rows,
    `watching` does so for the table of watches, and `backend` replaces the log of the settings.

    Run it alone (`uvicorn.run(create_app(), lifespan="on")`) or mount it in a Starlette or FastAPI
    application, which has to run its lifespan:

        bridge = create_app()
        app = Starlette(routes=[Mount("/live", app=bridge)], lifespan=bridge.lifespan)

    Clients then connect with the path `/live/socket.io`. Run one worker per process: the bridge
    must not run twice at a time.
    """
    return Bridge(
        settings or load(), source=source, table=table, watching=watching, backend=backend
    )


@dataclass(frozen=True, slots=True)
class _Running:
    """The parts of one run of the lifespan."""

    log: EventLog
    group: Group
    serve: Serve
    started_at: float
    drain_seconds: float
    log_server: Callable[[], LogServer | None]
    loop_lag: LoopLag

    @property
    def ingest(self) -> Ingest | None:
        """None while another process leads."""
        return self.group.leadership.ingest

    @property
    def gateway(self) -> Gateway:
        return self.serve.gateway


class Bridge(Starlette):
    """Serves Socket.IO at `settings.path`, rows at `/properties`, their regions at `/regions`,
    operations at `/livez`, `/readyz`, `/status`, `/status.html`, `/metrics` and `/admin`, the wire
    contract at `/docs` and `/asyncapi.json`, a page of links at `/`.

    `on_failure` is called after a task of the bridge has failed, which only a restart can repair:
    by default it sends SIGTERM to the process. `failure` is the exception, None while all tasks
    run.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        source: Source | None = None,
        table: Table | None = None,
        watching: tuple[Source, Table] | None = None,
        backend: LogBackend | None = None,
    ) -> None:
        self.settings = settings
        self.failure: BaseException | None = None
        self.on_failure: Callable[[BaseException], None] = end_process
        self._source = source
        self._table = table
        self._watching = watching
        self._backend = backend
        self._stopping = False
        self._peer_key = PeerKey()
        self._running: _Running | None = None
        self.serving: ServingProcesses | None = None
        """The processes that serve clients for this one, which then answers operators for all."""
        addresses = client_address(settings)
        origins = Origins(settings.cors_origins)
        admin_auth = AdminAuth(admin_secret(settings), addresses)
        self.operations = OpsEndpoints(
            self.report,
            combine=self._combine,
            admin_auth=admin_auth,
            stale_after=settings.stale_after,
            secrets=settings.secrets,
        )
        self.status_stream = StatusStream(
            self.operations,
            admin_auth,
            log=self._log,
            room_clients=self._room_clients,
        )
        self.admission = AdmissionMiddleware(
            _SocketEndpoint(self), admission_limits(settings), origins=origins, addresses=addresses
        )
        super().__init__(
            routes=[
                *self.operations.routes(),
                *self.status_stream.routes(),
                status_page_route(),
                root_page_route(self.operations.readiness),
                *Admin(admin_auth, self._sign_out).routes(),
                *schema_routes(document_options(settings)),
                SnapshotEndpoint(
                    self._gateway,
                    origins=origins,
                    proxies=addresses,
                    max_rooms=settings.max_rooms,
                    rights=self._rights,
                ).route,
                RegionsEndpoint(
                    self._gateway, origins=origins, proxies=addresses, rights=self._rights
                ).route,
                # A mount does not match its own path without the slash, so both are routed.
                Route(settings.path, endpoint=self.admission),
                WebSocketRoute(settings.path, endpoint=self.admission),
                Mount(settings.path, app=self.admission),
            ],
            lifespan=self.lifespan,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            send = self._startup_errors(send)
        else:
            keep_transport(scope, send)
            scope = self._peer_key.accept(scope)
        await super().__call__(scope, receive, send)

    @asynccontextmanager
    async def lifespan(self, _app: Any = None) -> AsyncIterator[None]:
        """Open all parts, run them inside the block, and close them after it."""
        if self._running is not None:
            raise RuntimeError("the bridge is running already: its lifespan was entered twice")
        self.failure, self._stopping = None, False
        settings = self.settings
        if settings.processes != 1:
            log.warning(
                "BRIDGE_PROCESSES=%d has no effect on an application that another server runs: "
                "`bridge serve` starts the processes",
                settings.processes,
            )
        async with AsyncExitStack() as closing:
            if self._backend is None and log_options(settings).url == "memory:":
                workers = WorkerLock()
                closing.callback(workers.release)
                workers.acquire()
            backend = self._backend or create_backend(log_options(settings))
            closing.push_async_callback(backend.log.close)
            try:
                await backend.log.open()
            except LogUnusableError as error:
                self.failure = error
                raise
            closing.push_async_callback(backend.lease.release)
            replica = Replica(backend.log, settings.projection.known)
            await replica.load()
            presence = Presence()

            async def ingest(present: Collection[str], closing: AsyncExitStack) -> Ingest:
                return await open_ingest(
                    settings,
                    backend,
                    replica,
                    present,
                    closing,
                    source=self._source,
                    table=self._table,
                    watching=self._watching,
                )

            group = Group(
                settings,
                backend,
                replica,
                presence,
                open_ingest=ingest,
                peer_key=self._peer_key.value,
            )
            closing.push_async_callback(group.leadership.close)
            await group.leadership.open()
            serve = await open_serve(
                settings, backend, replica, presence, closing, upstream=group.upstream.state
            )
            group.join(serve.gateway)
            self._running = _Running(
                backend.log,
                group,
                serve,
                time.monotonic(),
                drain_seconds(settings, shared=backend.shared),
                backend.server,
                LoopLag(),
            )
            try:
                async with asyncio.TaskGroup() as tasks:
                    parts = {
                        **serve.tasks(),
                        **group.tasks(),
                        "history": self.status_stream.keep_history(),
                        "loop lag": self._running.loop_lag.run(),
                    }
                    work = tasks.create_task(self._run(**parts), name="bridge")
                    try:
                        yield
                    finally:
                        work.cancel()
            finally:
                self._running = None

    def _startup_errors(self, send: Send) -> Send:
        """Return a `send` that reports an error of the start that an operator can mend without the
        traceback that Starlette sends.
        """

        async def shortened(message: Message) -> None:
            error = self.failure
            if message["type"] == "lifespan.startup.failed" and isinstance(error, LogUnusableError):
                message = {**message, "message": str(error)}
            await send(message)

        return shortened

    async def drain(self) -> None:
        """Close all client connections, spread over the settings' `drain_seconds`, and accept no
        more. Call it before the lifespan ends: a server that waits for open requests first would
        wait for long polls.
        """
        running = self._running
        if running is None:
            return
        self._stopping = True
        if self.failure is None:
            await running.group.leave()
            await running.gateway.drain(running.drain_seconds)
        await running.gateway.close()

    async def _run(self, **parts: Coroutine[Any, Any, None]) -> None:
        """Run the parts until this is cancelled or one of them fails."""
        self.failure = await run_until_failure(parts)
        # The message of an error that an operator can mend has all there is to know.
        trace = None if isinstance(self.failure, LogUnusableError) else self.failure
        log.critical("a part of the bridge has failed: %s", self.failure, exc_info=trace)
        self.on_failure(self.failure)

    def report(self) -> StatusReport | Readiness:
        """Return the status of this process, or why it does not run."""
        if self.failure is not None:
            short = "a part of the bridge has failed"
            return not_ready(f"{short}: {self.failure}", short)
        running = self._running
        if running is None:
            short = "the bridge is not running"
            return not_ready(f"{short}: pass its lifespan to the application that mounts it", short)
        upstream = running.group.upstream
        report = upstream.report()
        return StatusReport(
            source=report.source,
            pipeline=report.pipeline,
            hub=running.gateway.hub.counts(),
            connections=self.admission.connections.total,
            rejections=self.admission.rejections,
            slow_clients_closed=running.gateway.slow_clients_closed,
            recoveries=running.gateway.recoveries(),
            head=str(running.serve.replica.head),
            log_error=running.log.error,
            log_error_since=upstream.health.log_error_since,
            started_at=running.started_at,
            watchers=report.watchers,
            group=running.group.status(),
            rooms=running.gateway.hub.rooms,
            log_server=running.log_server(),
            traffic=self._traffic(running),
            meters=None if running.ingest is None else running.ingest.pipeline.meters,
            stopping=self._stopping,
        )

    def _traffic(self, running: _Running) -> Traffic:
        gateway = running.gateway
        meter = gateway.writer.meter
        return Traffic(
            deliveries=meter.events,
            bytes=meter.bytes,
            transports=gateway.transports(),
            refusals=dict(self.admission.rejections_by_origin),
            delivery_delay=meter.delay.counts(),
            round_trip=gateway.server.eio.heartbeat.round_trip.counts(),
            loop_lag=running.loop_lag.seconds.counts(),
        )

    def _log(self) -> EventLog | None:
        running = self._running
        return None if running is None else running.log

    def _room_clients(self, number: int) -> dict[str, int]:
        running = self._running
        return {} if running is None else running.gateway.hub.largest_rooms(number)

    async def _combine(self, report: StatusReport) -> StatusReport:
        return report if self.serving is None else await self.serving.combine(report)

    async def _rights(self, request: Request) -> Rights:
        """Return the rights of an HTTP request. Raises `RequestRejected` for a bad token."""
        gateway = self._gateway()
        if gateway is None:
            raise RequestRejected(Code.NOT_READY, "the bridge is not running")
        token = bearer_token(request.headers.get("Authorization"))
        return (await gateway.authenticator.authenticate(token)).rights

    def _sign_out(self) -> SignOut | None:
        gateway = self._gateway()
        return None if gateway is None else gateway.sign_out

    def _gateway(self) -> Gateway | None:
        return self._running.gateway if self._running else None


class ServingProcesses(Protocol):
    """The processes that serve clients for the leader process."""

    async def combine(self, report: StatusReport) -> StatusReport:
        """Return the report with the counts of all processes."""
        ...


class _SocketEndpoint:
    """The Socket.IO endpoint: forwards to the gateway of the bridge's current run."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gateway = self._bridge._gateway()  # noqa: SLF001 - same module
        app = gateway or UnavailableResponse("The bridge is not running.")
        await app(scope, receive, send)
