"""Supabase Realtime's websocket endpoint, `postgres_changes` only, backed by a real PostgreSQL.

Frames, their order and their delays are those of the real server; `pace` scales the delays. The
guarantees are no stronger than the real ones: see `poller` for the cases in which changes are lost.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any

import psycopg
from aiohttp import web

from bridge.sandbox.realtime import phoenix, tokens
from bridge.sandbox.realtime.poller import Outgoing, Poller
from bridge.sandbox.realtime.socket import RealtimeSocket
from bridge.sandbox.realtime.subscriptions import SubscriptionRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bridge.sandbox.realtime.channel import Channel
    from bridge.sandbox.realtime.faults import Faults

PATH = "/realtime/v1/websocket"
PUBLICATION = "supabase_realtime"

COLD_START = (1.8, 2.3)
"""Range of seconds that the first subscription waits for the slot. Changes that are committed
meanwhile are lost."""
REJECT_DELAY = 2.0
"""Seconds until a rejected connection receives its response."""
TICK_SECONDS = 1.0
IDLE_STOP_SECONDS = 600.0
"""Seconds without subscriptions after which the slot is dropped."""
MAX_FRAME_BYTES = 5_000_000
"""Maximum size of one inbound frame."""


class RealtimeServer:
    """Mount `routes`, call `start`, and call `stop` before the HTTP server shuts down.

    `pace` scales every delay of the real server, polls included: 1.0 is its own timing, 0.05 suits
    tests. `idle_timeout`, in seconds, is not scaled, because clients send heartbeats at their own
    interval. `gateway_keys` maps API keys that are not JWTs to the JWT that a hosted project's
    gateway substitutes.
    """

    def __init__(
        self,
        database_url: str,
        jwt_secret: str,
        faults: Faults,
        *,
        pace: float = 1.0,
        change_limit: float | None = None,
        max_sockets: int = 200,
        max_channels: int = 100,
        idle_timeout: float = 66.0,
        publication: str = PUBLICATION,
        gateway_keys: Mapping[str, str] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.faults = faults
        self.max_channels = max_channels
        self.idle_timeout = idle_timeout
        self.rng = rng or random.Random()  # noqa: S311 - jitter
        self.subscriptions = SubscriptionRegistry(database_url, publication)
        self.sockets: set[RealtimeSocket] = set()
        self.poller = Poller(
            database_url,
            publication,
            self.subscriptions,
            self._emit,
            rng=self.rng,
            pace=pace,
            change_limit=change_limit,
        )
        self._jwt_secret = jwt_secret
        self._max_sockets = max_sockets
        self._gateway_keys = dict(gateway_keys or {})
        self._start_lock = asyncio.Lock()
        self._tasks: asyncio.TaskGroup | None = None
        self._polling: asyncio.Task[None] | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        faults.attach(self)

    @property
    def pace(self) -> float:
        """Scale of the delays. May be set at any time; running delays are not changed."""
        return self.poller.pace

    @pace.setter
    def pace(self, pace: float) -> None:
        self.poller.pace = pace

    @property
    def publication_check_seconds(self) -> float:
        """Seconds between checks of the publication, not scaled by `pace`. If its tables changed,
        every channel resubscribes and receives another `system` ok. If it was empty, the poller
        creates its slot again.
        """
        return self.poller.empty_check_seconds

    @publication_check_seconds.setter
    def publication_check_seconds(self, seconds: float) -> None:
        self.poller.empty_check_seconds = seconds

    def routes(self) -> list[web.RouteDef]:
        return [web.get(PATH, self._connect)]

    async def start(self) -> None:
        """Accept connections. The database is not used before the first subscription."""
        started = asyncio.Event()
        self._stopping.clear()
        # The task group in `_supervise` owns every other task; this task owns the group.
        self._supervisor = asyncio.create_task(self._supervise(started), name="sandbox-realtime")
        await started.wait()

    async def stop(self) -> None:
        """Close every socket with 1012, as the real server does on shutdown, and drop the slot.
        Idempotent.
        """
        self._stopping.set()
        await self.close_sockets(1012)
        if self._supervisor is not None:
            life, self._supervisor = self._supervisor, None
            await life

    def channels(self) -> Iterator[Channel]:
        """Yield the channels that are joined now."""
        for socket in self.sockets:
            for channel in socket.channels.values():
                if not channel.closed:
                    yield channel

    async def close_sockets(self, code: int) -> None:
        await asyncio.gather(*(socket.close(code) for socket in tuple(self.sockets)))

    async def wait_for_poller(self) -> None:
        while not self.poller.started.is_set():
            async with self._start_lock:
                if not self._polls:
                    await asyncio.sleep(self.rng.uniform(*COLD_START) * self.pace)
                    assert self._tasks is not None, "start the server first"
                    self._polling = self._tasks.create_task(self._run_poller())
                polling = self._polling
            assert polling is not None, "started above"
            starting = asyncio.ensure_future(self.poller.started.wait())
            try:
                await asyncio.wait([polling, starting], return_when=asyncio.FIRST_COMPLETED)
            finally:
                starting.cancel()

    async def stop_cdc(self) -> None:
        """Stop the poller and forget all subscriptions. The channels stay joined and receive no
        changes until they subscribe again, after a cold start.
        """
        polling, self._polling = self._polling, None
        if polling is not None:
            polling.cancel()
            await asyncio.wait([polling])
        self.subscriptions.clear()

    def token(self, text: Any, fallback: tokens.AccessToken) -> tokens.AccessToken:
        """Return the verified token `text` of a join or refresh, or `fallback`, the token of the
        connection, if `text` is absent or an API key (`sb_...`). Raises `TokenError`.
        """
        if not isinstance(text, str) or text.startswith("sb_"):
            return tokens.verify(fallback.text, self._jwt_secret)
        return tokens.verify(text, self._jwt_secret)

    @property
    def _polls(self) -> bool:
        return self._polling is not None and not self._polling.done()

    async def _run_poller(self) -> None:
        await self.poller.run()
        # It has given up, and with it everything that serves changes stops.
        self.subscriptions.clear()

    def _emit(self, sends: Sequence[Outgoing]) -> None:
        for data_of in self.faults.next_frames():
            for receiver, data, ids in sends:
                receiver.deliver(data_of(data), ids)

    async def _supervise(self, started: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as self._tasks:
            housekeeping = self._tasks.create_task(self._watch_publication())
            started.set()
            await self._stopping.wait()
            housekeeping.cancel()
            await self.stop_cdc()
        await self.subscriptions.close()

    async def _watch_publication(self) -> None:
        known: frozenset[tuple[str, str]] | None = None
        looked_at = busy_at = time.monotonic()
        while True:
            await asyncio.sleep(min(TICK_SECONDS, self.publication_check_seconds))
            if time.monotonic() - looked_at < self.publication_check_seconds:
                continue
            looked_at = time.monotonic()
            if not self._polls:
                known = None
                continue
            if len(self.subscriptions):
                busy_at = time.monotonic()
            elif time.monotonic() - busy_at > IDLE_STOP_SECONDS:
                await self.stop_cdc()
                continue
            try:
                published = await self.subscriptions.published()
            except psycopg.Error:
                continue
            if known is not None and published != known:
                for channel in self.channels():
                    channel.resubscribe()
            known = published

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        transport = request.transport
        if self.faults.take_refusal() or self._stopping.is_set() or transport is None:
            # As if no server were listening: no response.
            if transport is not None:
                transport.abort()
            return web.Response(status=503)
        key = request.query.get("apikey") or request.headers.get("x-api-key")
        if not key:
            return await self._reject(401, "API key is missing")
        try:
            token = tokens.verify(self._gateway_keys.get(key, key), self._jwt_secret)
        except tokens.TokenError as error:
            return await self._reject(401, error.brief)
        if len(self.sockets) >= self._max_sockets:
            return await self._reject(429, "Too many connected users")
        response = web.WebSocketResponse(
            autoping=False,  # a half-open connection must not send pongs
            compress=False,
            max_msg_size=MAX_FRAME_BYTES,
            timeout=1.0,
        )
        await response.prepare(request)
        v2 = request.query.get("vsn", "1.0.0") == phoenix.PhoenixVersion.V2
        version = phoenix.PhoenixVersion.V2 if v2 else phoenix.PhoenixVersion.V1
        assert isinstance(transport, asyncio.Transport), "aiohttp serves over TCP"
        socket = RealtimeSocket(self, response, transport, token, version)
        self.sockets.add(socket)
        try:
            await socket.run()
        finally:
            self.sockets.discard(socket)
        return response

    async def _reject(self, status: int, error: str) -> web.Response:
        await asyncio.sleep(REJECT_DELAY * self.pace)
        return web.Response(
            status=status,
            text=phoenix.dumps({"error": error}),
            content_type="application/json",
        )
