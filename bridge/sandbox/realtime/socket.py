"""One client's websocket: inbound frames, outbound frames, and its joined channels."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import WSCloseCode, WSMsgType, web

from bridge.sandbox.realtime import bindings, phoenix, tokens
from bridge.sandbox.realtime.channel import Channel, Tenant

if TYPE_CHECKING:
    from collections.abc import Coroutine

JOIN_ERROR_DELAY = 5.0
"""Seconds until a rejected join receives its error reply. The socket is not read meanwhile."""

MAX_BACKLOG_BYTES = 50_000_000
"""Bytes that may be queued for a slow client before its connection is aborted."""

ABNORMAL = 1006
"""The close code that a client reports when it received no close frame."""


class RealtimeHost(Tenant, Protocol):
    """The server, as a socket uses it."""

    max_channels: int
    idle_timeout: float
    """Seconds without an inbound frame after which a socket is closed."""

    def token(self, text: Any, fallback: tokens.AccessToken) -> tokens.AccessToken:
        """Return the verified token `text`, or `fallback` if there is none. Raises `TokenError`."""
        ...


class RealtimeSocket:
    """`run` returns when the connection has closed. The other public methods serve faults and
    shutdown.
    """

    def __init__(
        self,
        host: RealtimeHost,
        response: web.WebSocketResponse,
        transport: asyncio.Transport,
        token: tokens.AccessToken,
        version: phoenix.PhoenixVersion,
    ) -> None:
        self.version = version
        self.channels: dict[str, Channel] = {}
        self.frozen = False
        self._host = host
        self._response = response
        self._transport = transport
        self._token = token
        self._outgoing: deque[str] = deque()
        self._backlog = 0
        self._queued = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self.spawn(self._write())
                await self._read()
                for task in self._running:
                    task.cancel()
        finally:
            # The handler is also cancelled when the client disconnects.
            for channel in self.channels.values():
                channel.stop()
            self._tasks = None

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task that is cancelled when the socket closes."""
        assert self._tasks is not None, "channels live only while the socket runs"
        task = self._tasks.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def send(self, text: str) -> None:
        """Queue a frame. Aborts the connection if more than `MAX_BACKLOG_BYTES` are queued."""
        if self.frozen:
            self._host.faults.swallowed += 1
            return
        self._outgoing.append(text)
        self._backlog += len(text)
        self._queued.set()
        if self._backlog > MAX_BACKLOG_BYTES:
            self.abort()

    def abort(self) -> None:
        """Abort the TCP connection; the client reports 1006."""
        self._transport.abort()

    def freeze(self) -> None:
        """Behave as a half-open connection: read nothing, write nothing, stay open."""
        self.frozen = True
        self._transport.pause_reading()

    async def close(self, code: int) -> None:
        """Close with `code`; 1006 aborts the connection."""
        if code == ABNORMAL or self.frozen:
            self.abort()
        else:
            await self._response.close(code=code)

    async def _write(self) -> None:
        with suppress(ConnectionError):
            while True:
                await self._queued.wait()
                self._queued.clear()
                while self._outgoing:
                    text = self._outgoing.popleft()
                    self._backlog -= len(text)
                    await self._response.send_str(text)

    async def _read(self) -> None:
        while True:
            try:
                message = await self._response.receive(timeout=self._host.idle_timeout)
            except TimeoutError:
                if self.frozen:
                    continue
                await self._response.close(code=WSCloseCode.OK)
                return
            match message.type:
                case WSMsgType.TEXT:
                    try:
                        inbound = phoenix.decode(message.data, self.version)
                    except phoenix.UnreadableFrameError:
                        # The real server's socket process crashes.
                        await self._response.close(code=WSCloseCode.INTERNAL_ERROR)
                        return
                    await self._handle(inbound)
                case WSMsgType.PING:
                    with suppress(ConnectionError):
                        await self._response.pong(message.data)
                case WSMsgType.PONG | WSMsgType.BINARY:
                    pass
                case _:
                    return

    async def _handle(self, message: phoenix.InboundMessage) -> None:
        channel = self.channels.get(message.topic)
        if channel is not None and channel.closed:
            channel = None
        match message.event:
            case "heartbeat" if message.topic == "phoenix":
                self._reply(message, {})
            case "phx_join":
                await self._join(message)
            case "phx_leave" if channel is None:
                self._reply(message, {})
            case "phx_leave" if channel is not None:
                # Without the matching join_ref the real server neither replies nor leaves.
                if message.join_ref == channel.join_ref:
                    del self.channels[message.topic]
                    self._reply(message, {})
                    channel.close()
            case "access_token" if channel is not None:
                self._refresh_token(channel, message.payload)
            case _ if channel is None:
                self._reply(message, {"reason": "unmatched topic"}, status="error")
            case _:
                pass  # broadcast and presence are not implemented

    async def _join(self, message: phoenix.InboundMessage) -> None:
        if not message.topic.startswith("realtime:"):
            self._reply(message, {"reason": "unmatched topic"}, status="error")
            return
        payload = message.payload if isinstance(message.payload, dict) else {}
        old = self.channels.get(message.topic)
        try:
            token = self._authorize(message.topic, payload)
        except tokens.TokenError as error:
            await asyncio.sleep(JOIN_ERROR_DELAY * self._host.pace)
            self._reply(message, {"reason": str(error)}, status="error")
            return
        requested = _requested_bindings(message.topic, payload)
        channel = Channel(
            self._host,
            self,
            topic=message.topic,
            join_ref=message.join_ref,
            token=token,
            requested=requested,
        )
        self.channels[message.topic] = channel
        self._reply(message, {"postgres_changes": [bindings.echo(raw) for raw in requested]})
        if old is not None and not old.closed:
            # After the reply to the new join, and with the old join_ref. A client that applies it
            # to the new channel receives no more changes.
            old.close()
        channel.open()

    def _authorize(self, topic: str, payload: dict[str, Any]) -> tokens.AccessToken:
        """Return the token of the channel to be joined. Raises `TokenError`."""
        if topic == "realtime:":
            raise tokens.TokenError("TopicNameRequired", "You must provide a topic name")
        joined = sum(not c.closed for name, c in self.channels.items() if name != topic)
        if joined >= self._host.max_channels:
            raise tokens.TokenError("ChannelRateLimitReached", "Too many channels")
        return self._host.token(payload.get("access_token"), self._token)

    def _refresh_token(self, channel: Channel, payload: Any) -> None:
        text = payload.get("access_token") if isinstance(payload, dict) else None
        if not isinstance(text, str) or text.startswith("sb_") or text == channel.token.text:
            return
        try:
            channel.refresh_token(self._host.token(text, self._token))
        except tokens.TokenError as error:
            self.channels.pop(channel.topic, None)
            channel.expire(error.message)

    def _reply(self, message: phoenix.InboundMessage, response: Any, status: str = "ok") -> None:
        self.send(
            phoenix.reply(
                self.version,
                message.topic,
                response,
                status=status,
                ref=message.ref,
                join_ref=message.join_ref,
            )
        )


def _requested_bindings(topic: str, payload: dict[str, Any]) -> list[dict[str, Any]]:
    config = payload.get("config")
    if not isinstance(config, dict):
        return [bindings.from_topic(topic)]
    requested = config.get("postgres_changes")
    return (
        [raw for raw in requested if isinstance(raw, dict)] if isinstance(requested, list) else []
    )
