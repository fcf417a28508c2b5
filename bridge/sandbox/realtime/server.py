"""Supabase Realtime's websocket, as far as `postgres_changes` goes, in front of a real PostgreSQL.

Frames, their order and their delays are those of the real server; `pace` scales the delays. What
clients may not rely on there, they may not rely on here: see `poller` for what gets lost.
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
"""Seconds that the first subscription waits for the slot; what is written meanwhile is lost."""
REFUSAL_DELAY = 2.0
"""Seconds that a refused connection waits for its answer."""
HOUSEKEEPING = 60.0
TICK = 1.0
IDLE_STOP = 600.0
"""Seconds without subscribers after which the slot is given up."""
MAX_FRAME = 5_000_000
"""Bytes of one inbound frame."""


class RealtimeServer:
    """Mount `routes`, `start`, and `stop` before the HTTP server goes.

    `pace` scales every delay that the real server makes clients wait for, polls included: 1.0 is
    true to it, 0.05 suits tests. `idle_timeout`, in seconds, is not scaled, for clients count on
    their own heartbeat. `gateway_keys` maps keys that are no JWTs to the JWT that a hosted
    project's gateway would swap in.
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
        dice: random.Random | None = None,
    ) -> None:
        self.faults = faults
        self.max_channels = max_channels
        self.idle_timeout = idle_timeout
        self.housekeeping = HOUSEKEEPING
        """Seconds between looks at the publication: whether it changed, which makes every
        subscription anew, with another `system` ok. Not scaled."""
        self.dice = dice or random.Random()  # noqa: S311 - jitter
        self.subscriptions = SubscriptionRegistry(database_url, publication)
        self.sockets: set[RealtimeSocket] = set()
        self.poller = Poller(
            database_url,
            publication,
            self.subscriptions,
            self._emit,
            dice=self.dice,
            pace=pace,
            change_limit=change_limit,
        )
        self._jwt_secret = jwt_secret
        self._max_sockets = max_sockets
        self._gateway_keys = dict(gateway_keys or {})
        self._warming = asyncio.Lock()
        self._tasks: asyncio.TaskGroup | None = None
        self._polling: asyncio.Task[None] | None = None
        self._life: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        faults.attach(self)

    @property
    def pace(self) -> float:
        """May be set at any time; delays that have begun are not changed."""
        return self.poller.pace

    @pace.setter
    def pace(self, pace: float) -> None:
        self.poller.pace = pace

    def routes(self) -> list[web.RouteDef]:
        return [web.get(PATH, self._connect)]

    async def start(self) -> None:
        """Accept connections from now on. The database is not touched before someone subscribes."""
        started = asyncio.Event()
        self._stopping.clear()
        # The task group below owns every other task; this one owns the group.
        self._life = asyncio.create_task(self._live(started), name="sandbox-realtime")
        await started.wait()

    async def stop(self) -> None:
        """Close every socket with 1012, as a real server that is told to go, and give up the
        slot. Safe to call twice.
        """
        self._stopping.set()
        await self.close_sockets(1012)
        if self._life is not None:
            life, self._life = self._life, None
            await life

    def channels(self) -> Iterator[Channel]:
        """Those that are joined now."""
        for socket in self.sockets:
            for channel in socket.channels.values():
                if not channel.closed:
                    yield channel

    async def close_sockets(self, code: int) -> None:
        await asyncio.gather(*(socket.close(code) for socket in tuple(self.sockets)))

    async def warm(self) -> None:
        async with self._warming:
            if self._polling is None or self._polling.done():
                await asyncio.sleep(self.dice.uniform(*COLD_START) * self.pace)
                assert self._tasks is not None, "start the server first"
                self._polling = self._tasks.create_task(self.poller.run())
            await self.poller.ready.wait()

    async def cool(self) -> None:
        """Give up the slot; the next subscription finds a cold server."""
        polling, self._polling = self._polling, None
        if polling is not None:
            polling.cancel()
            await asyncio.wait([polling])

    def token(self, text: Any, fallback: tokens.AccessToken) -> tokens.AccessToken:
        """The token that a join or a renewal brings; `fallback`, the connection's own, where it
        brings none. Raises `TokenError`.
        """
        if not isinstance(text, str) or text.startswith("sb_"):
            return tokens.verify(fallback.text, self._jwt_secret)
        return tokens.verify(text, self._jwt_secret)

    def _emit(self, sends: Sequence[Outgoing]) -> None:
        for data_of in self.faults.treat():
            for receiver, data, ids in sends:
                receiver.deliver(data_of(data), ids)

    async def _live(self, started: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as self._tasks:
            housekeeping = self._tasks.create_task(self._keep_house())
            started.set()
            await self._stopping.wait()
            housekeeping.cancel()
            await self.cool()
        await self.subscriptions.close()

    async def _keep_house(self) -> None:
        known: frozenset[tuple[str, str]] | None = None
        looked_at = busy_at = time.monotonic()
        while True:
            await asyncio.sleep(min(TICK, self.housekeeping))
            if time.monotonic() - looked_at < self.housekeeping:
                continue
            looked_at = time.monotonic()
            if self._polling is None:
                known = None
                continue
            if len(self.subscriptions):
                busy_at = time.monotonic()
            elif time.monotonic() - busy_at > IDLE_STOP:
                await self.cool()
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
        if self.faults.refuses() or self._stopping.is_set() or transport is None:
            # As a server that is not there: no answer.
            if transport is not None:
                transport.abort()
            return web.Response(status=503)
        key = request.query.get("apikey") or request.headers.get("x-api-key")
        if not key:
            return await self._refuse(401, "API key is missing")
        try:
            token = tokens.verify(self._gateway_keys.get(key, key), self._jwt_secret)
        except tokens.TokenError as error:
            return await self._refuse(401, error.brief)
        if len(self.sockets) >= self._max_sockets:
            return await self._refuse(429, "Too many connected users")
        response = web.WebSocketResponse(
            autoping=False,  # a half-open connection must not answer pings
            compress=False,
            max_msg_size=MAX_FRAME,
            timeout=1.0,
        )
        await response.prepare(request)
        v2 = request.query.get("vsn", "1.0.0") == phoenix.Version.V2
        version = phoenix.Version.V2 if v2 else phoenix.Version.V1
        assert isinstance(transport, asyncio.Transport), "aiohttp serves over TCP"
        socket = RealtimeSocket(self, response, transport, token, version)
        self.sockets.add(socket)
        try:
            await socket.run()
        finally:
            self.sockets.discard(socket)
        return response

    async def _refuse(self, status: int, error: str) -> web.Response:
        await asyncio.sleep(REFUSAL_DELAY * self.pace)
        return web.Response(
            status=status,
            text=phoenix.dumps({"error": error}),
            content_type="application/json",
        )
