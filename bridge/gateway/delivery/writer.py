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

from bridge.gateway.delivery.broadcaster import Dispatcher
from bridge.gateway.engineio.encoding import Piece, Telling, event, message, pieces
from bridge.gateway.engineio.raw_websocket import keep_transport
from bridge.gateway.engineio.server import Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from bridge.gateway.engineio.send_queue import Outbox
    from bridge.gateway.engineio.session import Socket
    from bridge.gateway.socketio.server import Server
    from bridge.log.base import Entry

__all__ = ["Engine", "Wire", "keep_transport"]

log = logging.getLogger(__name__)

GOODBYE_SECONDS: Final = 1.0
"""How long clients may take to take what they were told before their connections are closed."""

STORING: Final = "its subscription is being stored"
PAUSE: Final = "it is given a moment"
"""Why clients' events are kept back."""


class Wire:
    """Writes to the clients of one server, by their Socket.IO sids."""

    def __init__(self, server: Server, *, on_gone: Callable[[str], None]) -> None:
        """`on_gone` hears, a little later, of a client that events still went to after its
        connection had ended.
        """
        self._server = server
        self._on_gone = on_gone
        self._sockets: dict[str, Socket] = {}
        self._outboxes: dict[
            str, Outbox
        ] = {}  # of the same clients: one look less for each of many
        self._dispatcher: Dispatcher[str, Outbox, Telling, list[Piece]] = Dispatcher(
            pack=self._pack,
            give=self._give,
            call_soon=lambda step: asyncio.get_running_loop().call_soon(step),
        )
        server.eio.before_telling = self._dispatcher.catch_up
        server.eio.on_overflow = self._overflown
        self._shut = False
        self.cut_off = 0

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
            self._forget(sid)

    def deliver(self, entry: Entry, sids: Collection[str]) -> None:
        """Tell each of these clients the entry's event, at the end of this step of the event loop
        or soon after, and in any case before anything that it is told later.
        """
        told = entry.event
        telling = Telling(told.name, told.envelope, str(entry.position))
        self._dispatcher.add(telling, sids)

    def send_event(self, sid: str, name: str, envelope: bytes, position: str | None) -> None:
        """Tell one client something, after all that was delivered to it before."""
        socket = self._sockets.get(sid)
        if socket is not None:
            position = position if socket.queue.positions else None
            socket.tell(Piece((event(name, envelope, position),)))

    def send_packet(self, to: str | Socket, text: str) -> None:
        """Send a Socket.IO packet such as `0{"sid":"..."}` to a client, by its sid, or by the
        Engine.IO socket of one that is not attached yet.
        """
        socket = self._sockets.get(to) if isinstance(to, str) else to
        if socket is not None:
            socket.tell(message(text))

    def keep_back(self, sid: str) -> None:
        """Tell the client nothing more until `let_go`; what comes meanwhile waits, in order."""
        self._keep_back(sid, STORING)

    def let_go(self, sid: str) -> None:
        if sid in self._outboxes:
            self._outboxes[sid].let_go(STORING)

    def pause(self, sid: str, seconds: float) -> None:
        """Tell the client nothing more for so long."""
        if sid in self._outboxes:
            self._keep_back(sid, PAUSE)
            # This outbox, since the client may have another one by then.
            asyncio.get_running_loop().call_later(seconds, self._outboxes[sid].let_go, PAUSE)

    def _keep_back(self, sid: str, reason: str) -> None:
        if sid in self._outboxes:
            self._dispatcher.catch_up(self._outboxes[sid])
            self._outboxes[sid].keep_back(reason)

    def flush(self) -> None:
        """Write all that was delivered, to everybody and now."""
        self._dispatcher.flush()

    def cut(self, sid: str) -> None:
        """End the client's connection now, whatever waits for it. It will come back by itself,
        which it would not after a Socket.IO disconnect.
        """
        if sid in self._sockets:
            # A next connection of this client may come at once, and is told what it missed.
            self._dispatcher.forget(self._outboxes[sid])
            self._forget(sid).abort()

    def part(self, sid: str) -> None:
        """End the client's connection after all that it was told before. It will come back by
        itself, as after `cut`.
        """
        socket = self._sockets.get(sid)
        if socket is None:
            return
        self.detach(sid)
        loop = asyncio.get_running_loop()
        if socket.upgraded:
            self._part(socket)
        else:
            # Time for a poll to fetch it. Together with the end it would be heard after the end.
            loop.call_later(GOODBYE_SECONDS, self._part, socket)
        loop.call_later(2 * GOODBYE_SECONDS, socket.abort)

    def _part(self, socket: Socket) -> None:
        # Without Engine.IO's goodbye: Python's client would take it for the end of all.
        closing = socket.close(abort=True, reason=self._server.reason.SERVER_DISCONNECT)
        self._server.eio.spawn(closing, "part with a client")

    async def close(self) -> None:
        """End all connections. Polls that wait are answered, so that a server which waits for
        its requests can stop. Twice is fine.
        """
        self.flush()
        engine = self._server.eio
        async with asyncio.TaskGroup() as closing:
            for socket in list(engine.sockets.values()):
                closing.create_task(socket.close(), name="close a client")
        until = time.monotonic() + GOODBYE_SECONDS
        while engine.lines and time.monotonic() < until:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.01)
        for line in list(engine.lines):
            line.abort()
        if not self._shut:
            self._shut = True
            await self._server.shutdown()

    def _forget(self, sid: str) -> Socket:
        del self._outboxes[sid]
        socket = self._sockets.pop(sid)
        socket.client = None
        return socket

    def _pack(
        self, tellings: list[Telling], sids: Iterable[str]
    ) -> Iterator[tuple[list[Outbox], list[Piece]]]:
        """Those who get positions and those who don't, each with what they get."""
        forms: tuple[list[Outbox], list[Outbox]] = ([], [])
        for sid in sids:
            outbox = self._outboxes.get(sid)
            if outbox is None or outbox.ended:
                asyncio.get_running_loop().call_soon(self._on_gone, sid)
            else:
                forms[outbox.positions].append(outbox)
        for positions, outboxes in enumerate(forms):
            if outboxes:
                yield outboxes, pieces(tellings, positions=bool(positions))

    @staticmethod
    def _give(outboxes: list[Outbox], told: list[Piece]) -> None:
        # For each of thousands, so it does no more than it has to.
        if len(told) > 1:
            for outbox in outboxes:
                for piece in told:
                    outbox.tell(piece)
            return
        piece = told[0]
        frames = piece.frames
        size = len(frames)
        write = os.write
        for outbox in outboxes:
            fd = outbox.fd
            if fd < 0:
                outbox.tell(piece)
                continue
            try:
                sent = write(fd, frames)
            except OSError:  # the client takes nothing, or is gone: the transport finds out
                sent = 0
            if sent != size:
                outbox.tell_rest(frames[sent:])

    def _overflown(self, socket: Socket, unsent: int) -> None:
        sid = self._server.manager.sid_from_eio_sid(socket.sid, "/") or socket.sid
        log.warning(
            "client %s doesn't take its packets: cut off with %d bytes waiting", sid, unsent
        )
        self.cut_off += 1
        if sid in self._sockets:
            self.cut(sid)
        else:
            socket.abort()
