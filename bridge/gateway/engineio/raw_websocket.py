"""A websocket as a protocol on its transport, without ASGI between.

An ASGI call lives as long as its websocket and every message passes a queue, a task and a dict.
What is written to a `Line` is a system call away, and what comes is a method call.

**Straight.** Of what one delivery costs beyond the system call itself, most is the way through the
transport: objects that nobody touched since the last event. On asyncio's own transport over a plain
socket a `Line` therefore has `fd`, to which frames may be written by `os.write` while the transport
holds nothing back. It is told to hold nothing unnoticed (`set_write_buffer_limits(0)`): as soon as
it has to keep a byte, the owner hears of `paused`, and of `resumed` when it has none. All other
transports (TLS, uvloop, other systems) have no `fd` and are written to by `write`.

What is private in uvicorn and used here, checked with 0.54.0 (`tests/unit/test_transport.py` says
which of it changed, if something does): `uvicorn.Server.shutdown` calls `shutdown()` of all that is
in `connections`, and waits until nothing is. In asyncio, checked with Python 3.11: the name of the
transport's class, and that it closes its socket after `connection_lost` and not before.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from bridge.gateway.engineio import ws_frames as frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Scope, Send


TRANSPORT: Final = "bridge.transport"
"""Key in `scope["extensions"]` of the transport under a request."""

NO_FD: Final = -1

DIRECT_WRITE_TRANSPORT: Final = ("asyncio.selector_events", "_SelectorSocketTransport")
"""The transport that sends at once what it is given, and keeps what the system does not take."""

READ_BYTES: Final = 4096
"""Read of one client in one step of the loop. In as much as asyncio reads by itself there are tens
of thousands of small frames, and nobody else has a turn until they are dealt with."""

_read = bytearray(READ_BYTES)
"""Where lines read into, one after the other: nothing stays there beyond the step."""

CLOSE_SECONDS: Final = 10.0
"""How long a peer may take to answer that a websocket closes, and to take what it was told."""


class WebSocketOwner(Protocol):
    """Who has a line. Nothing here may raise."""

    def on_message(self, line: RawWebSocket, message: str | bytes) -> None: ...

    def on_pause(self, line: RawWebSocket) -> None:
        """The line has more to send than it should, or is closing: hold what is not written."""

    def on_resume(self, line: RawWebSocket) -> None:
        """The line takes more."""

    def on_close(self, line: RawWebSocket) -> None:
        """The line is gone. Called once, and last."""


class RawWebSocket(asyncio.BufferedProtocol):
    """One open websocket."""

    __slots__ = (
        "_connections",
        "_owner",
        "_pong",
        "_reader",
        "_timer",
        "_transport",
        "_write_paused",
        "closing",
        "fd",
    )

    def __init__(
        self, transport: asyncio.Transport, connections: set[Any], owner: WebSocketOwner, limit: int
    ) -> None:
        """`connections` is where the server knows it; `limit` bounds what comes, in bytes."""
        self._transport: asyncio.Transport | None = transport
        self._connections = connections
        self._owner: WebSocketOwner = owner
        self._reader = frames.FrameReader(limit)
        self._timer: asyncio.TimerHandle | None = None
        self._write_paused = False
        self._pong = b""  # the answer to the last ping that came meanwhile
        self.closing = False
        self.fd = _direct_write_fd(transport)
        """Where frames may be written in place of `write`, until the owner hears of `paused` or
        `lost`. What the system doesn't take of them goes to `write`. `NO_FD`: not here."""
        connections.add(self)

    # -- for its owner

    @property
    def write(self) -> Callable[[bytes], None]:
        """Sends frames. It stays good until the owner hears of `paused` or `lost`: as the
        transport's own, it is a call less for each of many.
        """
        transport = self._transport
        if transport is not None and not self.closing and not transport.is_closing():
            return transport.write
        return _discard

    @property
    def unsent(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def close(self, code: int = 1000) -> None:
        """Say goodbye after all that was written, and wait a while for the answer."""
        self.write(frames.close(code))
        self._start_closing()

    def abort(self) -> None:
        """End it now, whatever is unsent. The owner hears of it a little later."""
        if not self.closing:
            self.closing = True
            self._owner.on_pause(self)
        if self._transport is not None:
            self._transport.abort()

    def pause_reading(self) -> None:
        """Read no more until `unhold`."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def set_owner(self, owner: WebSocketOwner) -> None:
        """From here on it is another's."""
        self._owner = owner

    def _start_closing(self) -> None:
        if not self.closing:
            self.closing = True
            self._owner.on_pause(self)
        if self._timer is None and self._transport is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(CLOSE_SECONDS, self.abort)

    # -- for the transport

    def get_buffer(self, _sizehint: int) -> bytearray:
        return _read

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(memoryview(_read)[:nbytes]))

    def data_received(self, data: bytes) -> None:
        pong = b""
        try:
            messages = self._reader.read(data)
        except frames.FrameError as broken:
            self._end(broken.code)
            return
        for opcode, payload in messages:
            if opcode == frames.CLOSE:
                self._end(int.from_bytes(payload[:2], "big") or 1000)
                return
            if self.closing:
                continue
            if opcode == frames.TEXT:
                try:
                    text = payload.decode()
                except UnicodeDecodeError:
                    self._end(frames.INVALID_DATA)
                    return
                self._owner.on_message(self, text)
            elif opcode == frames.BINARY:
                self._owner.on_message(self, payload)
            elif opcode == frames.PING:
                pong = frames.frame(frames.PONG, payload)
        if pong and not self.closing:
            self._answer(pong)

    def _answer(self, pong: bytes) -> None:
        """To the last of the pings that came together, and at the latest when the line takes more:
        a peer that pings and doesn't read must not fill the buffer.
        """
        if self._write_paused:
            self._pong = pong
        else:
            self.write(pong)

    def _end(self, code: int) -> None:
        """Nothing more will come that is worth reading."""
        if not self.closing:
            self.write(frames.close(code))
        self._start_closing()
        if self._transport is not None:
            self._transport.close()  # sends what it has first

    def eof_received(self) -> bool:
        # A peer that sends nothing more without a close frame is gone, whatever it still reads.
        self._start_closing()
        return False

    def pause_writing(self) -> None:
        self._write_paused = True
        self._owner.on_pause(self)

    def resume_writing(self) -> None:
        self._write_paused = False
        pong, self._pong = self._pong, b""
        if pong:
            self.write(pong)
        if not self.closing:
            self._owner.on_resume(self)

    def connection_lost(self, _error: Exception | None) -> None:
        # First of all: to write to a transport that is closed raises, on some loops.
        self._transport = None
        self.fd = NO_FD
        self.closing = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._connections.discard(self)
        self._owner.on_close(self)

    # -- for the server

    def shutdown(self) -> None:
        """The server stops."""
        self._end(frames.RESTARTING)


