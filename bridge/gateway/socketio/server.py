"""Socket.IO's handshake, and the other packets that clients send, told to an `Edge`.

python-socketio's own handling gives every connection a new sid, answers CONNECT by itself and
waits in between; recovery needs the same sid again, a pid in the answer, and one step of the loop
from the decision to the last missed event. Its acks pass through several walks over what they
carry, which a page of a snapshot is too big for. So what belongs to the main namespace is taken
here; everything else stays the library's.

What is private in python-socketio and used here, checked with 5.18.1 (`tests/unit/
test_handshake.py` says which of them changed, if one does):

- `AsyncServer._engineio_server_class()` names the Engine.IO server's class;
- `AsyncServer._handle_connect(eio_sid, namespace, data)`, `._handle_event(eio_sid, namespace, id,
  data)` and `._handle_disconnect(eio_sid, namespace, reason)` take a client's packets;
- `AsyncServer._handle_eio_disconnect(eio_sid, reason)` hears of every connection's end, and
  calls `_handle_disconnect` for what was connected through it;
- `AsyncServer._handle_eio_connect(eio_sid, environ)` hears of every connection's beginning, within
  the task that serves its first request;
- `AsyncServer._handle_eio_message(eio_sid, data)` takes all that a client says, and makes packets
  of the class that the server was given as its `serializer`;
- `AsyncServer._send_packet(eio_sid, packet)`; `.handlers`, `.namespace_handlers`: by namespace;
- `AsyncServer._binary_packet`: packets by Engine.IO sid that wait for their attachments;
- `manager.basic_enter_room(sid, namespace, None, eio_sid)` makes a client known under both its sids
  and `manager.basic_leave_room(sid, namespace, None)` undoes it; `manager.sid_from_eio_sid` and
  `manager.eio_sid_from_sid` translate; `manager.get_namespaces()` are those that have clients.

And in python-engineio's client, checked with 4.15.1: it builds its URLs with `transport` before
`EIO`, which is how `is_python_client` knows it.
"""

from __future__ import annotations

import asyncio
import logging
import re
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol

import socketio

from bridge.auth.token_verifier import bearer_token
from bridge.gateway.delivery.writer import EngineServer
from bridge.gateway.socketio.packet import PacketError, SocketPacket
from bridge.gateway.timers import ConnectTimeout
from bridge.security.admission import claim_slot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Receive, Scope, Send

    from bridge.security.concurrency import Slot

log = logging.getLogger(__name__)

NAMESPACE: Final = "/"

CONNECT_SECONDS: Final = 45.0
"""How long a connection may stay that no client has connected through, as with Node's server."""

MAX_CONNECTS: Final = 20
"""How often clients may ask to be connected through one connection. They do so once, and again if
the page wants it; whoever tries tokens, or leaves and comes, has to begin connections, which the
door counts."""

_PYTHON: Final = re.compile(r"(?:^|&)transport=\w+&EIO=4(?:&|$)")


def is_python_client(query: str) -> bool:
    """Whether a connection's first request, by its query, came from python-socketio's own client.

    It hands every argument that comes to its handlers, so a handler of one parameter would break on
    an event that ends with its position; and it knows no recovery, so the position is of no use to
    it. Its URLs say `transport=...&EIO=4`, those of the JavaScript client `EIO=4&transport=...`.
    """
    return _PYTHON.search(query) is not None


_query: ContextVar[str] = ContextVar("query", default="")
_headers: ContextVar[Sequence[tuple[bytes, bytes]]] = ContextVar("headers", default=())
"""Of the request that is being served."""


class ClientHandler(Protocol):
    """Who decides about clients. `sid` is Socket.IO's, `eio_sid` the connection's."""

    async def on_connect(self, eio_sid: str, auth: Any) -> None:
        """A client asks to be connected. The answer is CONNECT, after `Server.admit`, or
        CONNECT_ERROR.
        """
        ...

    async def on_event(self, sid: str, name: str, args: Sequence[Any], ack: int | None) -> None:
        """A client sent an event, and waits for an ack by that number unless it is None."""
        ...

    def on_disconnect(self, sid: str, reason: str) -> None:
        """A client is gone: by its own word if `reason` is `CLIENT_DISCONNECT`, and by the end of
        its connection otherwise.
        """
        ...


