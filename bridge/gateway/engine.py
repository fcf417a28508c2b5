"""Engine.IO with one synchronous way out per client, and without a task per client.

Sessions, polling and the websockets of foreign servers are the library's; a websocket that can be
taken over (`transport`) is served here. Either way all that a client is told passes `Socket.tell`.

What is private in python-engineio and used here, checked with 4.15.1 (`tests/unit/test_engine.py`
says which of it changed, if something does):

- `AsyncServer._handle_connect(environ, transport, jsonp_index)` makes the socket of a new session
  and answers its first request; it is replaced, because it names the socket's class;
- `server._trigger_event(event, *args, run_async=)`, `server._upgrades(sid, transport)`,
  `server._ok(packets, jsonp_index=)`, `server._unauthorized(message)`, `server.sockets`;
- `server.create_queue()` makes each socket's `queue`, of which the library uses `put(packet)` only,
  where None ends a websocket's writer;
- `AsyncSocket` `poll()` (raises `QueueEmpty`, gives [] at the end), `send(packet)`,
  `close(wait, abort, reason)`, `schedule_ping()`, `receive(packet)`, `_websocket_handler(ws)` and
  the flags `connected`, `upgrading`, `upgraded`, `closing`, `closed`;
- `server._async["websocket"]` is the class that wraps a websocket, called with
  `socket._websocket_handler`; it has accepted when it calls that.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import engineio
from engineio import async_socket, packet
from engineio.async_drivers import asgi
from engineio.exceptions import QueueEmpty, UnknownPacketError

from bridge.gateway.heartbeat import Heartbeat
from bridge.gateway.outbox import Outbox
from bridge.gateway.parcel import Piece
from bridge.gateway.transport import TRANSPORT, Line, take_over

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

log = logging.getLogger(__name__)

CLIENT_BYTES: Final = 1024 * 1024
"""How much may wait for one client."""

INBOX: Final = 32
"""Messages of one client that may wait for their handlers before no more are read from it."""

SHUTDOWN_SECONDS: Final = 1.0
"""How long messages that are being handled may take when the server stops."""

PING: Final = Piece.of(packet.Packet(packet.PING))
CLOSE: Final = Piece.of(packet.Packet(packet.CLOSE))
PROBED: Final = Piece.of(packet.Packet(packet.PONG, "probe"))

ENVIRON: Final = MappingProxyType[str, Any]({})
"""What connect handlers get for an environ: a request's own would cost each client kilobytes."""


class Engine(engineio.AsyncServer):  # type: ignore[misc]
    """The Engine.IO server."""

    def __init__(self, *, waiting: int = CLIENT_BYTES, **options: Any) -> None:
        """`waiting` bounds what may wait for one client, in bytes."""
        super().__init__(**options, monitor_clients=False)
        self._limit = waiting
        self._async: dict[str, Any] = {**self._async, "websocket": Websocket}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._heartbeat: Heartbeat | None = None
        self.lines: set[Line | Websocket] = set()
        """The websockets that are open."""
        self.before_telling: Callable[[Outbox], None] = _nothing
        """Called before a client that events reach is told something else."""
        self.on_overflow: Callable[[Socket, int], None] = lambda socket, _unsent: socket.abort()

    @property
    def heartbeat(self) -> Heartbeat:
        if self._heartbeat is None:
            loop = asyncio.get_running_loop()
            self._heartbeat = Heartbeat(
                self.ping_interval, self.ping_timeout, clock=loop.time, call_later=loop.call_later
            )
        return self._heartbeat

    def create_queue(self, *_args: Any, **_kwargs: Any) -> Any:
        return Outbox(self._limit, lambda _unsent: None)

    async def _handle_connect(
        self, environ: dict[str, Any], transport: str, jsonp_index: int | None = None
    ) -> Any:
        sid = self.generate_id()
        socket = self.sockets[sid] = Socket(self, sid, self._limit)
        opening = {
            "sid": sid,
            "upgrades": self._upgrades(sid, transport),
            "pingTimeout": int(self.ping_timeout * 1000),
            "pingInterval": int(self.ping_interval * 1000),
            "maxPayload": self.max_http_buffer_size,
        }
        socket.tell(Piece.of(packet.Packet(packet.OPEN, opening)))
        accepted = await self._trigger_event("connect", sid, ENVIRON, run_async=False)
        if accepted is not None and accepted is not True:
            del self.sockets[sid]
            return self._unauthorized(accepted or None)
        self.heartbeat.expect(socket)
        if transport == "websocket":
            return await socket.handle_get_request(environ)
        socket.connected = True
        return self._ok(await socket.poll(), jsonp_index=jsonp_index)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def shutdown(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=SHUTDOWN_SECONDS)
        for task in self._tasks:
            task.cancel()
        await super().shutdown()


