"""Socket.IO server: passes the packets of the main namespace to a `ClientHandler`.

python-socketio's own handling gives every connection a new sid, answers CONNECT by itself and
awaits in between; recovery needs the same sid again, a pid in the answer, and one iteration of the
event loop from the decision to the last missed event. Its acks traverse their data several times,
which is too slow for a page of a snapshot. So packets of the main namespace are handled here, and
all others by the library.

Private API used here: see bridge/README.md, tests/canaries/test_socketio.py.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol

import socketio

from bridge.auth.token_verifier import bearer_token
from bridge.gateway.client import Connection
from bridge.gateway.clients import ClientRegistry
from bridge.gateway.engineio.server import EngineServer
from bridge.gateway.socketio.packet import PacketError, SocketPacket
from bridge.gateway.timers import DeadlineTimer
from bridge.security.admission import claim_slot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Receive, Scope, Send

    from bridge.gateway.client import ClientSession

log = logging.getLogger(__name__)

NAMESPACE: Final = "/"

CONNECT_SECONDS: Final = 45.0
"""Age at which a connection without a client is closed, as by Node's server; up to a second
more."""

MAX_CONNECTS: Final = 20
"""CONNECT packets on one connection. A page sends one, and another one after each DISCONNECT. To
try more tokens, or to connect and disconnect more often, a client has to open new connections,
which admission limits."""

_PYTHON: Final = re.compile(r"(?:^|&)transport=\w+&EIO=4(?:&|$)")


def is_python_client(query: str) -> bool:
    """Return whether the query of a connection's first request is that of python-socketio's client.

    That client passes all arguments of an event to its handlers, so a handler with one parameter
    would fail on an event that ends with its position; it does not support recovery, so it has no
    use for the position. It sends `transport=...&EIO=4` (python-engineio 4.15.1), the JavaScript
    client `EIO=4&transport=...`.
    """
    return _PYTHON.search(query) is not None


_query: ContextVar[str] = ContextVar("query", default="")
_headers: ContextVar[Sequence[tuple[bytes, bytes]]] = ContextVar("headers", default=())
"""Query and headers of the request that is being served."""


class ClientHandler(Protocol):
    """Handles the packets of the main namespace."""

    async def on_connect(self, connection: Connection, auth: Any) -> None:
        """Handle CONNECT. The answer is CONNECT, after a client was added for the connection, or
        CONNECT_ERROR.
        """
        ...

    async def on_event(
        self, client: ClientSession, name: str, args: Sequence[Any], ack: int | None
    ) -> None:
        """Handle EVENT. `ack` is the id of the ack that the client expects, None for no ack."""
        ...

    def on_disconnect(self, client: ClientSession, reason: str) -> None:
        """Remove a client: after DISCONNECT if `reason` is `CLIENT_DISCONNECT`, otherwise at the
        end of its connection.
        """
        ...


class RegistryManager(socketio.AsyncManager):  # type: ignore[misc]
    """Looks up clients of the main namespace in the registry, and ignores acks of no event."""

    def __init__(self, clients: ClientRegistry) -> None:
        super().__init__()
        self._registry = clients

    def sid_from_eio_sid(self, eio_sid: str, namespace: str) -> str | None:
        if namespace != NAMESPACE:
            sid: str | None = super().sid_from_eio_sid(eio_sid, namespace)
            return sid
        connection = self._registry.connection(eio_sid)
        return None if connection is None or connection.client is None else connection.client.sid

    async def trigger_callback(self, sid: str, id: int, data: Any) -> None:  # noqa: A002
        # Nothing is sent that expects an ack, and the library would log a warning for each ack.
        if id in self.callbacks.get(sid, ()):
            await super().trigger_callback(sid, id, data)


class SocketServer(socketio.AsyncServer):  # type: ignore[misc]
    """Socket.IO over `EngineServer`. Without a `handler` and `clients` it is the library's own
    server.
    """

    def __init__(
        self,
        *,
        handler: ClientHandler | None = None,
        clients: ClientRegistry | None = None,
        connect_seconds: float = CONNECT_SECONDS,
        **options: Any,
    ) -> None:
        self.clients = ClientRegistry() if clients is None else clients
        if handler is not None or clients is not None:
            options["client_manager"] = RegistryManager(self.clients)
        super().__init__(serializer=SocketPacket, **options)
        self.handler = handler
        self._connect_seconds = connect_seconds
        self._second = 0  # one object for the connections of a second
        self._connect_timer: DeadlineTimer[Connection] = DeadlineTimer(
            self._on_connect_timeout,
            clock=lambda: asyncio.get_running_loop().time(),
            call_later=lambda seconds, call: asyncio.get_running_loop().call_later(seconds, call),
            check_seconds=math.inf,
        )

    async def handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        _query.set(scope.get("query_string", b"").decode("ascii", "replace"))
        _headers.set(scope.get("headers", ()))
        await super().handle_request(scope, receive, send)

    def new_sid(self) -> str:
        return str(self.eio.generate_id())

    def close_connection(self, connection: Connection) -> None:
        """End a connection without a client. The client's library tries again."""
        self._close_connection(connection, self.reason.SERVER_DISCONNECT)

    def _close_connection(self, connection: Connection, reason: str) -> None:
        session = connection.engine
        if session is not None and not session.closed:
            self.eio.spawn(session.close(abort=True, reason=reason), "close a connection")

    async def shutdown(self) -> None:
        self._connect_timer.stop()
        await super().shutdown()

    # -- connections

    def _engineio_server_class(self) -> type[EngineServer]:
        return EngineServer

    async def _handle_eio_connect(self, eio_sid: str, environ: Any) -> Any:
        second = math.ceil(asyncio.get_running_loop().time())
        if second != self._second:
            self._second = second
        connection = Connection(
            eio_sid,
            self.eio.find_session(eio_sid),
            opened_at=self._second,
            is_python=is_python_client(_query.get()),
            header_token=_header_token(_headers.get()),
            slot=claim_slot(),
        )
        self.clients.open(connection)
        self._connect_timer.set(connection, connection.opened_at + self._connect_seconds)
        return await super()._handle_eio_connect(eio_sid, environ)

    def _on_connect_timeout(self, connection: Connection) -> None:
        sid_of, eio_sid = self.manager.sid_from_eio_sid, connection.eio_sid
        if connection.client is None and not any(
            sid_of(eio_sid, namespace) for namespace in self.manager.get_namespaces()
        ):
            self.close_connection(connection)

    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        # Engine.IO's CLOSE does not mean that the client is leaving for good: a library also sends
        # it when a page's connection is dropped, and reconnects. Only Socket.IO's DISCONNECT means
        # that, and it does not arrive here.
        ended = reason == self.reason.CLIENT_DISCONNECT
        reason = self.reason.TRANSPORT_CLOSE if ended else reason
        connection = self.clients.connection(eio_sid)
        if connection is not None:
            self._connect_timer.cancel(connection)
            self._disconnect(connection, reason)
            self.clients.close(connection)
        await super()._handle_eio_disconnect(eio_sid, reason)
        session = self.eio.find_session(eio_sid)
        if ended and session is not None and not session.upgraded:
            # Answer the poll that such a client left open. The library would keep it, and a client
            # that waits for its response, until the next ping times out.
            session.queue.put_nowait(None)

    # -- packets

    async def _handle_eio_message(self, eio_sid: str, data: Any) -> None:
        try:
            await super()._handle_eio_message(eio_sid, data)
        except (PacketError, ValueError):  # the library's error for a packet out of place
            self._binary_packet.pop(eio_sid, None)
            connection = self.clients.connection(eio_sid)
            if connection is not None:
                self._close_connection(connection, self.reason.TRANSPORT_ERROR)

    async def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        connection = self.clients.connection(eio_sid)
        if connection is None:
            return
        connection.connect_count += 1
        if connection.connect_count > MAX_CONNECTS:
            self.close_connection(connection)
            return
        name = namespace or NAMESPACE
        if self.handler is None or name in self.handlers or name in self.namespace_handlers:
            await super()._handle_connect(eio_sid, namespace, data)
        elif name != NAMESPACE:
            await self._send_connect_error(eio_sid, name, "Invalid namespace")
        elif connection.connecting or connection.client is not None:
            await self._send_connect_error(eio_sid, name, "Already connected")
        else:
            await self._connect(self.handler, connection, data)

    async def _connect(self, handler: ClientHandler, connection: Connection, auth: Any) -> None:
        connection.connecting = True
        try:
            await handler.on_connect(connection, auth)
        except Exception:
            log.exception("a client could not be connected")
            self._close_connection(connection, self.reason.SERVER_DISCONNECT)
        finally:
            connection.connecting = False
        if connection.client is not None:
            self._connect_timer.cancel(connection)

    async def _send_connect_error(self, eio_sid: str, namespace: str, message: str) -> None:
        # An object, since clients make an error of its `message`; the library sends a string.
        packet = SocketPacket(
            socketio.packet.CONNECT_ERROR, data={"message": message}, namespace=namespace
        )
        await self._send_packet(eio_sid, packet)

    async def _handle_event(
        self,
        eio_sid: str,
        namespace: str | None,
        id: int | None,  # noqa: A002 - the library's name
        data: Any,
    ) -> None:
        if self.handler is None or (namespace or NAMESPACE) != NAMESPACE:
            # The library would log a warning for each event of a client that is not connected.
            if self.manager.sid_from_eio_sid(eio_sid, namespace or NAMESPACE) is not None:
                await super()._handle_event(eio_sid, namespace, id, data)
            return
        connection = self.clients.connection(eio_sid)
        client = None if connection is None else connection.client
        if client is None or not isinstance(data, list) or not data or not isinstance(data[0], str):
            return
        await self.handler.on_event(client, data[0], data[1:], id)

    async def _handle_disconnect(
        self, eio_sid: str, namespace: str | None, reason: str | None = None
    ) -> None:
        if self.handler is None or (namespace or NAMESPACE) != NAMESPACE:
            await super()._handle_disconnect(eio_sid, namespace, reason)
            return
        connection = self.clients.connection(eio_sid)
        if connection is not None:
            self._disconnect(connection, reason or self.reason.CLIENT_DISCONNECT)
            deadline = connection.opened_at + self._connect_seconds
            if deadline > asyncio.get_running_loop().time():
                self._connect_timer.set(connection, deadline)

    def _disconnect(self, connection: Connection, reason: str) -> None:
        if self.handler is not None and connection.client is not None:
            self._binary_packet.pop(connection.eio_sid, None)
            self.handler.on_disconnect(connection.client, reason)


def _header_token(headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    token = None
    for name, value in headers:
        if name == b"authorization":
            found = bearer_token(value.decode("latin-1"))
            token = token if found is None else found
    return token
