"""The way to the clients. Nothing else writes events to them or ends their connections.

An event is encoded once, as one Engine.IO packet which all its recipients share, and put into their
outboxes before `deliver` returns. Acks and pings go through the same outboxes, so that each client
gets all that it is told in the order in which it was said. An outbox is bounded: a client that
doesn't take its packets is cut off, and comes back by itself.

What is private in the libraries and used here, checked with python-socketio 5.18.1, python-engineio
4.15.1 and uvicorn 0.54.0 (`tests/unit/test_wire.py` says which of them changed, if one does):

- `socketio` `manager.eio_sid_from_sid(sid, namespace)` and `manager.is_connected(sid, namespace)`;
- `engineio` `server.sockets`: the open sockets by Engine.IO sid;
- `engineio` `server.create_queue()` makes each socket's `queue`, the one way to its client, from
  which polls and the websocket writer take packets; None in it ends the writer;
- `engineio` `socket.close(wait=, abort=)`, `socket.closed`, `socket.upgraded`;
- `engineio` `server._async["websocket"]` is the class that wraps a websocket; it is called with the
  bound method `socket._websocket_handler`;
- `uvicorn` calls the application with `send`, a bound method of the protocol that has `transport`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import TYPE_CHECKING, Any, Final

import engineio
import engineio.packet
from engineio.async_drivers import asgi

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.types import Scope, Send

    from bridge.gateway.handshake import Server
    from bridge.log.base import Entry

log = logging.getLogger(__name__)

WAITING: Final = 4 * 1024 * 1024
"""Characters that may wait for one client. A burst is told in one step of the event loop, in which
no client can take anything, so this has to hold a burst; what waits is shared between clients."""

GOODBYE_SECONDS: Final = 1.0
"""How long clients may take to take what they were told before their connections are closed."""

OVERHEAD: Final = 64
"""What a packet counts beyond its data, so that empty ones are bounded too."""

TRANSPORT: Final = "bridge.transport"
"""Key in `scope["extensions"]` under which the connection's asyncio transport is kept."""


def packet(name: str, envelope: bytes, position: str | None) -> engineio.packet.Packet:
    """The Engine.IO packet of an event: `4`, then Socket.IO's `2["name",{envelope},"position"]`."""
    tail = "" if position is None else f",{json.dumps(position)}"
    text = f"2[{json.dumps(name)},{envelope.decode()}{tail}]"
    out = engineio.packet.Packet(engineio.packet.MESSAGE, text)
    out.encode()  # keeps what it gives, so that no recipient encodes it again
    return out


def keep_transport(scope: Scope, send: Send) -> None:
    """Remember the connection under a websocket, where the ASGI server lets it be seen.

    With it a client that takes nothing can be cut off at once. Has to be called with the server's
    own `send`, before any middleware wraps it. Without it (another server, a wrapped `send`) the
    connection is closed in order, which lasts as long as its buffer has something to send.
    """
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if scope["type"] == "websocket" and hasattr(transport, "abort"):
        scope.setdefault("extensions", {})[TRANSPORT] = transport


class Outbox(asyncio.Queue[Any]):
    """What waits for one client. Over its limit it takes no more and says so, once."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit
        self.waiting = 0
        self.overflown = False
        self.on_overflow: Callable[[], None] | None = None

    # asyncio.Queue names _put and _get for subclasses to override.

    def _put(self, item: Any) -> None:
        size = _size(item)
        if size and self.waiting + size > self._limit:
            if not self.overflown:
                self.overflown = True
                if self.on_overflow is not None:
                    self.on_overflow()
            return
        self.waiting += size
        super()._put(item)

    def _get(self) -> Any:
        item = super()._get()
        self.waiting -= _size(item)
        return item


def _size(item: Any) -> int:
    if item is None:  # tells a writer to end; always fits
        return 0
    data = item.data
    return OVERHEAD + (len(data) if isinstance(data, str | bytes) else 0)


class Line(asgi.WebSocket):  # type: ignore[misc]
    """A client's websocket which can be cut while somebody waits to write to it or to read."""

    def __init__(self, handler: Any, server: Engine) -> None:
        super().__init__(handler, server)
        self._lines = server.lines
        self._sid: str = handler.__self__.sid
        self._transport: asyncio.Transport | None = None
        self._waiting: set[asyncio.Task[Any]] = set()
        self._ended = asyncio.Event()

    async def __call__(self, environ: dict[str, Any]) -> Any:
        self._transport = environ["asgi.scope"].get("extensions", {}).get(TRANSPORT)
        self._lines[self._sid] = self
        try:
            return await super().__call__(environ)
        finally:
            if self._lines.get(self._sid) is self:
                del self._lines[self._sid]

    def cut(self) -> None:
        """End the connection without waiting for the client. The library then sees it closed."""
        self._ended.set()
        for task in self._waiting:
            task.cancel()
        if self._transport is not None:
            self._transport.abort()

    async def send(self, message: Any) -> None:
        await self._unless_cut(super().send, message)

    async def wait(self) -> Any:
        return await self._unless_cut(super().wait)

    async def close(self) -> None:
        if not self._ended.is_set():
            await super().close()

    async def _unless_cut(self, call: Callable[..., Any], *args: Any) -> Any:
        if self._ended.is_set():
            raise OSError("the client was cut off")
        task = asyncio.current_task()
        assert task is not None
        self._waiting.add(task)
        try:
            return await call(*args)
        except asyncio.CancelledError:
            if self._ended.is_set():  # by `cut`, which nobody but this line may hear of
                task.uncancel()
                raise OSError("the client was cut off") from None
            raise
        finally:
            self._waiting.discard(task)


