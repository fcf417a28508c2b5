"""A websocket as an asyncio protocol on its own transport, without ASGI in between.

An ASGI call lives as long as its websocket, and every message passes through a queue, a task and a
dict. A frame written to a `RawWebSocket` is one system call away, and a received message is one
method call.

**Direct writes.** Beyond the system call itself, most of the cost of one delivery is the path
through the transport: objects that nothing touched since the last event. On asyncio's own transport
over a plain socket a `RawWebSocket` therefore has `fd`, to which frames may be written with
`os.write` while the transport buffers nothing. The transport's high-water mark is set to 0
(`set_write_buffer_limits(0)`), so it can't buffer unnoticed: the owner gets `on_pause` with the
first buffered byte (backpressure), and `on_resume` when the buffer is empty. All other transports
(TLS, uvloop, other systems) have no `fd`; their frames go through `write`.

Private API used here: bridge/README.md, "Private names"; canaries: tests/canaries/test_asyncio.py
and, for `keep_transport`, tests/canaries/test_uvicorn.py.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol

from bridge.gateway.engineio import ws_frames as frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Scope, Send


TRANSPORT: Final = "bridge.transport"
"""Key in `scope["extensions"]` of the transport under a request."""

NO_FD: Final = -1
"""Value of `RawWebSocket.fd` where direct writes are not possible."""

DIRECT_WRITE_TRANSPORT: Final = ("asyncio.selector_events", "_SelectorSocketTransport")
"""Module and name of the transport class that allows direct writes: it sends immediately, and
buffers only the bytes that the system does not accept."""

READ_BYTES: Final = 4096
"""Maximum number of bytes read from one client in one iteration of the event loop. asyncio's own
256 KB hold tens of thousands of small frames, which would delay every other client until they are
handled."""

_read_buffer = bytearray(READ_BYTES)
"""Read buffer shared by all websockets. Nothing stays in it beyond one iteration of the loop."""

CLOSE_SECONDS: Final = 10.0
"""Time a peer has to read what was sent and to answer a close frame. Then the connection is
aborted."""


class WebSocketOwner(Protocol):
    """Receives the messages and events of a websocket. No method may raise."""

    def on_message(self, websocket: RawWebSocket, message: str | bytes) -> None: ...

    def on_pause(self, websocket: RawWebSocket) -> None:
        """The transport buffers unsent bytes, or the websocket is closing: stop writing."""

    def on_resume(self, websocket: RawWebSocket) -> None:
        """The transport's buffer is empty: writing is possible again."""

    def on_close(self, websocket: RawWebSocket) -> None:
        """The connection is lost. Called once, after every other call."""


