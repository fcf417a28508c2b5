"""The Socket.IO edge: what clients may say and what they are answered. It only translates."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from bridge.clock import SystemClock
from bridge.errors import Code, RequestRejected
from bridge.events import Event
from bridge.gateway.connect import ConnectHandler
from bridge.gateway.delivery.batcher import Batcher
from bridge.gateway.delivery.writer import ClientWriter
from bridge.gateway.hub import Hub
from bridge.gateway.presence import Presence
from bridge.gateway.recovery.persistence import SessionPersistence
from bridge.gateway.recovery.sessions import RecoverySessions
from bridge.gateway.request_handlers import RequestHandlers
from bridge.gateway.snapshot import Snapshots
from bridge.gateway.socketio.server import SocketServer
from bridge.gateway.token_expiry import TokenExpiry
from bridge.gateway.upstream_status import UpstreamStatus
from bridge.log.base import Entry
from bridge.log.memory import MemoryEventLog
from bridge.rows import RowStore
from bridge.security.origins import Origins
from bridge.security.rate_limit import RateLimiter, SnapshotQuota
from bridge.security.rejection import UnavailableResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starlette.types import Receive, Scope, Send

    from bridge.auth.authenticator import Authenticator
    from bridge.clock import Clock
    from bridge.gateway.upstream_status import UpstreamState
    from bridge.log.base import EntryReader, SessionStore
    from bridge.rights import Rights
    from bridge.settings import Settings

log = logging.getLogger(__name__)

STATUS_POLL_SECONDS: Final = 0.05
"""Between two looks at the upstream."""

SNAPSHOT_WAIT_SECONDS: Final = 5.0
"""How long a request for a snapshot may wait for the first one that can be given."""


class Gateway:
    """Serves Socket.IO clients: an ASGI application. The pipeline's entries go into `publish`."""

    def __init__(
        self,
        settings: Settings,
        *,
        log: EntryReader | None = None,
        store: SessionStore | None = None,
        rows: RowStore | None = None,
        upstream: Callable[[], UpstreamState] | None = None,
        clock: Clock | None = None,
        access: Authenticator | None = None,
        presence: Presence | None = None,
    ) -> None:
        """`log` and `rows` are the pipeline's: a client that comes back is told from the log, and
        snapshots are made of the rows. Clients can come back to another process if they are kept in
        a `store`. Without an `upstream` there are no snapshots, and nothing is said of its state.
        `access` is opened, run and closed with the gateway; without it, it is that of the settings,
        and sign-outs are not stored. `presence` is kept up to date with the users of clients.
        """
        presence = presence or Presence()
        self.log: EntryReader = log or MemoryEventLog(settings.log_events, settings.log_seconds)
        self.sessions = RecoverySessions(
            settings.recovery_seconds,
            settings.recovery_clients,
            settings.recovery_events,
            settings.recovery_bytes,
            presence=presence,
        )
        projection = settings.projection
        self.snapshots = Snapshots(
            RowStore(projection.known) if rows is None else rows,
            projection,
            page_bytes=settings.snapshot_bytes,
        )
        self._settings = settings
        self._clock = clock or SystemClock()
        if access is None:
            from bridge.options import authenticator  # noqa: PLC0415 - until it is always given

            access = authenticator(settings, clock=self._clock)
        self.access = access
        self._persistence = (
            None if store is None else SessionPersistence(self.sessions, store, self._clock)
        )
        self._upstream = upstream
        self._status = UpstreamStatus(self._clock.wall())
        self.rations = SnapshotQuota(
            RateLimiter(
                settings.snapshot_pages_per_second_per_address,
                settings.snapshot_pages_burst_per_address,
            ),
            self._clock,
        )
        self._open = True
        self._server = SocketServer(
            handler=self,
            async_mode="asgi",
            cors_allowed_origins=partial(_allowed, Origins(settings.cors_origins)),
            # In order, and none while the client's one before it is at work.
            async_handlers=False,
            max_http_buffer_size=settings.message_bytes,
            logger=_quiet("bridge.gateway.socketio"),
            engineio_logger=_quiet("bridge.gateway.engineio"),
            waiting=settings.client_bytes,
        )
        self._writer = ClientWriter(self._server, on_gone=self._on_delivery_failed)
        self.hub: Hub[str] = Hub(
            deliver=self._writer.broadcast,
            max_rooms=settings.max_rooms,
            where=self.snapshots.regions_of_key,
            presence=presence,
        )
        self._batcher = Batcher(
            deliver=self._writer.broadcast,
            seconds=settings.batch_seconds,
            updated_at=projection.updated_at,
        )
        self._connect_handler = ConnectHandler(
            server=self._server,
            wire=self._writer,
            hub=self.hub,
            window=self._batcher,
            sessions=self.sessions,
            log=self.log,
            clock=self._clock,
            updated_at=projection.updated_at,
            evicted=self._forget,
        )
        self._tokens = TokenExpiry(
            self.access,
            hub=self.hub,
            clock=self._clock,
            warning=settings.token_warning_seconds,
            tell=self._send_auth_status,
            part=self._close_client,
        )
        self._requests = RequestHandlers(
            hub=self.hub,
            wire=self._writer,
            window=self._batcher,
            sessions=self.sessions,
            snapshots=self.snapshots,
            bearers=self._tokens,
            log=self.log,
            clock=self._clock,
            keeper=self._persistence,
            rations=self.rations,
            ready=self.ready,
            address=self._server.address,
            rights_here=self.effective_rights,
            per_second=settings.requests_per_second,
            burst=settings.requests_burst,
        )

    @property
    def slow_clients_closed(self) -> int:
        """Clients that were cut off because they didn't take their packets."""
        return self._writer.slow_clients_closed

    def recoveries(self) -> dict[str, int]:
        """How attempts to come back ended, and how many may still come."""
        counts = {outcome.value: count for outcome, count in self.sessions.outcomes.items()}
        return {**counts, "away": self.sessions.away}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._open:
            await UnavailableResponse("The bridge is stopping.")(scope, receive, send)
            return
        await self._server.handle_request(scope, receive, send)

    def publish(self, entries: Sequence[Entry]) -> None:
        """Tell clients of entries, in the step of the loop in which the rows changed and the log's
        head moved.
        """
        self.snapshots.apply(entries)
        self.hub.publish(entries)
        self._batcher.add(entries)

    async def open(self) -> None:
        """Take up the clients and sign-outs of an earlier process. The log is open."""
        await self.access.open()
        if self._persistence is not None:
            await self._persistence.load(self.log.head.epoch)

    async def run(self) -> None:
        """Keep an eye on the upstream, the sessions and the keys of tokens, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.access.run(), name="keep keys fresh")
            if self._persistence is not None:
                tasks.create_task(self._persistence.run(), name="keep sessions")
            await self._watch()

    async def _watch(self) -> None:
        upstream = self._upstream
        while upstream is not None:
            look = upstream()
            if self._status.update(look, self._clock.monotonic(), self._clock.wall()):
                self._broadcast_status()
            if look.reconciled and not self.snapshots.ready.is_set():
                await self.snapshots.build()
            self.sessions.expire(self._clock.monotonic())
            await asyncio.sleep(STATUS_POLL_SECONDS)

    async def close(self) -> None:
        """Take no more clients and end the connections of those that are there."""
        self._open = False
        self._batcher.flush()
        self._tokens.close()
        await self._writer.close_all()
        await self.access.close()
        if self._persistence is not None:
            await self._persistence.close()

    async def ready(self) -> None:
        """Wait until snapshots are ready. Raises `RequestRejected` if that takes too long."""
        if self._upstream is None:
            raise RequestRejected(Code.NOT_SUPPORTED, "this bridge gives no snapshots")
        with suppress(TimeoutError):
            async with asyncio.timeout(SNAPSHOT_WAIT_SECONDS):
                await self.snapshots.ready.wait()

    async def sign_out(self, *, session_id: str | None = None, sub: str | None = None) -> int:
        """Refuse the tokens of one session, or those that a user was given until now, from here on
        and after a restart too, where the log is a file; end the connections of their bearers, and
        give how many these were. Either of the two has to be given.

        While the log can't be written this waits, though it holds already. Raises
        `errors.LogUnusableError`.
        """
        if not (session_id or sub) or (session_id and sub):
            raise ValueError("expected either a session_id or a sub, and not an empty one")
        return await self._tokens.sign_out(session=session_id, user=sub)

    # -- what clients do ------------------------------------------------------------------------

    async def on_connect(self, eio_sid: str, auth: Any) -> None:
        try:
            admission = await self._tokens.authenticate(auth, self._server.token(eio_sid))
        except RequestRejected as refused:
            if refused.code is Code.NOT_READY:
                # Refused, a client would not try again by itself.
                self._server.close_connection(eio_sid)
            else:
                self._connect_handler.reject(eio_sid, refused)
            return
        # Nothing waits from here on.
        sid = self._connect_handler.accept(eio_sid, auth, self.effective_rights(admission.rights))
        if sid is None:
            return
        self._tokens.track(sid, admission.claims)
        if self._upstream is not None:
            self._writer.send_event(
                sid, "bridge-status", self._status.envelope(), str(self.log.head)
            )

    async def on_event(self, sid: str, name: str, args: Sequence[Any], ack: int | None) -> None:
        await self._requests.handle(sid, name, args, ack)

    def on_disconnect(self, sid: str, reason: str) -> None:
        if reason == self._server.reason.CLIENT_DISCONNECT:
            self.sessions.end(sid)
        self._remove(sid)
        if reason == self._server.reason.PING_TIMEOUT:
            # Nobody is there to take what its connection still holds.
            self._writer.abort(sid)
        log.debug("client %s left: %s", sid, reason)

    def effective_rights(self, rights: Rights) -> Rights:
        """The same, where this bridge tells members more than others; else in the one view that
        there is. All rights that come from outside go through here.
        """
        return rights if self._settings.member_columns else rights.in_one_view()

    # -- inside ---------------------------------------------------------------------------------

    def _remove(self, sid: str) -> None:
        self.sessions.disconnected(sid, self._clock.monotonic())
        self.hub.remove(sid)
        self._batcher.remove(sid)
        self._forget(sid)
        self._writer.detach(sid)

    def _forget(self, sid: str) -> None:
        """What is known of a client that is not here, and may never come back."""
        self._requests.remove(sid)
        self._tokens.untrack(sid)

    def _on_delivery_failed(self, sid: str) -> None:
        if not self._server.has_open_connection(sid):  # else it has come back since, as who it was
            self._remove(sid)

    def _send_auth_status(self, sid: str, envelope: bytes) -> None:
        """Tell a client of its token, after all that it was told. With a position, as below."""
        self._batcher.flush_one(sid)
        self._writer.send_event(sid, "auth-status", envelope, str(self.log.head))

    def _close_client(self, sid: str) -> None:
        """End a client's connection, after all that it was told; it may come back."""
        self._writer.close(sid)
        self._remove(sid)

    def _broadcast_status(self) -> None:
        """Tell every client of the upstream's state. It carries the log's position, since clients
        take the last argument for one, and everything up to there has been told before.
        """
        self._batcher.flush()
        event = Event("bridge-status", "", (), self._status.envelope())
        self._writer.broadcast(Entry(self.log.head, event, self._clock.wall()), self.hub.clients)


def _allowed(origins: Origins, origin: str | None, environ: Mapping[str, Any]) -> bool:
    return origins.allows(origin, environ.get("HTTP_HOST", ""))


def _quiet(name: str) -> logging.Logger:
    """A logger for a library. Given none, they set up a handler of their own, which scrubs nothing;
    at `info` they tell of every packet.
    """
    logger = logging.getLogger(name)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.WARNING)
    return logger
