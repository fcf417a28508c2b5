"""uvicorn's websocket protocol, with websockets that an application can take over.

Nothing changes for an application that does not use it. For one that does, the handshake is parsed
and answered here: most of its cost would be objects that are discarded right after it.

Private API used here: bridge/README.md, "Private names"; canaries: tests/canaries/test_uvicorn.py.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from bridge.gateway.engineio.raw_websocket import HANDOVER, RawWebSocket, limit_read_size
from bridge.server.responses import BAD_REQUEST, TOO_LONG

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.gateway.engineio.raw_websocket import WebSocketOwner


MAX_UNSENT_FOR_PONG: Final = 65_536
"""Number of unsent bytes from which on pings are not answered: a client that sends pings and does
not read (a slow client, or an attack) must not fill the write buffer."""

GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY_BYTES: Final = 16

HANDSHAKE_HEADERS: Final = frozenset({b"host", b"upgrade", b"connection", b"origin"})
"""Headers of the handshake besides `Sec-WebSocket-*`."""

SWITCHING: Final = 101

Headers = list[tuple[bytes, bytes]]


MAX_LINE_BYTES: Final = 8192
"""Longest line that the library parses, its end included."""

_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class UpgradeRequest:
    """The request for a websocket."""

    __slots__ = ("headers", "key", "subprotocols", "target", "usual")

    def __init__(self, target: str, headers: Headers) -> None:
        self.target = target
        self.headers = headers
        handshake = [(name.lower(), value) for name, value in headers if _of_handshake(name)]
        by_name = dict(handshake)
        self.key = by_name.get(b"sec-websocket-key", b"")
        self.subprotocols = [
            token.strip()
            for name, value in handshake
            if name == b"sec-websocket-protocol"
            for token in value.split(b",")
        ]
        """The subprotocols that the client offers."""
        self.usual = (
            len(by_name) == len(handshake)
            and all(value.isascii() for value in by_name.values())
            and all(len(name) + len(value) + 4 <= MAX_LINE_BYTES for name, value in handshake)
            and by_name.get(b"upgrade", b"").lower() == b"websocket"
            and b"upgrade" in _tokens(by_name.get(b"connection", b""))
            and by_name.get(b"sec-websocket-version") == b"13"
            and all(map(_TOKEN.fullmatch, self.subprotocols))
            and _is_key(self.key)
        )
        """Whether the handshake is valid beyond doubt. Others are left to the library."""

    @property
    def quotable(self) -> bool:
        """Whether the library can respond: it quotes what it rejects, and fails at other bytes than
        ASCII.
        """
        return all(
            value.isascii() or name.lower() in (b"host", b"origin")
            for name, value in self.headers
            if _of_handshake(name)
        )

    @classmethod
    def read(cls, data: bytes) -> UpgradeRequest | None:
        """Parse a whole request; None if it is none for a websocket."""
        first, *lines = data.removesuffix(b"\r\n\r\n").split(b"\r\n")
        try:
            method, target, version = first.decode("ascii").split(" ")
        except ValueError:
            return None
        headers: Headers = []
        for line in lines:
            name, colon, value = line.partition(b": ")
            if not colon or not name.isascii():
                return None
            headers.append((name, value))
        return cls(target, headers) if (method, version) == ("GET", "HTTP/1.1") else None

    def for_library(self) -> bytes:
        """Return the request with the headers of the handshake only: the library limits the length
        of all lines, and a cookie may be longer.
        """
        lines = [b"%b: %b" % header for header in self.headers if _of_handshake(header[0])]
        return b"\r\n".join([b"GET / HTTP/1.1", *lines, b"", b""])

    def accept(self, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        """Return the response that accepts the websocket, with these headers in addition. Of the
        subprotocols the first is chosen, as by Node's server: a browser fails without one.
        """
        accept = base64.b64encode(hashlib.sha1(self.key + GUID).digest())  # noqa: S324 - RFC 6455
        chosen = [(b"Sec-WebSocket-Protocol", name) for name in self.subprotocols[:1]]
        additional = b"".join(b"%b: %b\r\n" % header for header in (*chosen, *headers))
        return (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n%b\r\n" % (accept, additional)
        )


def _of_handshake(name: bytes) -> bool:
    """Return whether a header belongs to the handshake, and not to the application."""
    lower = name.lower()
    return lower in HANDSHAKE_HEADERS or lower.startswith(b"sec-websocket-")


def _tokens(value: bytes) -> list[bytes]:
    return [token.strip() for token in value.lower().split(b",")]


def _is_key(value: bytes) -> bool:
    try:
        return len(base64.b64decode(value, validate=True)) == KEY_BYTES
    except binascii.Error:
        return False


class _DetachedTransport:
    """Replaces a transport that was handed over, which uvicorn's protocol would close at the end of
    the ASGI call.
    """

    def close(self) -> None: ...

    def is_closing(self) -> bool:
        return True


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """For `uvicorn.Config(ws=...)`. Websockets that are not handed over are limited in the bytes
    read at a time and in the memory for pongs.
    """

    _request: UpgradeRequest | None = None
    """The handshake until it is answered or passed to the library."""
    _began = False
    """Whether the handshake was received."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        limit_read_size(transport)

    def handle_ping(self) -> None:
        pong = b"".join(self.conn.data_to_send())
        if self.transport.get_write_buffer_size() < MAX_UNSENT_FOR_PONG:
            self.transport.write(pong)

    def data_received(self, data: bytes) -> None:
        if not self._began:
            self._began = True
            request = UpgradeRequest.read(data)
            if request is None:
                self._reject(BAD_REQUEST)
            # Compressed frames can't be shared between clients; the library handles compression.
            elif request.usual and not self.config.ws_per_message_deflate:
                self._request = request
                self._run_application(request)
            else:
                self._ask_library(request)
            return
        self._fall_back()
        super().data_received(data)

    def _ask_library(self, request: UpgradeRequest) -> None:
        """Start the application if the library accepts an unusual handshake, and respond
        otherwise.
        """
        if not request.quotable:
            self._reject(BAD_REQUEST)
            return
        response = self._library_response(request)
        if response is None:
            # The library drops what it can't parse, without a response.
            lines = request.for_library().split(b"\r\n")
            long = any(len(line) + 2 > MAX_LINE_BYTES for line in lines)
            self._reject(TOO_LONG if long else BAD_REQUEST)
        elif response.status_code == SWITCHING:
            self._run_application(request)
        else:
            self.conn.send_response(response)
            self._reject(b"".join(self.conn.data_to_send()))

    def _library_response(self, request: UpgradeRequest) -> Any:
        self.conn.receive_data(request.for_library())
        for event in self.conn.events_received():
            self.request = event  # type: ignore[assignment]
            self.response = self.conn.accept(self.request)
            return self.response
        return None

    def _reject(self, response: bytes) -> None:
        """Respond to the handshake and close the connection."""
        self.handshake_initiated = self.handshake_complete = self.close_sent = True
        self.transport.write(response)
        self.transport.close()

    def _run_application(self, request: UpgradeRequest) -> None:
        """Start the ASGI application in a task, as `handle_connect` does."""
        extensions: dict[str, Any] = {"websocket.http.response": {}}
        if self._request is not None:
            extensions[HANDOVER] = self
        path, _, query = request.target.partition("?")
        self.scope = {
            "type": "websocket",
            "asgi": {"version": self.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": self.scheme,
            "server": self.server,
            "client": self.client,
            "root_path": self.root_path,
            "path": self.root_path + unquote(path),
            "raw_path": (self.root_path + path).encode("ascii"),
            "query_string": query.encode("ascii"),
            "headers": [(name.lower(), value) for name, value in request.headers],
            "subprotocols": [name.decode("latin-1") for name in request.subprotocols],
            "state": self.app_state.copy(),
            "extensions": extensions,
        }
        self.handshake_initiated = True
        self.queue.put_nowait({"type": "websocket.connect"})
        task = self.loop.create_task(self.run_asgi())
        task.add_done_callback(self.on_task_complete)
        self.tasks.add(task)

    def hand_over(
        self, owner: WebSocketOwner, limit: int, first: Callable[[], bytes]
    ) -> RawWebSocket | None:
        """Accept the websocket and return it with its transport, which this protocol then has no
        access to. Return None if it is too late: a response was sent, or bytes were received that
        nothing has read yet.
        """
        request, transport = self._request, self.transport
        if request is None or self.disconnected or transport.is_closing():
            return None
        transport.write(request.accept(self.default_headers) + first())
        self.handshake_complete = True
        self._request = None
        self.connections.discard(self)
        self.transport = _DetachedTransport()  # type: ignore[assignment]
        # Scope and protocol refer to each other, and would stay until garbage collection.
        del self.scope["extensions"][HANDOVER]
        websocket = RawWebSocket(transport, self.connections, owner, limit)
        transport.set_protocol(websocket)
        return websocket

    # -- websockets that are not taken over: the library answers the handshake

    def _fall_back(self) -> None:
        request = self._request
        if request is None:
            return
        self._request = None
        response = self._library_response(request)
        if response is not None and response.status_code == SWITCHING:
            return
        # Not reached: `UpgradeRequest` accepts fewer requests than the library.
        self.transport.close()
        raise ClientDisconnected

    async def send(self, message: Any) -> None:
        self._fall_back()
        await super().send(message)
        if self.close_sent and message["type"] == "websocket.http.response.body":
            # The handshake was rejected; otherwise uvicorn would log that there was no response.
            self.handshake_complete = True

    def send_500_response(self) -> None:
        self._fall_back()
        super().send_500_response()

    def shutdown(self) -> None:
        self._fall_back()
        super().shutdown()
