"""Accepts clients: as new ones, or as reconnecting ones that recover their session."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import orjson

from bridge.contract.parse import parse_batch_flag, parse_selection
from bridge.errors import RequestRejected
from bridge.gateway.client import ClientSession
from bridge.gateway.delivery.coalesce import BATCH_EVENT, coalesce, envelope
from bridge.gateway.engineio.encoding import encode_message
from bridge.gateway.recovery.sessions import parse_offer
from bridge.rights import UNRESTRICTED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.clock import Clock
    from bridge.contract.parse import RoomSelection
    from bridge.gateway.client import Connection
    from bridge.gateway.clients import ClientRegistry
    from bridge.gateway.delivery.batcher import Batcher
    from bridge.gateway.delivery.writer import ClientWriter
    from bridge.gateway.hub import Hub
    from bridge.gateway.recovery.replay import ReplaySegment
    from bridge.gateway.recovery.sessions import RecoveryOffer, RecoverySessions
    from bridge.log.base import EntryReader
    from bridge.rights import Rights

log = logging.getLogger(__name__)

LISTENER_GRACE_SECONDS: Final = 0.2
"""Time between CONNECT and the missed events, in which a recovered client sets up its listeners: a
React component does so in an effect, some iterations of the page's event loop after `connect`."""


class ConnectHandler:
    """Answers CONNECT packets.

    CONNECT is sent first and the missed events after it. Node's server sends them in the opposite
    order, and the official client handles both alike but for one difference: events ahead of
    CONNECT are passed to the listeners registered at that moment. A page that registers its
    listeners on `connect` and removes them on `disconnect`, as many do, would have none and lose
    all of these events. For the same reason there is a pause between the two.
    """

    def __init__(
        self,
        *,
        clients: ClientRegistry,
        writer: ClientWriter,
        hub: Hub,
        batcher: Batcher,
        sessions: RecoverySessions,
        log: EntryReader,
        clock: Clock,
        updated_at: str | None,
        new_sid: Callable[[], str],
    ) -> None:
        self._clients = clients
        self._writer = writer
        self._hub = hub
        self._batcher = batcher
        self._sessions = sessions
        self._log = log
        self._clock = clock
        self._updated_at = updated_at
        self._new_sid = new_sid

    def accept(
        self, connection: Connection, auth: Any, rights: Rights = UNRESTRICTED
    ) -> ClientSession | None:
        """Answer a CONNECT packet of a client with `rights`; return the client if it is accepted
        and its connection is still open.

        Everything is done when this returns: a recovered client has been sent its missed events and
        is in its rooms before anything else can be published.
        """
        offer, auth = parse_offer(auth)
        try:
            selection = parse_selection(auth)
            batching = parse_batch_flag(auth)
            return self._resume(connection, offer, rights, batching=batching) or self._accept_new(
                connection, selection, rights, batching=batching
            )
        except RequestRejected as rejection:
            self.reject(connection, rejection)
            return None

    def reject(self, connection: Connection, rejection: RequestRejected) -> None:
        """Answer a CONNECT packet with CONNECT_ERROR."""
        data = {"code": rejection.code.value, "message": rejection.message}
        answer = orjson.dumps({"message": rejection.message, "data": data})
        if connection.engine is not None and connection.is_open:
            connection.engine.send_packets(encode_message(f"4{answer.decode()}"))

    def _accept_new(
        self, connection: Connection, selection: RoomSelection, rights: Rights, *, batching: bool
    ) -> ClientSession | None:
        client = self._add(connection, self._new_sid(), batching=batching)
        try:
            subscription = self._hub.join(client, selection, rights=rights)
        except RequestRejected:
            self._clients.remove(client)
            raise
        # Python's client can't recover: it would never resume a session.
        positions = not connection.is_python
        if not self._writer.attach(client, positions=positions):
            self._clients.remove(client)
            return None
        if batching:
            self._batcher.set(client)
        connect = {"sid": client.sid}
        if positions and self._sessions.enabled:
            client.recovery = self._sessions.open(client.sid, subscription, self._log.head)
            connect["pid"] = client.recovery.pid
        self._send_connect(client, connect)
        log.debug("client %s connected", client.sid)
        return client

    def _resume(
        self, connection: Connection, offer: RecoveryOffer, rights: Rights, *, batching: bool
    ) -> ClientSession | None:
        now = self._clock.monotonic()
        session = None if offer.pid is None else self._sessions.find(offer.pid, now, rights.user)
        if session is None:
            return None
        self._evict(session.sid)
        missed = self._sessions.resume(session, offer.offset, self._log, rights)
        if missed is None:
            return None
        client = self._add(connection, session.sid, batching=batching)
        client.recovery = session
        self._hub.restore(client, session.subscription)
        if not self._writer.attach(client, positions=True):
            self._clients.remove(client)
            return None
        if batching:
            self._batcher.set(client)
        self._send_connect(client, {"sid": client.sid, "pid": session.pid})
        self._writer.pause(client, LISTENER_GRACE_SECONDS)
        if batching:
            self._send_missed_batch(client, missed)
        else:
            self._send_missed(client, missed)
        log.debug("client %s recovered", client.sid)
        return client

    def _add(self, connection: Connection, sid: str, *, batching: bool) -> ClientSession:
        client = ClientSession(sid, connection, batching=batching)
        self._clients.add(client)
        return client

    def _evict(self, sid: str) -> None:
        """Remove the client with this sid, if its former connection still seems to be open. The pid
        is secret, so a connection that presents it belongs to the same client, and the end of the
        former one has not been noticed yet.
        """
        client = self._clients.get(sid)
        if client is not None:
            client.recovery = None  # the new connection takes it over
            self._writer.abort(client)

    def _send_connect(self, client: ClientSession, data: dict[str, str]) -> None:
        self._writer.send_packet(client, f"0{orjson.dumps(data).decode()}")

    def _send_missed(self, client: ClientSession, missed: Sequence[ReplaySegment]) -> None:
        for segment in missed:
            for entry in segment.visible:
                event = entry.event
                self._writer.send_event(client, event.name, event.envelope, str(entry.position))

    def _send_missed_batch(self, client: ClientSession, missed: Sequence[ReplaySegment]) -> None:
        """Send one batch. Each segment is coalesced by itself: when the subscription changed, the
        client took the state of its properties from a snapshot.
        """
        events = [
            visible
            for segment in missed
            for event in coalesce(segment.entries, self._updated_at, segment.view)
            if (visible := segment.visible_event(event)) is not None
        ]
        if events:
            position = missed[-1].entries[-1].position
            self._writer.send_event(client, BATCH_EVENT, envelope(events), str(position))