class Engine(engineio.AsyncServer):  # type: ignore[misc]
    """Engine.IO with bounded outboxes and websockets that can be cut."""

    def __init__(self, *, waiting: int = WAITING, **options: Any) -> None:
        super().__init__(**options)
        self._limit = waiting
        self.lines: dict[str, Line] = {}
        self._async: dict[str, Any] = {**self._async, "websocket": Line}

    def create_queue(self, *_args: Any, **_kwargs: Any) -> Outbox:
        return Outbox(self._limit)


class Wire:
    """Writes to the clients of one server, by their Socket.IO sids."""

    def __init__(self, server: Server, *, on_gone: Callable[[str], None]) -> None:
        """`on_gone` hears, a little later, of a client that events still went to after its
        connection had ended.
        """
        self._server = server
        self._on_gone = on_gone
        self._sockets: dict[str, Any] = {}
        self._bare: set[str] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._shut = False
        self.cut_off = 0

    def is_connected(self, sid: str) -> bool:
        """Whether the client's handshake is over and it has not left."""
        return bool(self._server.manager.is_connected(sid, "/"))

    def attach(self, sid: str, *, positions: bool = False) -> bool:
        """Let events reach the client; False if its connection has ended already. `positions` says
        whether its events end with their position, as one more argument.
        """
        eio_sid = self._server.manager.eio_sid_from_sid(sid, "/")
        socket = self._server.eio.sockets.get(eio_sid)
        if socket is None or socket.closed:
            return False
        self._sockets[sid] = socket
        if not positions:
            self._bare.add(sid)
        socket.queue.on_overflow = lambda: self._overflown(sid)
        return True

    def detach(self, sid: str) -> None:
        """No event reaches the client from here on; its connection stays as it is."""
        self._sockets.pop(sid, None)
        self._bare.discard(sid)

    def deliver(self, entry: Entry, sids: Iterable[str]) -> None:
        """Give the entry's event to each client, in its outbox when this returns."""
        event = entry.event
        message = packet(event.name, event.envelope, str(entry.position))
        bare = packet(event.name, event.envelope, None)
        sockets = self._sockets
        gone = []
        for sid in sids:
            socket = sockets.get(sid)
            if socket is None or socket.closed:
                gone.append(sid)
            else:
                socket.queue.put_nowait(bare if sid in self._bare else message)
        for sid in gone:
            asyncio.get_running_loop().call_soon(self._on_gone, sid)

    def send_event(self, sid: str, name: str, envelope: bytes, position: str | None) -> None:
        """Tell one client something, after all that was delivered to it before."""
        socket = self._sockets.get(sid)
        if socket is not None and not socket.closed:
            position = None if sid in self._bare else position
            socket.queue.put_nowait(packet(name, envelope, position))

    def send_packet(self, to: Any, text: str) -> None:
        """Send a Socket.IO packet such as `0{"sid":"..."}` to a client, by its sid, or by the
        Engine.IO socket of one that is not attached yet.
        """
        socket = self._sockets.get(to) if isinstance(to, str) else to
        if socket is not None and not socket.closed:
            socket.queue.put_nowait(engineio.packet.Packet(engineio.packet.MESSAGE, text))

    def flush(self) -> None:
        """Write all that was delivered and waits for the end of this step of the event loop."""

    def cut(self, sid: str) -> None:
        """End the client's connection now, whatever waits for it. It will come back by itself,
        which it would not after a Socket.IO disconnect.
        """
        socket = self._sockets.pop(sid, None)
        if socket is None:
            return
        line = self._server.eio.lines.get(socket.sid)
        if line is not None:
            line.cut()
        if line is None or not socket.upgraded:
            self._close(socket, abort=True)

    async def close(self) -> None:
        """End all connections. Polls that wait are answered, so that a server which waits for
        its requests can stop. Twice is fine.
        """
        engine = self._server.eio
        for socket in list(engine.sockets.values()):
            self._close(socket, abort=False)
        while self._closing:
            await asyncio.wait(self._closing)
        until = time.monotonic() + GOODBYE_SECONDS
        while engine.lines and time.monotonic() < until:  # noqa: ASYNC110 - the library tells nobody
            await asyncio.sleep(0.01)
        for line in list(engine.lines.values()):
            line.cut()
        if not self._shut:
            self._shut = True
            await self._server.shutdown()

    def _overflown(self, sid: str) -> None:
        socket = self._sockets.get(sid)
        if socket is not None:
            log.warning(
                "client %s doesn't take its packets: cut off with %d characters waiting",
                sid,
                socket.queue.waiting,
            )
            self.cut_off += 1
            self.cut(sid)

    def _close(self, socket: Any, *, abort: bool) -> None:
        """Close an Engine.IO socket; `abort` leaves the goodbye out."""

        async def close() -> None:
            await socket.close(wait=False, abort=abort)
            if not socket.upgraded:
                # Without it the sid would answer polls until the library's next look.
                self._server.eio.sockets.pop(socket.sid, None)
            socket.queue.put_nowait(None)  # a websocket's writer closes it and ends

        task = asyncio.get_running_loop().create_task(close(), name="close a client")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
