"""The way to the clients. Nothing else writes to them or ends their connections.

An event is encoded once, joined with the others of its step of the event loop, framed once, and the
same bytes are written to all who get them (`dispatch`, `parcel`). Acks and pings take the same way
(`engine`, `outbox`), so that each client gets all that it is told in the order in which it was
said. What may wait for a client is bounded: one that doesn't take its packets is cut off, and comes
back by itself.

What is private in python-socketio and used here, checked with 5.18.1 (`tests/unit/test_engine.py`
says which of it changed, if something does): `manager.eio_sid_from_sid(sid, namespace)`,
`manager.sid_from_eio_sid(eio_sid, namespace)` and `manager.is_connected(sid, namespace)`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import TYPE_CHECKING, Final

from bridge.gateway.delivery.broadcaster import Broadcaster
from bridge.gateway.engineio.encoding import (
    EncodedEvent,
    EncodedPackets,
    encode_event,
    encode_message,
    join_events,
)
from bridge.gateway.engineio.raw_websocket import keep_transport
from bridge.gateway.engineio.server import EngineServer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from bridge.gateway.engineio.send_queue import SendQueue
    from bridge.gateway.engineio.session import EngineSession
    from bridge.gateway.socketio.server import SocketServer
    from bridge.log.base import Entry

__all__ = ["ClientWriter", "EngineServer", "keep_transport"]

log = logging.getLogger(__name__)

CLOSE_SECONDS: Final = 1.0
"""How long clients may take to take what they were told before their connections are closed."""

STORING: Final = "its subscription is being stored"
PAUSE: Final = "it is given a moment"
"""Why clients' events are kept back."""


