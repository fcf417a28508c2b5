"""One Engine.IO session: all that its client is told and says, on whatever transport.

What is private in python-engineio and used here, checked with 4.15.1 (`tests/unit/test_engine.py`
says which of it changed, if something does):

- `AsyncSocket` `poll()` (raises `QueueEmpty`, gives [] at the end), `send(packet)`,
  `close(wait, abort, reason)`, `schedule_ping()`, `receive(packet)`, and the flags `connected`,
  `upgrading`, `upgraded`, `closing`, `closed`;
- `socket.queue`, of which the library uses `put(packet)` only; None ends a websocket's writer;
- `socket.handle_get_request(environ)` serves polls and websockets, and gives packets or a response;
  `socket.handle_post_request(environ)` reads what a polling client sends, of which `environ` has
  `CONTENT_LENGTH` and `wsgi.input`; an error of the library's ends the session with status 400;
- `socket._upgrade_websocket(environ)` serves a websocket, "" says that it was answered;
  `socket._websocket_handler(ws)` does so once it is accepted;
- `server._trigger_event(event, *args, run_async=)`, `server._bad_request()`, `server.sockets`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from engineio import async_socket, packet
from engineio.exceptions import ContentTooLongError, QueueEmpty, UnknownPacketError

from bridge.gateway.engineio.encoding import EncodedPackets
from bridge.gateway.engineio.raw_websocket import take_over
from bridge.gateway.engineio.send_queue import NOOP, SendQueue
from bridge.gateway.engineio.upgrade import UpgradeProbe

if TYPE_CHECKING:
    from starlette.types import Receive

    from bridge.gateway.engineio.asgi_websocket import AsgiWebSocket
    from bridge.gateway.engineio.raw_websocket import RawWebSocket
    from bridge.gateway.engineio.server import EngineServer

log = logging.getLogger(__name__)

MAX_QUEUED_MESSAGES: Final = 32
"""Messages of one client that may wait for their handlers before no more are read from it."""

THROTTLE_SECONDS: Final = 0.005
"""Between two messages of a client that has sent more than these: nobody needs to, and the time is
the others'."""

MAX_POST_PACKETS: Final = 1000
"""The most packets in one POST. They are kept until they are handled, and take more room than what
came."""

SEPARATOR: Final = "\x1e"
"""Between the packets of a polling client."""

DECODE_ERRORS: Final = (ValueError, RecursionError)
"""What the library raises for what is no packet; the second for JSON that is nested too deep."""

PING: Final = EncodedPackets.of(packet.Packet(packet.PING))
CLOSE: Final = EncodedPackets.of(packet.Packet(packet.CLOSE))


