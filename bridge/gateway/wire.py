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
import time
from typing import TYPE_CHECKING, Final

from bridge.gateway.dispatch import Dispatcher
from bridge.gateway.engine import CLIENT_BYTES, Engine
from bridge.gateway.parcel import Piece, Telling, event, message, pieces
from bridge.gateway.transport import keep_transport

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from bridge.gateway.engine import Socket
    from bridge.gateway.handshake import Server
    from bridge.log.base import Entry

__all__ = ["WAITING", "Engine", "Wire", "keep_transport"]

log = logging.getLogger(__name__)

WAITING: Final = CLIENT_BYTES

GOODBYE_SECONDS: Final = 1.0
"""How long clients may take to take what they were told before their connections are closed."""


class _Client:
    """A client that events reach."""

    __slots__ = ("positions", "socket")

    def __init__(self, socket: Socket, *, positions: bool) -> None:
        self.socket = socket
        self.positions = positions


class _Parcel:
    """Events in a row, as clients with positions get them and as those without do."""

    __slots__ = ("_pieces", "_tellings")

    def __init__(self, tellings: list[Telling]) -> None:
        self._tellings = tellings
        self._pieces: list[list[Piece] | None] = [None, None]

    def pieces(self, *, positions: bool) -> list[Piece]:
        out = self._pieces[positions]
        if out is None:
            out = self._pieces[positions] = pieces(self._tellings, positions=positions)
        return out


class Wire:
    """Writes to the clients of one server, by their Socket.IO sids."""

    def __init__(self, server: Server, *, on_gone: Callable[[str], None]) -> None:
        """`on_gone` hears, a little later, of a client that events still went to after its
        connection had ended.
        """
        self._server = server
        self._on_gone = on_gone
        self._clients: dict[str, _Client] = {}
        self._dispatcher: Dispatcher[str, Telling, _Parcel] = Dispatcher(
            pack=_Parcel,
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
        # What was still to be told to a former connection of this client is not for this one.
        self._dispatcher.catch_up(sid)
        eio_sid = self._server.manager.eio_sid_from_sid(sid, "/")
        socket = self._server.eio.sockets.get(eio_sid)
        if socket is None or socket.closed:
            return False
        self._clients[sid] = _Client(socket, positions=positions)
        socket.client = sid
        return True

    def detach(self, sid: str) -> None:
        """No event that is delivered from here on reaches the client; its connection stays as it
        is.
        """
        if sid in self._clients:
            self._dispatcher.catch_up(sid)
            self._clients.pop(sid).socket.client = None

    def deliver(self, entry: Entry, sids: Collection[str]) -> None:
        """Tell each of these clients the entry's event, at the end of this step of the event loop
        or soon after, and in any case before anything that it is told later.
        """
        told = entry.event
        telling = Telling(told.name, told.envelope, str(entry.position))
        self._dispatcher.add(telling, sids)

    def send_event(self, sid: str, name: str, envelope: bytes, position: str | None) -> None:
        """Tell one client something, after all that was delivered to it before."""
        client = self._clients.get(sid)
        if client is not None:
            position = position if client.positions else None
            client.socket.tell(Piece((event(name, envelope, position),)))

    def send_packet(self, to: str | Socket, text: str) -> None:
        """Send a Socket.IO packet such as `0{"sid":"..."}` to a client, by its sid, or by the
        Engine.IO socket of one that is not attached yet.
        """
        if isinstance(to, str):
            client = self._clients.get(to)
            if client is None:
                return
            to = client.socket
        to.tell(message(text))

    def flush(self) -> None:
        """Write all that was delivered, to everybody and now."""
        self._dispatcher.flush()

    def cut(self, sid: str) -> None:
        """End the client's connection now, whatever waits for it. It will come back by itself,
        which it would not after a Socket.IO disconnect.
        """
        client = self._clients.pop(sid, None)
        if client is not None:
            client.socket.client = None
            client.socket.abort()

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

    def _give(self, sid: str, parcel: _Parcel) -> int:
        """Tell a client what it was delivered; how many writes that took."""
        client = self._clients.get(sid)
        if client is None or client.socket.closed:
            asyncio.get_running_loop().call_soon(self._on_gone, sid)
            return 1
        told = parcel.pieces(positions=client.positions)
        tell = client.socket.queue.tell
        for piece in told:
            tell(piece)
        return len(told)

    def _overflown(self, socket: Socket, unsent: int) -> None:
        sid = self._server.manager.sid_from_eio_sid(socket.sid, "/") or socket.sid
        log.warning(
            "client %s doesn't take its packets: cut off with %d bytes waiting", sid, unsent
        )
        self.cut_off += 1
        if sid in self._clients:
            self.cut(sid)
        else:
            socket.abort()