class Socket(async_socket.AsyncSocket):  # type: ignore[misc]
    """One Engine.IO session, and the owner of its line."""

    def __init__(self, server: Engine, sid: str, limit: int) -> None:
        super().__init__(server, sid)
        self.connected: bool
        self.closing: bool
        self.queue: Outbox = Outbox(limit, self._overflown)
        self.client: str | None = None
        """Who it is to those who deliver events; None before that."""
        self._line: Line | None = None
        self._websocket: Websocket | None = None
        self._inbox: deque[str | bytes] | None = None
        self._pumping = False
        self._held = False

    # -- out

    def tell(self, piece: Piece) -> None:
        """Send it or hold it, after all that the client was told before."""
        if self.client is not None:
            self.server.before_telling(self.queue)
        self.queue.tell(piece)

    async def send(self, pkt: packet.Packet) -> None:
        self.tell(Piece.of(pkt))

    async def poll(self) -> list[packet.Packet]:
        try:
            return await self.queue.take(self.server.ping_interval + self.server.ping_timeout)
        except TimeoutError:
            raise QueueEmpty from None

    # -- its life

    def schedule_ping(self) -> None:
        self.server.heartbeat.expect(self)

    def ping(self) -> None:
        self.tell(PING)

    def timed_out(self) -> None:
        closing = self.close(wait=False, reason=self.server.reason.PING_TIMEOUT)
        self.server.spawn(closing, "close a client that answers no ping")

    async def close(
        self,
        wait: bool = True,  # noqa: ARG002 - there is nothing to wait for
        abort: bool = False,
        reason: str | None = None,
    ) -> None:
        """End the session. `abort` leaves the goodbye out. What was told before is still sent."""
        if self.closing:
            return
        self.closing = True
        self.server.heartbeat.forget(self)
        await self.server._trigger_event(  # noqa: SLF001 - see above
            "disconnect", self.sid, reason or self.server.reason.SERVER_DISCONNECT, run_async=False
        )
        if not abort:
            self.tell(CLOSE)
        self.closed = True
        self.queue.end()
        self.server.sockets.pop(self.sid, None)

    def abort(self) -> None:
        """End the session and its connection now, without waiting for the client."""
        self.queue.drop()
        if self._line is not None:
            self._line.abort()
        if self._websocket is not None:
            self._websocket.abort()
        reason = self.server.reason.TRANSPORT_CLOSE
        self.server.spawn(self.close(abort=True, reason=reason), "close a client that was cut off")

    def _overflown(self, unsent: int) -> None:
        self.server.on_overflow(self, unsent)

    # -- its websocket

    async def _websocket_handler(self, ws: Websocket) -> None:
        """A websocket was accepted: the first request of this session, or a try to upgrade."""
        if self.upgrading or self.upgraded or self.closed:
            return
        owner = Probe(self) if self.connected else self
        line = take_over(ws.scope, owner, self.server.max_http_buffer_size)
        if line is None:
            self._websocket = ws
            await super()._websocket_handler(ws)
            return
        self.server.lines.add(line)
        if owner is self:
            self.connected = True
            self.open(line)

    def open(self, line: Line) -> None:
        """From here on the session lives on this line."""
        self.upgraded = True
        self.upgrading = False
        self._line = line
        line.give(self)
        self.queue.attach(line)

    # -- for its line

    def heard(self, line: Line, message: str | bytes) -> None:
        if message == "3":  # a PONG, which nobody has to wait for
            self.schedule_ping()
            return
        if self._inbox is None:
            self._inbox = deque()
        self._inbox.append(message)
        if len(self._inbox) >= INBOX and not self._held:
            self._held = True
            line.hold()
        self._pump()

    def paused(self, _line: Line) -> None:
        self.queue.pause()

    def resumed(self, _line: Line) -> None:
        self.queue.resume()

    def lost(self, line: Line) -> None:
        self.server.lines.discard(line)
        self._line = None
        self.queue.drop()
        if not self.closing:
            self._pump()

    def _pump(self) -> None:
        if not self._pumping:
            self._pumping = True
            self.server.spawn(self._handle(), "handle a client's messages")

    async def _handle(self) -> None:
        """Handle what came, one by one, and then the end of the line."""
        try:
            while self._inbox and not self.closing:
                await self._handle_one(self._inbox.popleft())
                if self._held and len(self._inbox) < INBOX // 2:
                    self._held = False
                    if self._line is not None:
                        self._line.unhold()
            self._inbox = None
        finally:
            self._pumping = False
        if self._line is None:
            await self.close(abort=True, reason=self.server.reason.TRANSPORT_CLOSE)

    async def _handle_one(self, message: str | bytes) -> None:
        try:
            received = packet.Packet(encoded_packet=message)
        except ValueError:
            # The same end that the library prepares for who doesn't speak its protocol.
            await self.close(abort=True, reason=self.server.reason.TRANSPORT_ERROR)
            return
        try:
            await self.receive(received)
        except UnknownPacketError:
            pass
        except Exception:
            log.exception("a message of a client could not be handled")