class SocketServer(socketio.AsyncServer):  # type: ignore[misc]
    """Socket.IO over `Engine`. Without an `edge` it is the library's own server."""

    def __init__(
        self,
        *,
        handler: ClientHandler | None = None,
        connect_seconds: float = CONNECT_SECONDS,
        **options: Any,
    ) -> None:
        super().__init__(serializer=SocketPacket, **options)
        self.handler = handler
        self._python: set[str] = set()
        self._tokens: dict[str, str] = {}
        self._connecting: set[str] = set()
        self._connect_counts: dict[str, int] = {}  # by the connections' sids
        self._slots: dict[str, Slot] = {}  # that connections have, by their sids
        self._connect_seconds = connect_seconds
        self._connect_timeout: ConnectTimeout | None = None

    async def handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        _query.set(scope.get("query_string", b"").decode("ascii", "replace"))
        _headers.set(scope.get("headers", ()))
        await super().handle_request(scope, receive, send)

    # -- what an edge does ----------------------------------------------------------------------

    def new_sid(self) -> str:
        return str(self.eio.generate_id())

    def register(self, eio_sid: str, sid: str) -> None:
        """The connection is client `sid` from here on. Says nothing to it."""
        self.manager.basic_enter_room(sid, NAMESPACE, None, eio_sid=eio_sid)

    def unregister(self, sid: str) -> None:
        """Client `sid` has no connection any more, whatever becomes of the one it had."""
        self.manager.basic_leave_room(sid, NAMESPACE, None)

    def connection(self, eio_sid: str) -> Any:
        """The Engine.IO socket of a connection; None once it is gone."""
        return self.eio.sockets.get(eio_sid)

    def token(self, eio_sid: str) -> str | None:
        """The token that a connection's first request had in its header `Authorization`."""
        return self._tokens.get(eio_sid)

    def is_python_client(self, eio_sid: str) -> bool:
        return eio_sid in self._python

    def address(self, sid: str) -> str | None:
        """What the client's connection is counted under; None where nobody counts."""
        place = self._slots.get(self.manager.eio_sid_from_sid(sid, NAMESPACE))
        return place.key if place is not None else None

    def has_open_connection(self, sid: str) -> bool:
        """Whether the client has a connection which has not ended."""
        socket = self.eio.sockets.get(self.manager.eio_sid_from_sid(sid, NAMESPACE))
        return socket is not None and not socket.closed

    # -- what clients do ------------------------------------------------------------------------

    def _engineio_server_class(self) -> type[EngineServer]:
        return EngineServer

    async def _handle_eio_connect(self, eio_sid: str, environ: Any) -> Any:
        if is_python_client(_query.get()):
            self._python.add(eio_sid)
        for name, value in _headers.get():
            if (
                name == b"authorization"
                and (token := bearer_token(value.decode("latin-1"))) is not None
            ):
                self._tokens[eio_sid] = token
        place = claim_slot()
        if place is not None:
            self._slots[eio_sid] = place
        if self._connect_timeout is None:
            loop = asyncio.get_running_loop()
            self._connect_timeout = ConnectTimeout(
                self._connect_seconds,
                self._on_connect_timeout,
                clock=loop.time,
                call_later=loop.call_later,
            )
        self._connect_timeout.add(eio_sid)
        return await super()._handle_eio_connect(eio_sid, environ)

    def _on_connect_timeout(self, eio_sid: str) -> None:
        """A connection has been there for a while. Has somebody come through it?"""
        sid_of = self.manager.sid_from_eio_sid
        if not any(sid_of(eio_sid, each) for each in self.manager.get_namespaces()):
            self.close_connection(eio_sid)

    def close_connection(self, eio_sid: str) -> None:
        """End a connection through which nobody has come. A client's library tries again."""
        self._close_connection(eio_sid, self.reason.SERVER_DISCONNECT)

    def _close_connection(self, eio_sid: str, reason: str) -> None:
        socket = self.connection(eio_sid)
        if socket is not None:
            self.eio.spawn(socket.close(abort=True, reason=reason), "part with a client")

    async def shutdown(self) -> None:
        if self._connect_timeout is not None:
            self._connect_timeout.stop()
        await super().shutdown()

    async def _handle_eio_message(self, eio_sid: str, data: Any) -> None:
        try:
            await super()._handle_eio_message(eio_sid, data)
        except (PacketError, ValueError):  # the library's for a packet that is out of place
            self._binary_packet.pop(eio_sid, None)
            self._close_connection(eio_sid, self.reason.TRANSPORT_ERROR)

    async def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        self._connect_counts[eio_sid] = count = self._connect_counts.get(eio_sid, 0) + 1
        if count > MAX_CONNECTS:
            self.close_connection(eio_sid)
            return
        name = namespace or NAMESPACE
        if self.handler is None or name in self.handlers or name in self.namespace_handlers:
            await super()._handle_connect(eio_sid, namespace, data)
        elif name != NAMESPACE:
            await self._send_connect_error(eio_sid, name, "Invalid namespace")
        elif (
            eio_sid in self._connecting
            or self.manager.sid_from_eio_sid(eio_sid, NAMESPACE) is not None
        ):
            await self._send_connect_error(eio_sid, name, "Already connected")
        else:
            await self._dispatch_connect(self.handler, eio_sid, data)

    async def _dispatch_connect(self, handler: ClientHandler, eio_sid: str, auth: Any) -> None:
        self._connecting.add(eio_sid)
        try:
            await handler.on_connect(eio_sid, auth)
        except Exception:
            log.exception("a client could not be connected")
            self._close_connection(eio_sid, self.reason.SERVER_DISCONNECT)
        finally:
            self._connecting.discard(eio_sid)

    async def _send_connect_error(self, eio_sid: str, namespace: str, why: str) -> None:
        # An object, since clients make an error of its `message`; the library says a string.
        refusal = SocketPacket(
            socketio.packet.CONNECT_ERROR, data={"message": why}, namespace=namespace
        )
        await self._send_packet(eio_sid, refusal)

    async def _handle_event(
        self,
        eio_sid: str,
        namespace: str | None,
        id: int | None,  # noqa: A002 - the library's name
        data: Any,
    ) -> None:
        if self.handler is None or (namespace or NAMESPACE) != NAMESPACE:
            await super()._handle_event(eio_sid, namespace, id, data)
            return
        sid = self.manager.sid_from_eio_sid(eio_sid, NAMESPACE)
        if sid is None or not isinstance(data, list) or not data or not isinstance(data[0], str):
            return
        await self.handler.on_event(sid, data[0], data[1:], id)

    async def _handle_disconnect(
        self, eio_sid: str, namespace: str | None, reason: str | None = None
    ) -> None:
        if self.handler is None or (namespace or NAMESPACE) != NAMESPACE:
            await super()._handle_disconnect(eio_sid, namespace, reason)
            return
        sid = self.manager.sid_from_eio_sid(eio_sid, NAMESPACE)
        if sid is not None:
            self._binary_packet.pop(eio_sid, None)
            self.unregister(sid)
            self.handler.on_disconnect(sid, reason or self.reason.CLIENT_DISCONNECT)

    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        # That a client's Engine.IO closed in order says nothing of the client's will: it does so
        # when a page's connection is dropped too, and comes back. Only Socket.IO's own DISCONNECT
        # is a farewell, and that does not come this way.
        self._python.discard(eio_sid)
        self._tokens.pop(eio_sid, None)
        self._connect_counts.pop(eio_sid, None)
        place = self._slots.pop(eio_sid, None)
        if place is not None:
            place.release()
        ended = reason == self.reason.CLIENT_DISCONNECT
        await super()._handle_eio_disconnect(
            eio_sid, self.reason.TRANSPORT_CLOSE if ended else reason
        )
        socket = self.eio.sockets.get(eio_sid)
        if ended and socket is not None and not socket.upgraded:
            # The poll that such a client left open is answered. The library would hold it, and a
            # client that waits for its answer, until the next ping is overdue.
            socket.queue.put_nowait(None)
