"""uvicorn's websocket protocol, with websockets that an application can take over.

Nothing changes for an application that does not use it. For one that does, the handshake is parsed
and answered here: most of its cost would be objects that are discarded right after it.

Private API used here: bridge/README.md, "Private names"; canaries: tests/canaries/test_uvicorn.py.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from bridge.gateway.engineio.raw_websocket import HANDOVER, RawWebSocket, limit_read_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.gateway.engineio.raw_websocket import WebSocketOwner


MAX_UNSENT_FOR_PONG: Final = 65_536
"""Number of unsent bytes from which on pings are not answered: a client that sends pings and does
not read (a slow client, or an attack) must not fill the write buffer."""

GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY_BYTES: Final = 16

Headers = list[tuple[bytes, bytes]]


class UpgradeRequest:
    """A websocket handshake of the usual form."""

    __slots__ = ("data", "headers", "key", "target")

    def __init__(self, data: bytes, target: str, headers: Headers, key: bytes) -> None:
        self.data = data
        self.target = target
        self.headers = headers
        self.key = key

    @classmethod
    def read(cls, data: bytes) -> UpgradeRequest | None:
        """Parse a whole request; None if anything is unusual, which is left to the library."""
        first, *lines = data.removesuffix(b"\r\n\r\n").split(b"\r\n")
        try:
            method, target, version = first.decode("ascii").split(" ")
            headers: Headers = []
            for line in lines:
                name, colon, value = line.partition(b": ")
                if not colon or not line.isascii():
                    return None
                headers.append((name, value))
        except ValueError:
            return None
        by_name = {name.lower(): value for name, value in headers}
        key = by_name.get(b"sec-websocket-key", b"")
        if (
            (method, version) != ("GET", "HTTP/1.1")
            or len(by_name) != len(headers)
            or by_name.get(b"upgrade", b"").lower() != b"websocket"
            or b"upgrade" not in _tokens(by_name.get(b"connection", b""))
            or by_name.get(b"sec-websocket-version") != b"13"
            or b"sec-websocket-protocol" in by_name
            or not _is_key(key)
        ):
            return None
        return cls(data, target, headers, key)

    def accept(self, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        """Return the response that accepts the websocket, with these headers in addition."""
        accept = base64.b64encode(hashlib.sha1(self.key + GUID).digest())  # noqa: S324 - RFC 6455
        additional = b"".join(b"%b: %b\r\n" % header for header in headers)
        return (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n%b\r\n" % (accept, additional)
        )


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
            # Compressed frames can't be shared between clients; the library handles compression.
            request = None if self.config.ws_per_message_deflate else UpgradeRequest.read(data)
            if request is not None:
                self._run_application(request)
                return
        self._fall_back()
        super().data_received(data)

    def _run_application(self, request: UpgradeRequest) -> None:
        """Start the ASGI application in a task, as `handle_connect` does."""
        self._request = request
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
            "subprotocols": [],
            "state": self.app_state.copy(),
            "extensions": {"websocket.http.response": {}, HANDOVER: self},  # type: ignore[dict-item]
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
        self.conn.receive_data(request.data)
        for event in self.conn.events_received():
            self.request = event  # type: ignore[assignment]
            self.response = self.conn.accept(self.request)
            if self.response.status_code == 101:  # noqa: PLR2004 - Switching Protocols
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
