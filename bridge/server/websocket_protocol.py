"""uvicorn's websocket, which an application can take over before it is accepted.

Of an application that doesn't, nothing changes. For one that does, the handshake is read and
answered here: most of its time would go into objects that are thrown away with it.

What is private in uvicorn and used here, checked with 0.54.0 (`tests/unit/test_handover.py` says
which of it changed, if something does), all of `WebSocketsSansIOProtocol`:

- it gets the handshake in one `data_received`, rebuilt from an HTTP request that was parsed
  already, after `connection_made` and before anything else;
- `handle_connect(request)` makes `response`, `scope` and the task that runs the application;
- `run_asgi()` calls the application with `scope`, and when that is over does nothing but
  `self.transport.close()` if `handshake_complete`;
- `send(message)`, `send_500_response()` and `shutdown()` are all that writes before that;
- `close_sent` is set when a response that refuses the handshake was sent, `handshake_complete` is
  not, and a call that ends without it is logged as an error;
- `handle_ping()` answers a ping with what `conn.data_to_send()` gives;
- `transport`, `connections`, `tasks`, `on_task_complete`, `queue`, `conn`, `default_headers`,
  `disconnected`, `handshake_initiated`, and what `scope` is made of.

And in asyncio: its transports read `max_size` bytes at a time.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from bridge.gateway.engineio.raw_websocket import HANDOVER, READ_BYTES, RawWebSocket

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.gateway.engineio.raw_websocket import WebSocketOwner


MAX_UNSENT_FOR_PONG: Final = 65_536
"""With so much unsent no ping is answered: whoever pings and doesn't read must not fill the buffer.
"""

GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY_BYTES: Final = 16

Headers = list[tuple[bytes, bytes]]


class UpgradeRequest:
    """A websocket's handshake that leaves no question open."""

    __slots__ = ("data", "headers", "key", "target")

    def __init__(self, data: bytes, target: str, headers: Headers, key: bytes) -> None:
        self.data = data
        self.target = target
        self.headers = headers
        self.key = key

    @classmethod
    def read(cls, data: bytes) -> UpgradeRequest | None:
        """None where anything is unusual: then the library decides."""
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
        """The answer."""
        accept = base64.b64encode(hashlib.sha1(self.key + GUID).digest())  # noqa: S324 - RFC 6455
        more = b"".join(b"%b: %b\r\n" % header for header in headers)
        return (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n%b\r\n" % (accept, more)
        )


def _tokens(value: bytes) -> list[bytes]:
    return [token.strip() for token in value.lower().split(b",")]


def _is_key(value: bytes) -> bool:
    try:
        return len(base64.b64decode(value, validate=True)) == KEY_BYTES
    except binascii.Error:
        return False


class _DetachedTransport:
    """In the place of a transport that was handed over: its former protocol closes it at the end of
    the ASGI call.
    """

    def close(self) -> None: ...

    def is_closing(self) -> bool:
        return True


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """For `uvicorn.Config(ws=...)`. What it does not hand over it keeps from taking all the loop's
    time, or all memory.
    """

    _request: UpgradeRequest | None = None
    """The handshake while it is neither answered nor given to the library."""
    _began = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if hasattr(transport, "max_size"):
            transport.max_size = READ_BYTES

    def handle_ping(self) -> None:
        pong = b"".join(self.conn.data_to_send())
        if self.transport.get_write_buffer_size() < MAX_UNSENT_FOR_PONG:
            self.transport.write(pong)

    def data_received(self, data: bytes) -> None:
        if not self._began:
            self._began = True
            # What is compressed can't be shared between clients: the library does that.
            request = None if self.config.ws_per_message_deflate else UpgradeRequest.read(data)
            if request is not None:
                self._call(request)
                return
        self._fall_back()
        super().data_received(data)

    def _call(self, request: UpgradeRequest) -> None:
        """Run the application, as `handle_connect` does."""
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
        """A line, accepted; this protocol is out of it then. None where that can't be any more:
        something was sent, or has come that is not read yet.
        """
        request, transport = self._request, self.transport
        if request is None or self.disconnected or transport.is_closing():
            return None
        transport.write(request.accept(self.default_headers) + first())
        self.handshake_complete = True
        self._request = None
        self.connections.discard(self)
        self.transport = _DetachedTransport()  # type: ignore[assignment]
        # They refer to each other, and would wait for the garbage collector.
        del self.scope["extensions"][HANDOVER]
        line = RawWebSocket(transport, self.connections, owner, limit)
        transport.set_protocol(line)
        return line

    # -- whoever doesn't take it over gets what the library makes of the handshake

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
        # Not reached: `Request` takes less than the library does.
        self.transport.close()
        raise ClientDisconnected

    async def send(self, message: Any) -> None:
        self._fall_back()
        await super().send(message)
        if self.close_sent and message["type"] == "websocket.http.response.body":
            # The handshake is over, though refused; uvicorn would log that there was none.
            self.handshake_complete = True

    def send_500_response(self) -> None:
        self._fall_back()
        super().send_500_response()

    def shutdown(self) -> None:
        self._fall_back()
        super().shutdown()