class ClientWriter:
    """Writes to the clients of one server, by their Socket.IO sids."""

    def __init__(self, server: SocketServer, *, on_gone: Callable[[str], None]) -> None:
        """`on_gone` hears, a little later, of a client that events still went to after its
        connection had ended.
        """
        self._server = server
        self._on_gone = on_gone
        self._sockets: dict[str, EngineSession] = {}
        self._outboxes: dict[
            str, SendQueue
        ] = {}  # of the same clients: one look less for each of many
        self._dispatcher: Broadcaster[str, SendQueue, EncodedEvent, list[EncodedPackets]] = (
            Broadcaster(
                pack=self._pack,
                give=self._give,
                call_soon=lambda step: asyncio.get_running_loop().call_soon(step),
            )
        )
        server.eio.before_send = self._dispatcher.catch_up
        server.eio.on_overflow = self._on_overflow
        self._shut = False
        self.slow_clients_closed = 0

    def is_connected(self, sid: str) -> bool:
        """Whether the client's handshake is over and it has not left."""
        return bool(self._server.manager.is_connected(sid, "/"))

    def attach(self, sid: str, *, positions: bool = False) -> bool:
        """Let events reach the client; False if its connection has ended already. `positions` says
        whether its events end with their position, as one more argument.
        """
        self.detach(sid)
        eio_sid = self._server.manager.eio_sid_from_sid(sid, "/")
        socket = self._server.eio.sockets.get(eio_sid)
        if socket is None or socket.closed:
            return False
        self._sockets[sid] = socket
        self._outboxes[sid] = socket.queue
        socket.queue.positions = positions
        socket.client = sid
        return True

    def detach(self, sid: str) -> None:
        """No event that is delivered from here on reaches the client; its connection stays as it
        is.
        """
        if sid in self._sockets:
            self._dispatcher.catch_up(self._outboxes[sid])
            self._remove(sid)

    def broadcast(self, entry: Entry, sids: Collection[str]) -> None:
        """Tell each of these clients the entry's event, at the end of this step of the event loop
        or soon after, and in any case before anything that it is told later.
        """
        told = entry.event
        telling = EncodedEvent(told.name, told.envelope, str(entry.position))
        self._dispatcher.add(telling, sids)

    def send_event(self, sid: str, name: str, envelope: bytes, position: str | None) -> None:
        """Tell one client something, after all that was delivered to it before."""
        socket = self._sockets.get(sid)
        if socket is not None:
            position = position if socket.queue.positions else None
            socket.send_packets(EncodedPackets((encode_event(name, envelope, position),)))

    def send_packet(self, to: str | EngineSession, text: str) -> None:
        """Send a Socket.IO packet such as `0{"sid":"..."}` to a client, by its sid, or by the
        Engine.IO socket of one that is not attached yet.
        """
        socket = self._sockets.get(to) if isinstance(to, str) else to
        if socket is not None:
            socket.send_packets(encode_message(text))

    def hold(self, sid: str) -> None:
        """Tell the client nothing more until `let_go`; what comes meanwhile waits, in order."""
        self._hold(sid, STORING)

    def release(self, sid: str) -> None:
        if sid in self._outboxes:
            self._outboxes[sid].unhold(STORING)

    def pause(self, sid: str, seconds: float) -> None:
        """Tell the client nothing more for so long."""
        if sid in self._outboxes:
            self._hold(sid, PAUSE)
            # This outbox, since the client may have another one by then.
            asyncio.get_running_loop().call_later(seconds, self._outboxes[sid].unhold, PAUSE)

    def _hold(self, sid: str, reason: str) -> None:
        if sid in self._outboxes:
            self._dispatcher.catch_up(self._outboxes[sid])
            self._outboxes[sid].hold(reason)

    def flush(self) -> None:
        """Write all that was delivered, to everybody and now."""
        self._dispatcher.flush()

    def abort(self, sid: str) -> None:
        """End the client's connection now, whatever waits for it. It will come back by itself,
        which it would not after a Socket.IO disconnect.
        """
        if sid in self._sockets:
            # A next connection of this client may come at once, and is told what it missed.
            self._dispatcher.remove(self._outboxes[sid])
            self._remove(sid).abort()

    def close(self, sid: str) -> None:
        """End the client's connection after all that it was told before. It will come back by
        itself, as after `cut`.
        """
        socket = self._sockets.get(sid)
        if socket is None:
            return
        self.detach(sid)
        loop = asyncio.get_running_loop()
        if socket.upgraded:
            self._close(socket)
        else:
            # Time for a poll to fetch it. Together with the end it would be heard after the end.
            loop.call_later(CLOSE_SECONDS, self._close, socket)
        loop.call_later(2 * CLOSE_SECONDS, socket.abort)

    def _close(self, socket: EngineSession) -> None:
        # Without Engine.IO's goodbye: Python's client would take it for the end of all.
        closing = socket.close(abort=True, reason=self._server.reason.SERVER_DISCONNECT)
        self._server.eio.spawn(closing, "part with a client")

    async def close_all(self) -> None:
        """End all connections. Polls that wait are answered, so that a server which waits for
        its requests can stop. Twice is fine.
        """
        self.flush()
        engine = self._server.eio
        async with asyncio.TaskGroup() as closing:
            for socket in list(engine.sockets.values()):
                closing.create_task(socket.close(), name="close a client")
        until = time.monotonic() + CLOSE_SECONDS
        while engine.websockets and time.monotonic() < until:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.01)
        for line in list(engine.websockets):
            line.abort()
        if not self._shut:
            self._shut = True
            await self._server.shutdown()

    def _remove(self, sid: str) -> EngineSession:
        del self._outboxes[sid]
        socket = self._sockets.pop(sid)
        socket.client = None
        return socket

    def _pack(
        self, tellings: list[EncodedEvent], sids: Iterable[str]
    ) -> Iterator[tuple[list[SendQueue], list[EncodedPackets]]]:
        """Those who get positions and those who don't, each with what they get."""
        forms: tuple[list[SendQueue], list[SendQueue]] = ([], [])
        for sid in sids:
            outbox = self._outboxes.get(sid)
            if outbox is None or outbox.ended:
                asyncio.get_running_loop().call_soon(self._on_gone, sid)
            else:
                forms[outbox.positions].append(outbox)
        for positions, outboxes in enumerate(forms):
            if outboxes:
                yield outboxes, join_events(tellings, positions=bool(positions))

    @staticmethod
    def _give(outboxes: list[SendQueue], told: list[EncodedPackets]) -> None:
        # For each of thousands, so it does no more than it has to.
        if len(told) > 1:
            for outbox in outboxes:
                for piece in told:
                    outbox.send(piece)
            return
        piece = told[0]
        frames = piece.frames
        size = len(frames)
        write = os.write
        for outbox in outboxes:
            fd = outbox.fd
            if fd < 0:
                outbox.send(piece)
                continue
            try:
                sent = write(fd, frames)
            except OSError:  # the client takes nothing, or is gone: the transport finds out
                sent = 0
            if sent != size:
                outbox.send_rest(frames[sent:])

    def _on_overflow(self, socket: EngineSession, unsent: int) -> None:
        sid = self._server.manager.sid_from_eio_sid(socket.sid, "/") or socket.sid
        log.warning(
            "client %s doesn't take its packets: cut off with %d bytes waiting", sid, unsent
        )
        self.slow_clients_closed += 1
        if sid in self._sockets:
            self.abort(sid)
        else:
            socket.abort()