def _discard(_data: bytes) -> None: ...


def _direct_write_fd(transport: asyncio.Transport) -> int:
    kind = type(transport)
    if (kind.__module__, kind.__qualname__) != DIRECT_WRITE_TRANSPORT:
        return NO_FD
    transport.set_write_buffer_limits(0)
    fd: int = transport.get_extra_info("socket").fileno()
    return fd


def keep_transport(scope: Scope, send: Send) -> None:
    """Remember the connection under a request, where the ASGI server lets it be seen.

    With it a client that takes nothing can be cut off at once, though its websocket can't be taken
    over, or its answer has begun. Has to be called with the server's own `send`, before any
    middleware wraps it. Without it the connection is closed in order, which lasts as long as its
    buffer has something to send.
    """
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if scope["type"] in ("http", "websocket") and hasattr(transport, "abort"):
        scope.setdefault("extensions", {})[TRANSPORT] = transport


HANDOVER: Final = "bridge.websocket"
"""Key in `scope["extensions"]` of a websocket that can be taken over."""


@runtime_checkable
class PendingWebSocket(Protocol):
    """The server's side of a websocket that can be taken over, see `scope["extensions"]`."""

    def hand_over(
        self, owner: WebSocketOwner, limit: int, first: Callable[[], bytes]
    ) -> RawWebSocket | None: ...


def take_over(
    scope: Scope, owner: WebSocketOwner, limit: int, first: Callable[[], bytes] = bytes
) -> RawWebSocket | None:
    """The websocket of an ASGI call, accepted, if its server lets it be taken over. The call may
    end then, and its `receive` and `send` must not be used any more. `limit` bounds a client's
    message, in bytes; `first` gives frames that go out in one write with the answer.
    """
    handshake = scope.get("extensions", {}).get(HANDOVER)
    if not isinstance(handshake, PendingWebSocket):
        return None
    return handshake.hand_over(owner, limit, first)
