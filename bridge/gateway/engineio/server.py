"""The Engine.IO server: one synchronous path out per client, and no task per client.

Sessions, polling and websockets behind ASGI are the library's; a websocket that can be taken over
(`raw_websocket`) is served by `EngineSession`. In both cases everything sent to a client passes
through `EngineSession.send_packets`.

Private API used here: bridge/README.md, "Private names"; canaries:
tests/canaries/test_engineio.py.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

import engineio
from engineio import packet

from bridge.gateway.engineio.asgi_websocket import (
    AsgiWebSocket,
    ClientGoneError,
    acceptance,
    translate_request,
)
from bridge.gateway.engineio.encoding import EncodedPackets
from bridge.gateway.engineio.heartbeat import Heartbeat
from bridge.gateway.engineio.jsonp import jsonp_call
from bridge.gateway.engineio.responses import make_response
from bridge.gateway.engineio.send_queue import SendQueue
from bridge.gateway.engineio.session import EngineSession

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.types import Receive, Scope, Send

    from bridge.gateway.engineio.raw_websocket import RawWebSocket

MAX_QUEUED_BYTES: Final = 1024 * 1024
"""Default of the maximum number of unsent bytes of one client."""

SHUTDOWN_SECONDS: Final = 1.0
"""Time that message handlers have to finish when the server stops. Then they are cancelled."""

METHODS: Final = frozenset({"GET", "POST", "OPTIONS"})

ENVIRON: Final = MappingProxyType[str, Any]({})
"""The environ passed to connect handlers. A request's own would cost kilobytes per client."""


class EngineServer(engineio.AsyncServer):  # type: ignore[misc]
    """The Engine.IO server."""

    def __init__(
        self,
        *,
        max_queued_bytes: int = MAX_QUEUED_BYTES,
        process: str | None = None,
        **options: Any,
    ) -> None:
        """`max_queued_bytes` is the maximum number of unsent bytes of one client; `options` are the
        library's. `process`: begins each sid, where other processes may receive its requests.
        """
        super().__init__(**options, monitor_clients=False)
        self._process = process
        self._limit = max_queued_bytes
        self._async: dict[str, Any] = {
            **self._async,
            "websocket": self._asgi_websocket,
            "translate_request": translate_request,
            "make_response": make_response,
        }
        self._tasks: set[asyncio.Task[Any]] = set()
        self._heartbeat: Heartbeat | None = None
        self.websockets: set[RawWebSocket | AsgiWebSocket] = set()
        """The open websockets."""
        self.before_send: Callable[[SendQueue], None] = _nothing
        """Called with the queue of an attached client before anything but an event is sent to it,
        so that events already published can be written first."""
        self.on_overflow: Callable[[EngineSession, int], None] = lambda session, _unsent: (
            session.abort()
        )
        """Called with the session and the number of unsent bytes of a slow client."""

    @property
    def heartbeat(self) -> Heartbeat:
        if self._heartbeat is None:
            loop = asyncio.get_running_loop()
            self._heartbeat = Heartbeat(
                self.ping_interval, self.ping_timeout, clock=loop.time, call_later=loop.call_later
            )
        return self._heartbeat

    def generate_id(self) -> str:
        sid = str(super().generate_id())
        return sid if self._process is None else f"{self._process}.{sid}"

    def find_session(self, sid: str) -> EngineSession | None:
        """Return the session with this Engine.IO sid; None if it has ended."""
        session: EngineSession | None = self.sockets.get(sid)
        return session

    def open_sessions(self) -> list[EngineSession]:
        """Return all sessions that have not ended."""
        return list(self.sockets.values())

    async def handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = scope.get("query_string", b"")
        if b"transport=" not in query:
            # The library would take it for polling.
            scope = {**scope, "query_string": query + b"&transport=none"}
        elif scope["type"] == "websocket" and b"sid=" in query and self._is_upgraded(query):
            # Accepted and closed, as Node's server does: some clients take a rejected handshake for
            # a fault of the server, and this one is the client's.
            await receive()
            await send(acceptance(scope))
            await send({"type": "websocket.close", "code": 1000})
            return
        with suppress(ClientGoneError):
            if scope["type"] == "http" and scope["method"] not in METHODS:
                # The library would log a warning for each.
                environ = await translate_request(scope, receive, send)
                await self._make_response(self._method_not_found(), environ)
                return
            await super().handle_request(scope, receive, send)

    def _is_upgraded(self, query: bytes) -> bool:
        """Whether the session named by a query has a websocket or is probing one."""
        session = self.find_session(parse_qs(query.decode("ascii", "replace")).get("sid", [""])[0])
        return session is not None and bool(session.upgrading or session.upgraded)

    def _ok(self, packets: Any = None, headers: Any = None, jsonp_index: Any = None) -> Any:
        response = super()._ok(packets, headers)
        if packets is None:
            return {**response, "response": b"ok"}
        if jsonp_index is None:
            return response
        # The library's own script is broken by a backslash.
        script = jsonp_call(jsonp_index, response["response"].decode())
        others = [each for each in response["headers"] if each[0] != "Content-Type"]
        content_type = ("Content-Type", "text/javascript; charset=UTF-8")
        return {**response, "headers": [content_type, *others], "response": script.encode()}

    def _log_error_once(self, message: str, message_key: str) -> None:  # noqa: ARG002
        """Log at DEBUG: a client's mistake is no error of the server, and may quote anything."""
        self.logger.debug("%.200r", message)

    def _method_not_found(self) -> Any:
        return self._bad_request("Bad handshake method")

    def _asgi_websocket(self, handler: Any, _server: Any) -> AsgiWebSocket:
        return AsgiWebSocket(handler, self.websockets)

    def create_queue(self, *_args: Any, **_kwargs: Any) -> Any:
        return SendQueue(self._limit, lambda _unsent: None)

    async def _handle_connect(
        self, environ: dict[str, Any], transport: str, jsonp_index: int | None = None
    ) -> Any:
        sid = self.generate_id()
        session = self.sockets[sid] = EngineSession(self, sid, self._limit)
        opening = {
            "sid": sid,
            "upgrades": self._upgrades(sid, transport),
            "pingTimeout": int(self.ping_timeout * 1000),
            "pingInterval": int(self.ping_interval * 1000),
            "maxPayload": self.max_http_buffer_size,
        }
        session.send_packets(EncodedPackets.of(packet.Packet(packet.OPEN, opening)))
        accepted = await self._trigger_event("connect", sid, ENVIRON, run_async=False)
        if accepted is not None and accepted is not True:
            del self.sockets[sid]
            return self._unauthorized(accepted or None)
        self.heartbeat.schedule(session)
        if transport == "websocket":
            return await session.handle_get_request(environ)
        session.connected = True
        return self._ok(await session.poll(), jsonp_index=jsonp_index)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work` as a task that `shutdown` waits for."""
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


def _nothing(_queue: SendQueue) -> None: ...
