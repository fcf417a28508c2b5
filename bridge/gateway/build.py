"""Builds a gateway from its options and the parts that it shares with the pipeline."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from bridge.clock import SystemClock
from bridge.gateway.clients import ClientRegistry
from bridge.gateway.connect import ConnectHandler
from bridge.gateway.delivery.batcher import Batcher
from bridge.gateway.delivery.writer import ClientWriter
from bridge.gateway.gateway import Gateway
from bridge.gateway.hub import Hub
from bridge.gateway.presence import Presence
from bridge.gateway.recovery.persistence import SessionPersistence
from bridge.gateway.recovery.sessions import RecoverySessions
from bridge.gateway.recovery.takeover import SessionTakeover
from bridge.gateway.request_handlers import RequestHandlers
from bridge.gateway.snapshot import Snapshots
from bridge.gateway.socketio.server import SocketServer
from bridge.gateway.token_expiry import TokenExpiry
from bridge.gateway.upstream_status import UpstreamStatus
from bridge.rows import RowStore
from bridge.security.admission import ORIGIN_ADMITTED
from bridge.security.rate_limit import RateLimiter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bridge.auth.authenticator import Authenticator
    from bridge.clock import Clock
    from bridge.gateway.client import ClientSession
    from bridge.gateway.recovery.sessions import RecoveryLimits
    from bridge.gateway.recovery.takeover import SharedReader
    from bridge.gateway.request_handlers import RequestLimits
    from bridge.gateway.upstream_status import UpstreamState
    from bridge.log.base import EntryReader, SessionStore
    from bridge.projection import Projection
    from bridge.rights import Rights
    from bridge.security.origins import Origins

MIN_PAGES: Final = 0.02
"""Lowest price of a snapshot, in full pages: an empty one costs a lookup, too."""


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """How a gateway serves its clients."""

    projection: Projection
    origins: Origins
    recovery: RecoveryLimits
    requests: RequestLimits
    max_rooms: int
    """Regions and properties that one client may subscribe to."""
    max_message_bytes: int
    """Longest message that a client may send."""
    max_queued_bytes: int
    """Bytes that may wait for one client before it counts as slow."""
    batch_seconds: float
    """Window of `properties-batch`."""
    snapshot_page_bytes: int
    snapshot_pages_per_second: float
    snapshot_pages_burst: float
    """Snapshot pages that the clients of one address may receive."""
    token_warning_seconds: float
    """How long before the expiry of its token a client is warned; 0: not at all."""


def build_gateway(
    options: GatewayOptions,
    *,
    authenticator: Authenticator,
    log: EntryReader,
    rows: RowStore | None = None,
    store: SessionStore | None = None,
    upstream: Callable[[], UpstreamState] | None = None,
    presence: Presence | None = None,
    clock: Clock | None = None,
    shared: SharedReader | None = None,
    process: str | None = None,
) -> Gateway:
    """Build a gateway that replays missed events from `log` and makes snapshots of `rows`, both of
    which belong to the pipeline.

    With a `store` clients can recover after a restart. Without `upstream` there are no snapshots
    and no `bridge-status`. The gateway opens, runs and closes the `authenticator`, and counts the
    clients of each user in `presence`. Where other processes use the same log, `process` identifies
    this one, and `shared` is that log: clients can recover at any of them.
    """
    clock = clock or SystemClock()
    presence = presence or Presence()
    projection = options.projection
    clients = ClientRegistry()
    sessions = RecoverySessions(options.recovery, presence=presence)
    persistence = None if store is None else SessionPersistence(sessions, store, clock)
    snapshots = Snapshots(
        RowStore(projection.known) if rows is None else rows,
        projection,
        page_bytes=options.snapshot_page_bytes,
        available=upstream is not None,
    )
    quota = RateLimiter(
        options.snapshot_pages_per_second,
        options.snapshot_pages_burst,
        min_price=MIN_PAGES,
        reason="the clients of this address received many rows",
    )
    server = _socket_server(options, clients, process)
    writer = ClientWriter(server, clients)
    hub = Hub(
        deliver=writer.broadcast,
        max_rooms=options.max_rooms,
        regions_of_key=snapshots.regions_of_key,
        presence=presence,
    )
    batcher = Batcher(
        deliver=writer.broadcast,
        seconds=options.batch_seconds,
        updated_at=projection.updated_at,
    )

    def send_auth_status(client: ClientSession, envelope: bytes) -> None:
        # With a position, since clients take the last argument for one.
        batcher.flush_one(client)
        writer.send_event(client, "auth-status", envelope, str(log.head))

    def effective_rights(rights: Rights) -> Rights:
        return rights if len(projection.views) > 1 else rights.in_one_view()

    token_expiry = TokenExpiry(
        authenticator,
        clock=clock,
        warning_seconds=options.token_warning_seconds,
        send=send_auth_status,
        close=writer.close,
    )
    connect_handler = ConnectHandler(
        clients=clients,
        writer=writer,
        hub=hub,
        batcher=batcher,
        sessions=sessions,
        log=log,
        clock=clock,
        updated_at=projection.updated_at,
        new_sid=server.new_sid,
    )
    request_handlers = RequestHandlers(
        hub=hub,
        writer=writer,
        batcher=batcher,
        sessions=sessions,
        persistence=persistence,
        snapshots=snapshots,
        quota=quota,
        token_expiry=token_expiry,
        log=log,
        clock=clock,
        limits=options.requests,
        effective_rights=effective_rights,
    )

    def end_session(client: ClientSession) -> None:
        if client.recovery is not None:
            sessions.disconnected(client.recovery, clock.monotonic())

    clients.on_remove(
        (
            end_session,
            hub.remove,
            batcher.remove,
            request_handlers.remove,
            token_expiry.untrack,
            writer.detach,
        )
    )
    gateway = Gateway(
        authenticator=authenticator,
        clients=clients,
        server=server,
        writer=writer,
        hub=hub,
        batcher=batcher,
        snapshots=snapshots,
        quota=quota,
        token_expiry=token_expiry,
        sessions=sessions,
        persistence=persistence,
        connect_handler=connect_handler,
        request_handlers=request_handlers,
        effective_rights=effective_rights,
        upstream=upstream,
        upstream_status=UpstreamStatus(clock.wall()),
        log=log,
        clock=clock,
        takeover=None
        if persistence is None or shared is None
        else SessionTakeover(persistence, log, shared),
    )
    server.handler = gateway
    if persistence is not None:
        persistence.on_refused = gateway.evict
    return gateway


def _socket_server(
    options: GatewayOptions, clients: ClientRegistry, process: str | None
) -> SocketServer:
    return SocketServer(
        clients=clients,
        async_mode="asgi",
        cors_allowed_origins=partial(_is_allowed_origin, options.origins),
        # A client's events are handled in order, each after the one before it has been handled.
        async_handlers=False,
        max_http_buffer_size=options.max_message_bytes,
        logger=_library_logger("bridge.gateway.socketio"),
        engineio_logger=_library_logger("bridge.gateway.engineio"),
        max_queued_bytes=options.max_queued_bytes,
        process=process,
    )


def _is_allowed_origin(origins: Origins, origin: str | None, environ: Mapping[str, Any]) -> bool:
    if ORIGIN_ADMITTED in environ["asgi.scope"].get("extensions", {}):
        return True
    return origins.allows(origin, environ.get("HTTP_HOST", ""))


def _library_logger(name: str) -> logging.Logger:
    """Return a logger to pass to a library. Without one the libraries set up a handler of their
    own, with unredacted output; at level INFO they log every packet.
    """
    logger = logging.getLogger(name)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.WARNING)
    return logger
