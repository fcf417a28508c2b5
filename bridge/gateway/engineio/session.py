"""One Engine.IO session: everything sent to and received from its client, on either transport.

Private API used here: bridge/README.md, "Private names"; canaries:
tests/canaries/test_engineio.py.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import parse_qs

from engineio import async_socket, packet
from engineio.exceptions import ContentTooLongError, QueueEmpty, UnknownPacketError

from bridge.gateway.engineio.encoding import EncodedPackets
from bridge.gateway.engineio.jsonp import jsonp_payload
from bridge.gateway.engineio.raw_websocket import take_over
from bridge.gateway.engineio.send_queue import NOOP, SendQueue
from bridge.gateway.engineio.upgrade import (
    PROBE,
    PROBE_ANSWER,
    UPGRADE,
    UpgradeAttempt,
    UpgradeProbe,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.types import Receive

    from bridge.gateway.engineio.asgi_websocket import AsgiWebSocket
    from bridge.gateway.engineio.heartbeat import Heartbeat
    from bridge.gateway.engineio.raw_websocket import RawWebSocket

log = logging.getLogger(__name__)

MAX_QUEUED_MESSAGES: Final = 32
"""Maximum number of received messages of one client that wait for their handlers. At this number
reading from the client is paused (backpressure)."""

THROTTLE_SECONDS: Final = 0.005
"""Pause after each message of a client with `MAX_QUEUED_MESSAGES` queued ones. No client needs to
send that fast, and the other clients get the time."""

MAX_POST_PACKETS: Final = 1000
"""Maximum number of packets in one POST. They are held until they are handled, and take more memory
than the body."""

SEPARATOR: Final = "\x1e"
"""Separates packets in the payload of a polling client."""

DECODE_ERRORS: Final = (ValueError, RecursionError)
"""Raised by the library for an invalid packet; the second for JSON that is nested too deep."""

PING: Final = EncodedPackets.of(packet.Packet(packet.PING))
CLOSE: Final = EncodedPackets.of(packet.Packet(packet.CLOSE))


class SessionHost(Protocol):
    """The server of a session."""

    sockets: dict[str, Any]
    """Sessions by sid."""
    websockets: set[RawWebSocket | AsgiWebSocket]
    """The open websockets."""
    before_send: Callable[[SendQueue], None]
    """Called before anything but an event is sent to an attached client."""
    on_overflow: Callable[[EngineSession, int], None]
    """Called with the number of unsent bytes of a slow client."""
    ping_interval: float
    ping_timeout: float
    max_http_buffer_size: int
    reason: Any

    @property
    def heartbeat(self) -> Heartbeat: ...

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]: ...

    async def _trigger_event(self, event: str, *args: Any, run_async: bool) -> Any: ...

    def _bad_request(self, message: str | None = None) -> Any: ...


class EngineSession(async_socket.AsyncSocket):  # type: ignore[misc]
    """One Engine.IO session, and the owner of its websocket."""

    def __init__(self, server: SessionHost, sid: str, limit: int) -> None:
        """`limit` is the maximum number of unsent bytes of the client."""
        super().__init__(server, sid)
        self.server: SessionHost
        self.connected: bool
        self.closing: bool
        self.upgraded: bool
        self.queue: SendQueue = SendQueue(limit, self._on_overflow)
        self.client: str | None = None
        """Socket.IO sid of the client on this connection; None unless it is attached to event
        delivery."""
        self.attempt: UpgradeAttempt | None = None
        """The attempt to move from polling to a websocket, while it is in progress."""
        self._raw_websocket: RawWebSocket | None = None
        self._asgi_websocket: AsgiWebSocket | None = None
        self._received: deque[str | bytes] | None = None
        self._pumping = False
        self._reading_paused = False

    # -- sending

    def send_packets(self, packets: EncodedPackets) -> None:
        """Send or queue the packets, after everything sent to the client before."""
        if self.client is not None:
            self.server.before_send(self.queue)
        self.queue.send(packets)

    async def send(self, pkt: packet.Packet) -> None:
        self.send_packets(EncodedPackets.of(pkt))

    async def poll(self) -> list[packet.Packet]:
        try:
            return await self.queue.take(self.server.ping_interval + self.server.ping_timeout)
        except TimeoutError:
            raise QueueEmpty from None

    # -- polling

    async def handle_get_request(self, environ: dict[str, Any]) -> Any:
        if environ["asgi.scope"].get("type") != "http" or self.upgraded:
            return await super().handle_get_request(environ)
        if self.queue.polled:
            # Two polls at once: neither could be sure of the next packet. The first one gets CLOSE.
            await self.close(reason=self.server.reason.TRANSPORT_ERROR)
            return self.server._bad_request("There is a poll already")  # noqa: SLF001
        return await self._polled(environ["asgi.receive"]) or list(NOOP.packets)

    async def _polled(self, receive: Receive) -> list[packet.Packet]:
        if self.queue.ready:
            return await self.poll()
        if self.attempt is not None and self.attempt.take_noop():
            return list(NOOP.packets)
        watch = self.server.spawn(self._watch_disconnect(receive), "watch a poll's connection")
        try:
            return await self.poll()
        except QueueEmpty:
            await self.close(reason=self.server.reason.TRANSPORT_ERROR)
            raise
        finally:
            watch.cancel()

    async def _watch_disconnect(self, receive: Receive) -> None:
        """End the session if the client disconnects during a poll; it reconnects with a new one."""
        while (await receive())["type"] != "http.disconnect":
            pass
        await self.close(abort=True, reason=self.server.reason.TRANSPORT_CLOSE)

    async def handle_post_request(self, environ: dict[str, Any]) -> None:
        """Handle all packets of a POST, or none of them. The library accepts at most 16 and rejects
        the POST otherwise; the official client sends any number. Other clients' events are handled
        after each packet, and a POST of many packets is throttled.
        """
        limit = self.server.max_http_buffer_size
        if int(environ.get("CONTENT_LENGTH", 0)) > limit:
            raise ContentTooLongError
        body: bytes = await environ["wsgi.input"].read(limit + 1)
        if self.sid not in self.server.sockets:
            return  # ended meanwhile; on an error the library would look for it and fail
        if len(body) > limit:
            raise ContentTooLongError
        try:
            text = body.decode()
            if "j" in parse_qs(environ.get("QUERY_STRING", "")):
                text = jsonp_payload(text)
            parts = text.split(SEPARATOR, MAX_POST_PACKETS)
            if len(parts) > MAX_POST_PACKETS:
                raise ContentTooLongError
            received = [packet.Packet(encoded_packet=part) for part in parts]
        except DECODE_ERRORS:
            raise UnknownPacketError from None
        for number, pkt in enumerate(received):
            if number:
                await asyncio.sleep(0 if number < MAX_QUEUED_MESSAGES else THROTTLE_SECONDS)
            if self.closing:
                return
            await self.receive(pkt)

    async def receive(self, pkt: packet.Packet) -> None:
        if not 0 <= pkt.packet_type < len(packet.packet_names):
            raise UnknownPacketError  # the library would fail earlier, when it logs the name
        await super().receive(pkt)

    # -- heartbeat and end

    def schedule_ping(self) -> None:
        self.server.heartbeat.schedule(self)

    def ping(self) -> None:
        self.send_packets(PING)

    def timed_out(self) -> None:
        async def end() -> None:
            await self.close(reason=self.server.reason.PING_TIMEOUT)
            self.abort()  # no close handshake: the client does not answer

        self.server.spawn(end(), "close a client that does not answer pings")

    async def close(
        self,
        wait: bool = True,  # noqa: ARG002 - the library's parameter; there is nothing to wait for
        abort: bool = False,
        reason: str | None = None,
    ) -> None:
        """End the session. Packets sent before are still delivered. `abort` omits CLOSE, unless the
        client is moving to a websocket: it may read nothing but its last poll.

        CLOSE is sent to polling clients only, which would poll again otherwise. A websocket ends by
        its own close frame, as with Node's server: python-engineio's client would take CLOSE for
        the end of the connection for good, and would not reconnect after a restart.
        """
        if self.closing:
            return
        self.closing = True
        self.server.heartbeat.cancel(self)
        moving = self.attempt is not None and self.attempt.probed
        if self.attempt is not None:
            self.attempt.end_with_session()
        await self.server._trigger_event(  # noqa: SLF001 - private name of the library
            "disconnect", self.sid, reason or self.server.reason.SERVER_DISCONNECT, run_async=False
        )
        if (moving or not abort) and not self.upgraded:
            self.send_packets(CLOSE)
        self.closed = True
        self.queue.end()
        self.server.sockets.pop(self.sid, None)

    def abort(self) -> None:
        """End the session and its connection now, and discard unsent packets."""
        self.queue.discard()
        if self._raw_websocket is not None:
            self._raw_websocket.abort()
        if self._asgi_websocket is not None:
            self._asgi_websocket.abort()
        if not self.closing:
            closing = self.close(abort=True, reason=self.server.reason.TRANSPORT_CLOSE)
            self.server.spawn(closing, "close an aborted client")

    def _on_overflow(self, unsent: int) -> None:
        self.server.on_overflow(self, unsent)

    # -- websocket

    async def _upgrade_websocket(self, environ: dict[str, Any]) -> Any:
        """Serve a websocket request: the session's first request, or the probe of an upgrade."""
        if self.upgrading or self.upgraded or self.closed:
            return self.server._bad_request()  # noqa: SLF001
        scope, limit = environ["asgi.scope"], self.server.max_http_buffer_size
        if self.connected:
            probe = UpgradeProbe(self, self.server.websockets)
            websocket = take_over(scope, probe, limit)
            if websocket is not None:
                probe.start(websocket)
        else:
            websocket = take_over(scope, self, limit, self.queue.drain)
        if websocket is None:
            return await super()._upgrade_websocket(environ)
        self.server.websockets.add(websocket)
        if not self.connected:
            self.connected = True
            self.open(websocket)
        return ""  # to the library: the response was sent

    async def _websocket_handler(self, ws: AsgiWebSocket) -> None:
        if self.connected and not await self._probe(ws):
            await ws.close()
            return
        self._asgi_websocket = ws
        # The library sets it again at once. It would probe the websocket once more, and answer
        # polls with NOOP meanwhile.
        self.connected = False
        try:
            await super()._websocket_handler(ws)
        except DECODE_ERRORS:  # an invalid packet, which the library does not catch
            await self.close(abort=True, reason=self.server.reason.TRANSPORT_ERROR)
            await ws.close()

    async def _probe(self, ws: AsgiWebSocket) -> bool:
        """Probe a websocket behind ASGI, and return whether the session moves to it."""
        if self.attempt is not None or self.upgraded or self.closed:
            return False  # another one was faster
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as limit:
                # A time in the past ends the wait for the client's next message.
                attempt = UpgradeAttempt(self, lambda: limit.reschedule(loop.time()))
                self._asgi_websocket = ws  # aborted with the session
                try:
                    if await ws.wait() != PROBE:
                        return False
                    await ws.send(PROBE_ANSWER.packets[0].encode())
                    attempt.on_probe()
                    if await ws.wait() != UPGRADE or not attempt.in_progress:
                        return False
                finally:
                    attempt.end()
                    self._asgi_websocket = None
        except (OSError, TimeoutError):  # the websocket is lost, or the attempt was given up
            return False
        self.upgraded = True
        self.queue.release_polls()
        return True

    def open(self, websocket: RawWebSocket) -> None:
        """Use this websocket for the session from here on."""
        self.upgraded = True
        self.upgrading = False
        self._raw_websocket = websocket
        websocket.set_owner(self)
        self.queue.attach(websocket)

    # -- events of the websocket

    def on_message(self, websocket: RawWebSocket, message: str | bytes) -> None:
        if message == "3":  # PONG, handled without a task
            self.schedule_ping()
            return
        if self._received is None:
            self._received = deque()
        self._received.append(message)
        if len(self._received) >= MAX_QUEUED_MESSAGES and not self._reading_paused:
            self._reading_paused = True
            websocket.pause_reading()
        self._pump()

    def on_pause(self, _websocket: RawWebSocket) -> None:
        self.queue.pause()

    def on_resume(self, _websocket: RawWebSocket) -> None:
        self.queue.resume()

    def on_close(self, websocket: RawWebSocket) -> None:
        self.server.websockets.discard(websocket)
        self._raw_websocket = None
        self.queue.discard()
        if not self.closing:
            self._pump()

    def _pump(self) -> None:
        if not self._pumping:
            self._pumping = True
            self.server.spawn(self._handle_received(), "handle a client's messages")

    async def _handle_received(self) -> None:
        """Handle received messages one by one, and then the end of the websocket. Other clients'
        events are handled after each message, and a client with many queued messages is throttled.
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
            pkt = packet.Packet(encoded_packet=message)
        except DECODE_ERRORS:
            # As the library ends the session of a client that violates the protocol.
            await self.close(abort=True, reason=self.server.reason.TRANSPORT_ERROR)
            return
        try:
            await self.receive(pkt)
        except UnknownPacketError:
            pass
        except Exception:
            log.exception("handling a client's message failed")