class EngineSession(async_socket.AsyncSocket):  # type: ignore[misc]
    """One Engine.IO session, and the owner of its line."""

    def __init__(self, server: EngineServer, sid: str, limit: int) -> None:
        super().__init__(server, sid)
        self.connected: bool
        self.closing: bool
        self.queue: SendQueue = SendQueue(limit, self._on_overflow)
        self.client: str | None = None
        """Who it is to those who deliver events; None before that."""
        self._raw_websocket: RawWebSocket | None = None
        self._websocket: AsgiWebSocket | None = None
        self._received: deque[str | bytes] | None = None
        self._pumping = False
        self._reading_paused = False

    # -- out

    def send_packets(self, piece: EncodedPackets) -> None:
        """Send it or hold it, after all that the client was told before."""
        if self.client is not None:
            self.server.before_send(self.queue)
        self.queue.send(piece)

    async def send(self, pkt: packet.Packet) -> None:
        self.send_packets(EncodedPackets.of(pkt))

    async def poll(self) -> list[packet.Packet]:
        try:
            return await self.queue.take(self.server.ping_interval + self.server.ping_timeout)
        except TimeoutError:
            raise QueueEmpty from None

    # -- its polls

    async def handle_get_request(self, environ: dict[str, Any]) -> Any:
        if environ["asgi.scope"].get("type") != "http" or self.upgrading or self.upgraded:
            return await super().handle_get_request(environ)
        if self.queue.polled:
            # Two polls at once: who of them gets what comes? The first hears that it is over.
            await self.close(reason=self.server.reason.TRANSPORT_ERROR)
            return self.server._bad_request("There is a poll already")  # noqa: SLF001 - see above
        return await self._polled(environ["asgi.receive"]) or list(NOOP.packets)

    async def _polled(self, receive: Receive) -> list[packet.Packet]:
        if self.queue.queued_bytes:
            return await self.poll()
        watching = self.server.spawn(self._watch_disconnect(receive), "watch a poll's connection")
        try:
            return await self.poll()
        except QueueEmpty:
            await self.close(reason=self.server.reason.TRANSPORT_ERROR)
            raise
        finally:
            watching.cancel()

    async def _watch_disconnect(self, receive: Receive) -> None:
        """A client that hangs up while it polls is gone: it begins anew, if it comes back."""
        while (await receive())["type"] != "http.disconnect":
            pass
        await self.close(abort=True, reason=self.server.reason.TRANSPORT_CLOSE)

    async def handle_post_request(self, environ: dict[str, Any]) -> None:
        """All packets of a POST, or none of them. The library takes 16 at most and drops the others
        with them; the official client sends as many as there are. Whoever sends very many waits for
        all others after each of them.
        """
        limit = self.server.max_http_buffer_size
        if int(environ.get("CONTENT_LENGTH", 0)) > limit:
            raise ContentTooLongError
        body: bytes = await environ["wsgi.input"].read(limit + 1)
        if self.sid not in self.server.sockets:
            return  # nobody is left whom a fault could end, which the library takes for granted
        if len(body) > limit:
            raise ContentTooLongError
        try:
            parts = body.decode().split(SEPARATOR, MAX_POST_PACKETS)
            if len(parts) > MAX_POST_PACKETS:
                raise ContentTooLongError
            received = [packet.Packet(encoded_packet=one) for one in parts]
        except DECODE_ERRORS:
            raise UnknownPacketError from None
        for number, one in enumerate(received):
            if number:
                await asyncio.sleep(0 if number < MAX_QUEUED_MESSAGES else THROTTLE_SECONDS)
            if self.closing:
                return
            await self.receive(one)

    async def receive(self, pkt: packet.Packet) -> None:
        if not 0 <= pkt.packet_type < len(packet.packet_names):
            raise UnknownPacketError  # the library would look for its name first, and find none
        await super().receive(pkt)

    # -- its life

    def schedule_ping(self) -> None:
        self.server.heartbeat.schedule(self)

    def ping(self) -> None:
        self.send_packets(PING)

    def timed_out(self) -> None:
        async def let_go() -> None:
            await self.close(reason=self.server.reason.PING_TIMEOUT)
            self.abort()  # nobody is there to say goodbye to

        self.server.spawn(let_go(), "let go of a client that answers no ping")

    async def close(
        self,
        wait: bool = True,  # noqa: ARG002 - there is nothing to wait for
        abort: bool = False,
        reason: str | None = None,
    ) -> None:
        """End the session. `abort` leaves the goodbye out. What was told before is still sent.

        The goodbye is for polls, which would go on. A websocket ends by its own close frame, as
        with Node's server: python-engineio's client takes the packet for a goodbye for ever, and
        would not come back after a restart.
        """
        if self.closing:
            return
        self.closing = True
        self.server.heartbeat.cancel(self)
        await self.server._trigger_event(  # noqa: SLF001 - see above
            "disconnect", self.sid, reason or self.server.reason.SERVER_DISCONNECT, run_async=False
        )
        if not abort and not self.upgraded:
            self.send_packets(CLOSE)
        self.closed = True
        self.queue.end()
        self.server.sockets.pop(self.sid, None)

    def abort(self) -> None:
        """End the session and its connection now, without waiting for the client."""
        self.queue.discard()
        if self._raw_websocket is not None:
            self._raw_websocket.abort()
        if self._websocket is not None:
            self._websocket.abort()
        if not self.closing:
            closing = self.close(abort=True, reason=self.server.reason.TRANSPORT_CLOSE)
            self.server.spawn(closing, "close a client that was cut off")

    def _on_overflow(self, unsent: int) -> None:
        self.server.on_overflow(self, unsent)

    # -- its websocket

    async def _upgrade_websocket(self, environ: dict[str, Any]) -> Any:
        """A websocket is there: the first request of this session, or a try to move to it."""
        if self.upgrading or self.upgraded or self.closed:
            return self.server._bad_request()  # noqa: SLF001 - see above
        scope, limit = environ["asgi.scope"], self.server.max_http_buffer_size
        if self.connected:
            line = take_over(scope, UpgradeProbe(self), limit)
        else:
            line = take_over(scope, self, limit, self.queue.drain)
        if line is None:
            return await super()._upgrade_websocket(environ)
        self.server.websockets.add(line)
        if not self.connected:
            self.connected = True
            self.open(line)
        return ""  # the library's word for an answer that was given

    async def _websocket_handler(self, ws: AsgiWebSocket) -> None:
        self._websocket = ws
        try:
            await super()._websocket_handler(ws)
        except DECODE_ERRORS:  # no packet, which the library lets pass through
            if self.upgraded:
                await self.close(abort=True, reason=self.server.reason.TRANSPORT_ERROR)
            else:
                self.upgrading = False
            await ws.close()

    def open(self, line: RawWebSocket) -> None:
        """From here on the session lives on this line."""
        self.upgraded = True
        self.upgrading = False
        self._raw_websocket = line
        line.set_owner(self)
        self.queue.attach(line)

    # -- for its line

    def on_message(self, line: RawWebSocket, message: str | bytes) -> None:
        if message == "3":  # a PONG, which nobody has to wait for
            self.schedule_ping()
            return
        if self._received is None:
            self._received = deque()
        self._received.append(message)
        if len(self._received) >= MAX_QUEUED_MESSAGES and not self._reading_paused:
            self._reading_paused = True
            line.pause_reading()
        self._pump()

    def on_pause(self, _line: RawWebSocket) -> None:
        self.queue.pause()

    def on_resume(self, _line: RawWebSocket) -> None:
        self.queue.resume()

    def on_close(self, line: RawWebSocket) -> None:
        self.server.websockets.discard(line)
        self._raw_websocket = None
        self.queue.discard()
        if not self.closing:
            self._pump()

    def _pump(self) -> None:
        if not self._pumping:
            self._pumping = True
            self.server.spawn(self._handle(), "handle a client's messages")

    async def _handle(self) -> None:
        """Handle what came, one by one, and then the end of the line. Whoever sends very much waits
        for all others after each of its messages.
        """
        try:
            while self._received and not self.closing:
                await self._handle_one(self._received.popleft())
                if self._reading_paused and len(self._received) < MAX_QUEUED_MESSAGES // 2:
                    self._reading_paused = False
                    if self._raw_websocket is not None:
                        self._raw_websocket.resume_reading()
                if self._received:
                    await asyncio.sleep(THROTTLE_SECONDS if self._reading_paused else 0)
            self._received = None
        finally:
            self._pumping = False
        if self._raw_websocket is None:
            await self.close(abort=True, reason=self.server.reason.TRANSPORT_CLOSE)

    async def _handle_one(self, message: str | bytes) -> None:
        try:
            received = packet.Packet(encoded_packet=message)
        except DECODE_ERRORS:
            # The same end that the library prepares for who doesn't speak its protocol.
            await self.close(abort=True, reason=self.server.reason.TRANSPORT_ERROR)
            return
        try:
            await self.receive(received)
        except UnknownPacketError:
            pass
        except Exception:
            log.exception("a message of a client could not be handled")