class RawWebSocket(asyncio.BufferedProtocol):
    """One open websocket."""

    __slots__ = (
        "_close_timer",
        "_connections",
        "_owner",
        "_pending_pong",
        "_reader",
        "_transport",
        "_write_paused",
        "closing",
        "fd",
    )

    def __init__(
        self, transport: asyncio.Transport, connections: set[Any], owner: WebSocketOwner, limit: int
    ) -> None:
        """`connections` is the server's set of open connections: the websocket is in it while it
        is open, and the server calls `shutdown()` of each when it stops. `limit` is the maximum
        size of a received message, in bytes.
        """
        self._transport: asyncio.Transport | None = transport
        self._connections = connections
        self._owner: WebSocketOwner = owner
        self._reader = frames.FrameReader(limit)
        self._close_timer: asyncio.TimerHandle | None = None
        self._write_paused = False
        self._pending_pong = b""  # the answer to the last ping received while writing was paused
        self.closing = False
        self.fd = _direct_write_fd(transport)
        """File descriptor to which frames may be written instead of `write`, until the owner gets
        `on_pause` or `on_close`. The bytes that the system does not accept must be passed to
        `write`. `NO_FD` if direct writes are not possible."""
        connections.add(self)

    # -- for the owner

    @property
    def write(self) -> Callable[[bytes], None]:
        """The function that sends frames. It may be kept until the owner gets `on_pause` or
        `on_close`: it is the transport's own method, which saves one call per delivery.
        """
        transport = self._transport
        if transport is not None and not self.closing and not transport.is_closing():
            return transport.write
        return _discard

    @property
    def unsent(self) -> int:
        """Bytes that were written and not yet accepted by the system."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def close(self, code: int = 1000) -> None:
        """Send a close frame after everything that was written, and wait up to `CLOSE_SECONDS` for
        the answer.
        """
        self.write(frames.close(code))
        self._start_closing()

    def abort(self) -> None:
        """Close the connection now and discard unsent bytes. `on_close` follows in a later
        iteration of the event loop.
        """
        if not self.closing:
            self.closing = True
            self._owner.on_pause(self)
        if self._transport is not None:
            self._transport.abort()

    def pause_reading(self) -> None:
        """Stop reading until `resume_reading`."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def set_owner(self, owner: WebSocketOwner) -> None:
        """Deliver everything from here on to `owner`."""
        self._owner = owner

    def _start_closing(self) -> None:
        if not self.closing:
            self.closing = True
            self._owner.on_pause(self)
        if self._close_timer is None and self._transport is not None:
            loop = asyncio.get_running_loop()
            self._close_timer = loop.call_later(CLOSE_SECONDS, self.abort)

    # -- for the transport

    def get_buffer(self, _sizehint: int) -> bytearray:
        return _read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(memoryview(_read_buffer)[:nbytes]))

    def data_received(self, data: bytes) -> None:
        pong = b""
        try:
            messages = self._reader.read(data)
        except frames.FrameError as error:
            self._finish(error.code)
            return
        for opcode, payload in messages:
            if opcode == frames.CLOSE:
                self._finish(frames.close_code(payload))
                return
            if self.closing:
                continue
            if opcode == frames.TEXT:
                try:
                    text = payload.decode()
                except UnicodeDecodeError:
                    self._finish(frames.INVALID_DATA)
                    return
                self._owner.on_message(self, text)
            elif opcode == frames.BINARY:
                self._owner.on_message(self, payload)
            elif opcode == frames.PING:
                pong = frames.frame(frames.PONG, payload)
        if pong and not self.closing:
            self._send_pong(pong)

    def _send_pong(self, pong: bytes) -> None:
        """Answer the last of the pings that were read together, or defer the answer while writing
        is paused: a peer that sends pings and does not read must not fill the buffer.
        """
        if self._write_paused:
            self._pending_pong = pong
        else:
            self.write(pong)

    def _finish(self, code: int) -> None:
        """Send a close frame and close the transport once it has sent its buffer. Nothing is read
        any more.
        """
        if not self.closing:
            self.write(frames.close(code))
        self._start_closing()
        if self._transport is not None:
            self._transport.close()

    def eof_received(self) -> bool:
        # A peer that ends its side without a close frame is gone, even if it still reads.
        self._start_closing()
        return False

    def pause_writing(self) -> None:
        self._write_paused = True
        self._owner.on_pause(self)

    def resume_writing(self) -> None:
        self._write_paused = False
        pong, self._pending_pong = self._pending_pong, b""
        if pong:
            self.write(pong)
        if not self.closing:
            self._owner.on_resume(self)

    def connection_lost(self, _error: Exception | None) -> None:
        # First: on some loops a write to a closed transport raises.
        self._transport = None
        self.fd = NO_FD
        self.closing = True
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None
        self._connections.discard(self)
        self._owner.on_close(self)

    # -- for the server

    def shutdown(self) -> None:
        """Close with 1012 (service restart). Called when the server stops."""
        self._finish(frames.RESTARTING)


def _discard(_data: bytes) -> None: ...


def _direct_write_fd(transport: asyncio.Transport) -> int:
    kind = type(transport)
    if (kind.__module__, kind.__qualname__) != DIRECT_WRITE_TRANSPORT:
        return NO_FD
    transport.set_write_buffer_limits(0)
    fd: int = transport.get_extra_info("socket").fileno()
    return fd


def limit_read_size(transport: Any) -> None:
    """Limit the reads of a transport to `READ_BYTES` each, for protocols other than `RawWebSocket`.
    Transports without such a limit stay as they are.
    """
    if hasattr(transport, "max_size"):
        transport.max_size = READ_BYTES


def keep_transport(scope: Scope, send: Send) -> None:
    """Store the transport under a request in `scope["extensions"][TRANSPORT]`, if the ASGI server
    exposes it.

    A slow client can then be aborted immediately even if its websocket can't be taken over or its
    HTTP response has started. Without the transport such a connection is closed in order, which
    takes until its buffer is sent. Must be called with the server's own `send`, before a middleware
    wraps it.
    """
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if scope["type"] in ("http", "websocket") and hasattr(transport, "abort"):
        scope.setdefault("extensions", {})[TRANSPORT] = transport


HANDOVER: Final = "bridge.websocket"
"""Key in `scope["extensions"]` of the `PendingWebSocket` of a websocket that can be taken over."""


class PendingWebSocket(Protocol):
    """The server's side of a websocket that is not accepted yet and can be taken over."""

    def hand_over(
        self, owner: WebSocketOwner, limit: int, first: Callable[[], bytes]
    ) -> RawWebSocket | None:
        """See `take_over`."""
        ...


def take_over(
    scope: Scope, owner: WebSocketOwner, limit: int, first: Callable[[], bytes] = bytes
) -> RawWebSocket | None:
    """Accept the websocket of an ASGI call and return it; None if its server does not allow that.

    After it the ASGI call may end, and its `receive` and `send` must not be used. `limit` is the
    maximum size of a received message, in bytes; `first` returns frames that are sent in one write
    with the handshake response.
    """
    pending: PendingWebSocket | None = scope.get("extensions", {}).get(HANDOVER)
    # Not by isinstance: for a protocol it takes 25 µs of a connect's 350.
    if pending is None or not hasattr(pending, "hand_over"):
        return None
    return pending.hand_over(owner, limit, first)