class Probe:
    """A websocket that a polling client tries out before it moves there."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._upgrading = False

    def heard(self, line: Line, message: str | bytes) -> None:
        socket = self._socket
        if socket.closed or socket.upgraded:
            line.close()
        elif message == "2probe" and not socket.upgrading:
            self._upgrading = socket.upgrading = True
            line.write(PROBED.frames)
            # The client waits for its poll, which may wait for the next event. From here on the
            # library answers polls in the same way, and what comes is held.
            socket.queue.release()
        elif message == "5" and self._upgrading:
            socket.open(line)
        else:
            self._stop()
            line.close()

    def paused(self, line: Line) -> None: ...

    def resumed(self, line: Line) -> None: ...

    def lost(self, line: Line) -> None:
        self._socket.server.lines.discard(line)
        self._stop()

    def _stop(self) -> None:
        """The client stays with its polls."""
        if self._upgrading:
            self._upgrading = self._socket.upgrading = False


class Websocket(asgi.WebSocket):  # type: ignore[misc]
    """A websocket behind ASGI, which can be cut while somebody waits to write to it or to read."""

    def __init__(self, handler: Any, server: Engine) -> None:
        super().__init__(handler, server)
        self._lines = server.lines
        self._transport: Any = None
        self._waiting: set[asyncio.Task[Any]] = set()
        self._ended = asyncio.Event()
        self.scope: Any = {}

    async def __call__(self, environ: dict[str, Any]) -> Any:
        self.scope = environ["asgi.scope"]
        self._transport = self.scope.get("extensions", {}).get(TRANSPORT)
        self._lines.add(self)
        try:
            return await super().__call__(environ)
        finally:
            self._lines.discard(self)

    def abort(self) -> None:
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
            if self._ended.is_set():  # by `cut`, which nobody but this websocket may hear of
                task.uncancel()
                raise OSError("the client was cut off") from None
            raise
        finally:
            self._waiting.discard(task)


def _nothing(_outbox: Outbox) -> None: ...
