"""Engine.IO with one synchronous way out per client, and without a task per client.

Sessions, polling and the websockets of foreign servers are the library's; a websocket that can be
taken over (`transport`) is served here. Either way all that a client is told passes `Socket.tell`.

What is private in python-engineio and used here, checked with 4.15.1 (`tests/unit/test_engine.py`
says which of it changed, if something does):

- `AsyncServer._handle_connect(environ, transport, jsonp_index)` makes the socket of a new session
  and answers its first request; it is replaced, because it names the socket's class;
- `server._trigger_event(event, *args, run_async=)`, `server._upgrades(sid, transport)`,
  `server._ok(packets, headers, jsonp_index)`, `server._unauthorized(message)`, `server.sockets`;
- `server._ok()` is the answer to a POST, `server._method_not_found()` the one to a method that is
  neither GET, POST nor OPTIONS; a request that names no transport counts as one for polling;
- `server._log_error_once(message, message_key)` logs what clients do wrong, as an error at first;
- `server.create_queue()` makes the queue of a socket;
- `server._async["websocket"]` is the class that wraps a websocket behind ASGI,
  `["translate_request"]` makes the environ of a request.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

import engineio
from engineio import packet

from bridge.gateway.engineio.asgi_websocket import AsgiWebSocket, ClientGoneError, translate_request
from bridge.gateway.engineio.encoding import EncodedPackets
from bridge.gateway.engineio.heartbeat import Heartbeat
from bridge.gateway.engineio.send_queue import SendQueue
from bridge.gateway.engineio.session import EngineSession

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.types import Receive, Scope, Send

    from bridge.gateway.engineio.raw_websocket import RawWebSocket

MAX_QUEUED_BYTES: Final = 1024 * 1024
"""How much may wait for one client."""

SHUTDOWN_SECONDS: Final = 1.0
"""How long messages that are being handled may take when the server stops."""

ENVIRON: Final = MappingProxyType[str, Any]({})
"""What connect handlers get for an environ: a request's own would cost each client kilobytes."""


class EngineServer(engineio.AsyncServer):  # type: ignore[misc]
    """The Engine.IO server."""

    def __init__(self, *, waiting: int = MAX_QUEUED_BYTES, **options: Any) -> None:
        """`waiting` bounds what may wait for one client, in bytes."""
        super().__init__(**options, monitor_clients=False)
        self._limit = waiting
        self._async: dict[str, Any] = {
            **self._async,
            "websocket": AsgiWebSocket,
            "translate_request": translate_request,
        }
        self._tasks: set[asyncio.Task[Any]] = set()
        self._heartbeat: Heartbeat | None = None
        self.websockets: set[RawWebSocket | AsgiWebSocket] = set()
        """The websockets that are open."""
        self.before_send: Callable[[SendQueue], None] = _nothing
        """Called before a client that events reach is told something else."""
        self.on_overflow: Callable[[EngineSession, int], None] = lambda socket, _unsent: (
            socket.abort()
        )

    @property
    def heartbeat(self) -> Heartbeat:
        if self._heartbeat is None:
            loop = asyncio.get_running_loop()
            self._heartbeat = Heartbeat(
                self.ping_interval, self.ping_timeout, clock=loop.time, call_later=loop.call_later
            )
        return self._heartbeat

    async def handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = scope.get("query_string", b"")
        if b"transport=" not in query:
            scope = {**scope, "query_string": query + b"&transport=none"}
        elif scope["type"] == "websocket" and b"sid=" in query and self._has_moved(query):
            # Taken and closed, as Node's server does: some clients take a refused handshake for a
            # fault of the server, and this is one of theirs.
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": 1000})
            return
        with suppress(ClientGoneError):
            await super().handle_request(scope, receive, send)

    def _has_moved(self, query: bytes) -> bool:
        """Whether the session that a query names has a websocket or is getting one."""
        socket = self.sockets.get(parse_qs(query.decode("ascii", "replace")).get("sid", [""])[0])
        return socket is not None and (socket.upgrading or socket.upgraded)

    def _ok(self, packets: Any = None, headers: Any = None, jsonp_index: Any = None) -> Any:
        answer = super()._ok(packets, headers, jsonp_index)
        return answer if packets is not None else {**answer, "response": b"ok"}

    def _log_error_once(self, message: str, message_key: str) -> None:  # noqa: ARG002
        """What clients do wrong is no error of ours, and may quote what they like."""
        self.logger.debug("%.200r", message)

    def _method_not_found(self) -> Any:
        return self._bad_request("Bad handshake method")

    def create_queue(self, *_args: Any, **_kwargs: Any) -> Any:
        return SendQueue(self._limit, lambda _unsent: None)

    async def _handle_connect(
        self, environ: dict[str, Any], transport: str, jsonp_index: int | None = None
    ) -> Any:
        sid = self.generate_id()
        socket = self.sockets[sid] = EngineSession(self, sid, self._limit)
        opening = {
            "sid": sid,
            "upgrades": self._upgrades(sid, transport),
            "pingTimeout": int(self.ping_timeout * 1000),
            "pingInterval": int(self.ping_interval * 1000),
            "maxPayload": self.max_http_buffer_size,
        }
        socket.send_packets(EncodedPackets.of(packet.Packet(packet.OPEN, opening)))
        accepted = await self._trigger_event("connect", sid, ENVIRON, run_async=False)
        if accepted is not None and accepted is not True:
            del self.sockets[sid]
            return self._unauthorized(accepted or None)
        self.heartbeat.schedule(socket)
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


def _nothing(_outbox: SendQueue) -> None: ...
