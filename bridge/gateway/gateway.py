"""The Socket.IO endpoint: serves clients and publishes log entries to them."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from bridge.errors import Code, RequestRejected
from bridge.events import Event
from bridge.gateway.fly_replay import replay
from bridge.gateway.peer_forwarding import without_body
from bridge.gateway.recovery.sessions import parse_offer
from bridge.gateway.waves import in_waves
from bridge.log.base import Entry
from bridge.security.admission import is_handshake
from bridge.security.rejection import UnavailableResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.types import Receive, Scope, Send

    from bridge.auth.authenticator import Authenticator
    from bridge.clock import Clock
    from bridge.gateway.client import ClientSession, Connection
    from bridge.gateway.clients import ClientRegistry
    from bridge.gateway.connect import ConnectHandler
    from bridge.gateway.delivery.batcher import Batcher
    from bridge.gateway.delivery.writer import ClientWriter
    from bridge.gateway.fly_replay import FlyReplay
    from bridge.gateway.hub import Hub
    from bridge.gateway.peer_forwarding import PeerForwarding
    from bridge.gateway.recovery.persistence import SessionPersistence
    from bridge.gateway.recovery.sessions import RecoverySession, RecoverySessions
    from bridge.gateway.recovery.takeover import SessionTakeover
    from bridge.gateway.request_handlers import RequestHandlers
    from bridge.gateway.snapshot import Snapshots
    from bridge.gateway.socketio.server import SocketServer
    from bridge.gateway.token_expiry import TokenExpiry
    from bridge.gateway.upstream_status import UpstreamState, UpstreamStatus
    from bridge.log.base import EntryReader
    from bridge.rights import Rights
    from bridge.security.rate_limit import RateLimiter

log = logging.getLogger(__name__)

STATUS_POLL_SECONDS: Final = 0.05
"""Interval at which the upstream state is read."""

RECONNECT_SECONDS: Final = 5.0
RECONNECTS_PER_SECOND: Final = 500.0
"""Pace of the reconnects to an interrupted gateway, and the longest time for all of them."""


@dataclass(eq=False)
class Gateway:
    """Serves Socket.IO clients: an ASGI application. Log entries are passed to `publish`.

    Made by `bridge.gateway.build.build_gateway`. Without `upstream`, which returns the state of the
    source, there are no snapshots and no `bridge-status`. `effective_rights` returns the rights
    that apply in this bridge for those of a token: all rights from outside pass through it.
    """

    authenticator: Authenticator
    clients: ClientRegistry
    server: SocketServer
    writer: ClientWriter
    hub: Hub
    batcher: Batcher
    snapshots: Snapshots
    quota: RateLimiter
    token_expiry: TokenExpiry
    sessions: RecoverySessions
    persistence: SessionPersistence | None
    connect_handler: ConnectHandler
    request_handlers: RequestHandlers
    effective_rights: Callable[[Rights], Rights]
    upstream: Callable[[], UpstreamState] | None
    upstream_status: UpstreamStatus
    log: EntryReader
    clock: Clock
    takeover: SessionTakeover | None = None
    fly_replay: FlyReplay | None = None
    """Set where requests can be replayed to other machines."""
    peer_forwarding: PeerForwarding | None = None
    """Set where requests can be forwarded to other machines."""
    _open: bool = field(default=True, init=False)
    _draining: bool = field(default=False, init=False)
    _interrupted: bool = field(default=False, init=False)
    _closing: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    @property
    def slow_clients_closed(self) -> int:
        """Number of slow clients that were disconnected."""
        return self.writer.slow_clients_closed

    def recoveries(self) -> dict[str, int]:
        """Return the number of recoveries by outcome, and of sessions that may still recover."""
        counts = {outcome.value: count for outcome, count in self.sessions.outcomes.items()}
        return {**counts, "away": self.sessions.away}

    def transports(self) -> dict[str, int]:
        """Return the number of clients by transport."""
        websockets = sum(
            each.connection.engine is not None and each.connection.engine.upgraded
            for each in self.clients
        )
        return {"websocket": websockets, "polling": len(self.clients) - websockets}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = not self._open or (self._draining and is_handshake(scope))
        if self.fly_replay is not None:
            target = (self.fly_replay.elsewhere if refused else self.fly_replay.target)(scope)
            if target is not None:
                await replay(scope, receive, send, target)
                return
        if self.peer_forwarding is not None:
            peer = self.peer_forwarding.target(scope)
            if peer is not None:
                if await self.peer_forwarding.forward(scope, receive, send, peer):
                    return
                receive = without_body
        if refused:
            await UnavailableResponse("The bridge is stopping.")(scope, receive, send)
            return
        await self.server.handle_request(scope, receive, send)

    def publish(self, entries: Sequence[Entry]) -> None:
        """Deliver entries to clients. Call it in the event-loop iteration in which the rows change
        and the head of the log moves.
        """
        self.snapshots.apply(entries)
        self.hub.publish(entries)
        self.batcher.add(entries)

    async def open(self) -> None:
        """Load the sessions and revocations of an earlier process. The log must be open."""
        await self.authenticator.open()
        if self.persistence is not None:
            await self.persistence.load(self.log.locate)

    async def run(self) -> None:
        """Follow the upstream state, expire sessions and refresh keys until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.authenticator.run(), name="refresh keys")
            if self.persistence is not None:
                tasks.create_task(self.persistence.run(), name="store sessions")
            await self._follow_upstream()

    async def _follow_upstream(self) -> None:
        upstream = self.upstream
        while upstream is not None:
            state = upstream()
            if self.upstream_status.update(state, self.clock.monotonic(), self.clock.wall()):
                self._broadcast_status()
            if state.reconciled and not self.snapshots.ready.is_set():
                await self.snapshots.build()
            self.sessions.expire(self.clock.monotonic())
            await asyncio.sleep(STATUS_POLL_SECONDS)

    async def drain(self, seconds: float) -> None:
        """Accept no more clients, and end the connections of the present ones, spread over a time
        so that other processes receive them at this pace. Their sessions are stored before. Then
        call `close`.
        """
        self._draining = True
        if not seconds:
            return  # `close` ends them all
        self.batcher.flush()
        if self.persistence is not None:
            await self.persistence.close()
        await in_waves(list(self.clients), self.writer.close, seconds=seconds)

    def interrupt(self, *, lost: bool) -> None:
        """Remove all clients, and accept none until `resume`: the rows are loaded again.

        `lost`: the log has another history, so that no session can be resumed.
        """
        self._interrupted = True
        self.batcher.flush()
        self.snapshots.reset()
        connections = [client.connection for client in self.clients]
        for client in list(self.clients):
            self.clients.remove(client)
        if lost:
            self.sessions.clear()
        closing = in_waves(
            connections,
            self.server.close_connection,
            seconds=min(RECONNECT_SECONDS, len(connections) / RECONNECTS_PER_SECOND),
        )
        task = asyncio.get_running_loop().create_task(closing, name="close interrupted clients")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def resume(self) -> None:
        """Accept clients again."""
        self._interrupted = False

    def evict(self, session: RecoverySession) -> None:
        """End the half-open connection of a client whose session another process has taken."""
        client = self.clients.get(session.sid)
        if client is not None and client.recovery is session:
            client.recovery = None
            self.writer.abort(client)

    # -- notes of other processes

    def signed_out(self, kind: str, name: str, at: float) -> int:
        return self.token_expiry.signed_out(kind, name, at)

    def sessions_taken(self, names: Sequence[str]) -> None:
        if self.persistence is not None:
            for name in names:
                self.persistence.verify(name)

    async def reload_revocations(self) -> None:
        await self.token_expiry.reload_revocations()

    async def close(self) -> None:
        """Accept no more clients, and end all connections."""
        self._open = False
        for task in self._closing:
            task.cancel()
        self.batcher.flush()
        self.token_expiry.close()
        await self.writer.close_all()
        await self.authenticator.close()
        if self.peer_forwarding is not None:
            await self.peer_forwarding.close()
        if self.persistence is not None:
            await self.persistence.close()

    async def sign_out(self, *, session_id: str | None = None, sub: str | None = None) -> int:
        """Reject the tokens of one session, or those issued to a user so far, from here on, and
        after a restart too if the log is a file. Closes the connections of clients with such a
        token, at all processes that share the log, and returns their number. Exactly one of the two
        has to be given.

        While the log can't be written this waits, though the revocation is in force already. Raises
        `errors.LogUnusableError`.
        """
        if not (session_id or sub) or (session_id and sub):
            raise ValueError("expected either a session_id or a sub, and not an empty one")
        return await self.token_expiry.sign_out(session=session_id, user=sub)

    # -- packets of clients

    async def on_connect(self, connection: Connection, auth: Any) -> None:
        try:
            identity = await self.token_expiry.authenticate(auth, connection.header_token)
            offer, _ = parse_offer(auth)
            if self.takeover is not None and offer.pid is not None:
                if not await self.takeover.prepare(offer):
                    self.server.close_connection(connection)
                    return
                # The token may have expired or been revoked meanwhile.
                identity = await self.token_expiry.authenticate(auth, connection.header_token)
        except RequestRejected as rejection:
            if rejection.code is Code.NOT_READY:
                # After CONNECT_ERROR a client would not try again by itself.
                self.server.close_connection(connection)
            else:
                self.connect_handler.reject(connection, rejection)
            return
        # No await from here on.
        if self._interrupted or self._draining:
            self.server.close_connection(connection)
            return
        rights = self.effective_rights(identity.rights)
        client = self.connect_handler.accept(connection, auth, rights)
        if client is None:
            return
        self.token_expiry.track(client, identity.claims)
        if self.upstream is not None:
            self.writer.send_event(
                client, "bridge-status", self.upstream_status.envelope(), str(self.log.head)
            )

    async def on_event(
        self, client: ClientSession, name: str, args: Sequence[Any], ack: int | None
    ) -> None:
        await self.request_handlers.handle(client, name, args, ack)

    def on_disconnect(self, client: ClientSession, reason: str) -> None:
        if reason == self.server.reason.CLIENT_DISCONNECT and client.recovery is not None:
            self.sessions.end(client.recovery)
        self.clients.remove(client)
        log.debug("client %s disconnected: %s", client.sid, reason)

    def _broadcast_status(self) -> None:
        """Broadcast the upstream state. It carries the position of the log's head, since clients
        take the last argument for one, and everything up to there has been sent before.
        """
        self.batcher.flush()
        event = Event("bridge-status", "", (), self.upstream_status.envelope())
        entry = Entry(self.log.head, event, self.clock.wall())
        self.writer.broadcast(entry, list(self.clients))
