"""How a client gets in: as a new one, or as who it was."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import orjson

from bridge.contract.parse import parse_batch_flag, parse_selection
from bridge.errors import RequestRejected
from bridge.gateway.delivery.coalesce import BATCH_EVENT, coalesce, envelope
from bridge.gateway.recovery.sessions import parse_offer
from bridge.rights import UNRESTRICTED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.clock import Clock
    from bridge.contract.parse import RoomSelection
    from bridge.gateway.delivery.batcher import Batcher
    from bridge.gateway.delivery.writer import ClientWriter
    from bridge.gateway.hub import Hub
    from bridge.gateway.recovery.replay import ReplaySegment
    from bridge.gateway.recovery.sessions import RecoveryOffer, RecoverySessions
    from bridge.gateway.socketio.server import SocketServer
    from bridge.log.base import EntryReader
    from bridge.rights import Rights

log = logging.getLogger(__name__)

LISTENER_GRACE_SECONDS: Final = 0.2
"""What a client that is back is given to set up its listeners before it is told what it missed. A
React component does so in an effect, some turns of the page's loop after `connect`."""


class ConnectHandler:
    """Answers those who ask to be connected.

    CONNECT comes first and what was missed after it. Node's server does it the other way round, and
    to the official client both are the same but for one thing: what comes before CONNECT is heard
    by the listeners of that moment, and a page that sets its listeners up on `connect` and takes
    them off on `disconnect`, as many do, would have none and lose it all. For the same reason there
    is a moment between the two.
    """

    def __init__(
        self,
        *,
        server: SocketServer,
        wire: ClientWriter,
        hub: Hub[str],
        window: Batcher,
        sessions: RecoverySessions,
        log: EntryReader,
        clock: Clock,
        updated_at: str | None,
        evicted: Callable[[str], None],
    ) -> None:
        """`evicted` is told of a client that has lost its connection to a next one of its own."""
        self._server = server
        self._wire = wire
        self._hub = hub
        self._window = window
        self._sessions = sessions
        self._log = log
        self._clock = clock
        self._updated_at = updated_at
        self._evicted = evicted

    def accept(self, eio_sid: str, auth: Any, rights: Rights = UNRESTRICTED) -> str | None:
        """Answer a connection that asks to be a client and has `rights`; gives its sid if it has
        become one.

        Everything is done when this returns: a client that is told what it missed is in its rooms
        before anything else can be published.
        """
        offer, auth = parse_offer(auth)
        try:
            what = parse_selection(auth)
            batched = parse_batch_flag(auth)
            return self._resume(eio_sid, offer, rights, batched=batched) or self._accept_new(
                eio_sid, what, rights, batched=batched
            )
        except RequestRejected as refused:
            self.reject(eio_sid, refused)
            return None

    def reject(self, eio_sid: str, refused: RequestRejected) -> None:
        """Answer a connection that it doesn't become a client."""
        data = {"code": refused.code.value, "message": refused.message}
        answer = orjson.dumps({"message": refused.message, "data": data})
        socket = self._server.connection(eio_sid)
        if socket is not None:
            self._wire.send_packet(socket, f"4{answer.decode()}")

    def _accept_new(
        self, eio_sid: str, what: RoomSelection, rights: Rights, *, batched: bool
    ) -> str | None:
        # Python's own client can't recover; a session would wait for nobody.
        positions = not self._server.is_python_client(eio_sid)
        sid = self._server.new_sid()
        subscription = self._hub.join(sid, what, rights=rights, aside=batched)
        if not self._attached(eio_sid, sid, positions=positions):
            self._hub.remove(sid)
            return None
        if batched:
            self._window.set(sid, subscription)
        connect = {"sid": sid}
        if positions and self._sessions.seconds > 0:
            connect["pid"] = self._sessions.open(sid, subscription, self._log.head).pid
        self._connect(sid, connect)
        log.debug("client %s connected", sid)
        return sid

    def _resume(
        self, eio_sid: str, offer: RecoveryOffer, rights: Rights, *, batched: bool
    ) -> str | None:
        now = self._clock.monotonic()
        session = None if offer.pid is None else self._sessions.find(offer.pid, now, rights.user)
        if session is None:
            return None
        sid = session.sid
        self._replace_connection(sid)
        missed = self._sessions.resume(session, offer.offset, self._log, rights)
        if missed is None:
            return None
        if not self._attached(eio_sid, sid, positions=True):
            self._sessions.disconnected(sid, now)
            return None
        self._hub.restore(sid, session.subscription, aside=batched)
        if batched:
            self._window.set(sid, session.subscription)
        self._connect(sid, {"sid": sid, "pid": session.pid})
        self._wire.pause(sid, LISTENER_GRACE_SECONDS)
        if batched:
            self._send_missed_batch(sid, missed)
        else:
            self._send_missed(sid, missed)
        log.debug("client %s is back", sid)
        return sid

    def _replace_connection(self, sid: str) -> None:
        """Whoever comes with a client's pid is that client. If its former connection still seems
        to stand, it is one whose end nobody has noticed yet.
        """
        self._wire.abort(sid)
        self._server.unregister(sid)
        self._hub.remove(sid)
        self._window.remove(sid)
        self._evicted(sid)

    def _attached(self, eio_sid: str, sid: str, *, positions: bool) -> bool:
        self._server.register(eio_sid, sid)
        if self._wire.attach(sid, positions=positions):
            return True
        self._server.unregister(sid)
        return False

    def _connect(self, sid: str, data: dict[str, str]) -> None:
        self._wire.send_packet(sid, f"0{orjson.dumps(data).decode()}")

    def _send_missed(self, sid: str, missed: Sequence[ReplaySegment]) -> None:
        for stretch in missed:
            for entry in stretch.visible:
                event = entry.event
                self._wire.send_event(sid, event.name, event.envelope, str(entry.position))

    def _send_missed_batch(self, sid: str, missed: Sequence[ReplaySegment]) -> None:
        """One batch. Stretches are folded by themselves: what a property was when the subscription
        changed is what a snapshot said of it.
        """
        events = [
            heard
            for stretch in missed
            for event in coalesce(stretch.entries, self._updated_at, stretch.view)
            if (heard := stretch.visible_event(event)) is not None
        ]
        if events:
            position = missed[-1].entries[-1].position
            self._wire.send_event(sid, BATCH_EVENT, envelope(events), str(position))
