"""One client's websocket: frames in, frames out, and the channels joined on it."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiohttp import WSCloseCode, WSMsgType, web

from bridge.sandbox.realtime import bindings, phoenix, tokens
from bridge.sandbox.realtime.channel import Channel

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from bridge.sandbox.realtime.server import RealtimeServer

REFUSAL_DELAY = 5.0
"""Seconds that a join waits for its error reply; the socket hears nothing meanwhile."""

BACKLOG = 50_000_000
"""Bytes that may wait for a slow reader before its socket is killed."""

ABNORMAL = 1006
"""The code that a client reports when there was no close frame."""


class RealtimeSocket:
    """`run` returns when the connection is over. The other methods are for faults and shutdown."""

    def __init__(
        self,
        server: RealtimeServer,
        response: web.WebSocketResponse,
        transport: asyncio.Transport,
        token: tokens.AccessToken,
        version: phoenix.Version,
    ) -> None:
        self.version = version
        self.channels: dict[str, Channel] = {}
        self.frozen = False
        self._server = server
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
            # The handler may also be cancelled, by a client that went away.
            for channel in self.channels.values():
                channel.stop()
            self._tasks = None

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task that ends with the socket at the latest."""
        assert self._tasks is not None, "channels live only while the socket runs"
        task = self._tasks.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def send(self, text: str) -> None:
        """Queue a frame. A reader who is too slow is cut off without a close frame."""
        if self.frozen:
            self._server.faults.swallowed += 1
            return
        self._outgoing.append(text)
        self._backlog += len(text)
        self._queued.set()
        if self._backlog > BACKLOG:
            self.abort()

    def abort(self) -> None:
        """Cut the TCP connection; the client sees 1006."""
        self._transport.abort()

    def freeze(self) -> None:
        """Go on as a half-open connection does: nothing is read or written, nothing is closed."""
        self.frozen = True
        self._transport.pause_reading()

    async def close(self, code: int) -> None:
        """End the connection; 1006 cuts it."""
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
                message = await self._response.receive(timeout=self._server.idle_timeout)
            except TimeoutError:
                if self.frozen:
                    continue
                await self._response.close(code=WSCloseCode.OK)
                return
            match message.type:
                case WSMsgType.TEXT:
                    try:
                        inbound = phoenix.read(message.data, self.version)
                    except phoenix.UnreadableFrameError:
                        # The real socket process crashes on it.
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

    async def _handle(self, message: phoenix.Inbound) -> None:
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
                # Without the right join_ref the real server neither answers nor leaves.
                if message.join_ref == channel.join_ref:
                    del self.channels[message.topic]
                    self._reply(message, {})
                    channel.close()
            case "access_token" if channel is not None:
                self._renew(channel, message.payload)
            case _ if channel is None:
                self._reply(message, {"reason": "unmatched topic"}, status="error")
            case _:
                pass  # broadcast and presence are not the sandbox's business

    async def _join(self, message: phoenix.Inbound) -> None:
        if not message.topic.startswith("realtime:"):
            self._reply(message, {"reason": "unmatched topic"}, status="error")
            return
        payload = message.payload if isinstance(message.payload, dict) else {}
        old = self.channels.get(message.topic)
        try:
            token = self._admit(message.topic, payload)
        except tokens.TokenError as error:
            await asyncio.sleep(REFUSAL_DELAY * self._server.pace)
            self._reply(message, {"reason": str(error)}, status="error")
            return
        wanted = _wanted(message.topic, payload)
        channel = Channel(
            self._server,
            self,
            topic=message.topic,
            join_ref=message.join_ref,
            token=token,
            wanted=wanted,
        )
        self.channels[message.topic] = channel
        self._reply(message, {"postgres_changes": [bindings.echo(raw) for raw in wanted]})
        if old is not None and not old.closed:
            # After the reply to the new join, and with the old ref: who takes it for the new
            # channel's is deaf from now on.
            old.close()
        channel.open()

    def _admit(self, topic: str, payload: dict[str, Any]) -> tokens.AccessToken:
        """The token with which the channel is joined. Raises `TokenError`."""
        if topic == "realtime:":
            raise tokens.TokenError("TopicNameRequired", "You must provide a topic name")
        joined = sum(not c.closed for name, c in self.channels.items() if name != topic)
        if joined >= self._server.max_channels:
            raise tokens.TokenError("ChannelRateLimitReached", "Too many channels")
        return self._server.token(payload.get("access_token"), self._token)

    def _renew(self, channel: Channel, payload: Any) -> None:
        text = payload.get("access_token") if isinstance(payload, dict) else None
        if not isinstance(text, str) or text.startswith("sb_") or text == channel.token.text:
            return
        try:
            channel.renew(self._server.token(text, self._token))
        except tokens.TokenError as error:
            self.channels.pop(channel.topic, None)
            channel.expire(error.message)

    def _reply(self, message: phoenix.Inbound, response: Any, status: str = "ok") -> None:
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


def _wanted(topic: str, payload: dict[str, Any]) -> list[dict[str, Any]]:
    config = payload.get("config")
    if not isinstance(config, dict):
        return [bindings.from_topic(topic)]
    wanted = config.get("postgres_changes")
    return [raw for raw in wanted if isinstance(raw, dict)] if isinstance(wanted, list) else []
