"""The sandbox as one thing: database, REST, Realtime and a port they share."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

import psycopg
from aiohttp import web
from psycopg.rows import dict_row

from bridge.sandbox.auth import keys
from bridge.sandbox.auth.users import UserTokens
from bridge.sandbox.control import FaultControl
from bridge.sandbox.postgres.connections import ConnectionPool
from bridge.sandbox.postgres.migrations import apply_project
from bridge.sandbox.postgres.server import HOST, SUPERUSER, PostgresServer
from bridge.sandbox.postgrest.faults import PostgrestFaults
from bridge.sandbox.postgrest.server import PostgrestServer
from bridge.sandbox.realtime.faults import Faults
from bridge.sandbox.realtime.server import RealtimeServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from aiohttp.typedefs import Handler

CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    "Access-Control-Expose-Headers": "Content-Range, Content-Profile, Proxy-Status",
}


class Sandbox:
    """A miniature Supabase. Made by `Sandbox.open()` only; alive inside its `async with`.

    `supabase_url` and `supabase_key` are what the bridge and any Supabase client are given;
    `anon_key` is a browser's key. `database_url` is a usual PostgreSQL URL of the role `postgres`.
    `faults` are Realtime's, `rest_faults` the REST surface's. `rest.max_rows` can be changed.
    """

    def __init__(self, postgres: PostgresServer) -> None:
        self.anon_key = keys.api_key("anon")
        self.supabase_key = keys.api_key("service_role")
        self.supabase_url = ""
        self.database_url = postgres.url()
        self.postgres = postgres
        self.home = postgres.home
        self.faults = Faults()
        self.rest_faults = PostgrestFaults()
        self._user_tokens = UserTokens()
        self._rest_connections = ConnectionPool(postgres.url("authenticator"))
        self._connections = ConnectionPool(self.database_url, size=1)
        # Realtime logs in as the superuser, as it does at Supabase.
        self.realtime = RealtimeServer(postgres.url(SUPERUSER), keys.SECRET, self.faults)
        self.rest = PostgrestServer(
            self._rest_connections,
            secret=keys.SECRET,
            api_keys=(self.anon_key, self.supabase_key),
            faults=self.rest_faults,
        )

    @classmethod
    @asynccontextmanager
    async def open(
        cls, data: Path | None = None, port: int = 0, *, seed: bool = True, pace: float = 1.0
    ) -> AsyncIterator[Self]:
        """A running sandbox on loopback; `port` 0 takes a free one.

        With `data` the database lives there and is found again next time; without, it is made anew
        and thrown away. `seed` fills a new database with listings. `pace` scales the delays of
        Realtime: 1.0 is true to the real server, 0.05 suits tests. Raises `PostgresFailed` or
        `ProjectFailed` when it can't be had, OSError when `port` is taken.
        """
        async with AsyncExitStack() as stack:
            postgres = await stack.enter_async_context(PostgresServer(data))
            await apply_project(postgres, seed=seed)
            sandbox = cls(postgres)
            sandbox.realtime.pace = pace
            stack.push_async_callback(sandbox._connections.close_idle)
            stack.push_async_callback(sandbox._rest_connections.close_idle)
            await sandbox._serve(port, stack)
            yield sandbox

    async def execute(
        self, query: str, params: Sequence[Any] | Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Run one statement as `postgres`, committed at once; its rows, or [] if it gives none.

        Statements run one after the other. After a restart of PostgreSQL it connects again.
        """
        try:
            return await self._execute(query, params)
        except (psycopg.errors.AdminShutdown, psycopg.errors.CrashShutdown):
            # The connection died while it was idle, and nothing was run; or the server ended the
            # statement, and what was not committed is gone.
            await self._connections.close_idle()
            return await self._execute(query, params)

    def user_token(self, subject: str, *, lifetime: float = 3600, **claims: Any) -> str:
        """What Supabase Auth would give that user for a new session: signed by ES256 with the key
        that `/auth/v1/.well-known/jwks.json` shows, valid for `lifetime` seconds, below zero
        expired already. `claims` are added, or take the place of what is there. REST and Realtime
        here take `keys.user_token` instead.
        """
        return self._user_tokens.token(subject, lifetime=lifetime, **claims)

    async def restart_postgres(self, *, crash: bool = False) -> None:
        """Stop and start PostgreSQL on the same port; returns when it takes connections again.
        `crash` ends it without a shutdown, as a power cut would.
        """
        await self.stop_postgres(crash=crash)
        await self.start_postgres()

    async def stop_postgres(self, *, crash: bool = False) -> None:
        """PostgreSQL goes away; REST answers 503 until `start_postgres()`."""
        await self.postgres.down(crash=crash)
        await self._connections.close_idle()
        await self._rest_connections.close_idle()

    async def start_postgres(self) -> None:
        await self.postgres.up()

    async def _execute(
        self, query: str, params: Sequence[Any] | Mapping[str, Any] | None
    ) -> list[dict[str, Any]]:
        async with self._connections.connection() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            await cursor.execute(query, params)
            return await cursor.fetchall() if cursor.description else []

    async def _serve(self, port: int, stack: AsyncExitStack) -> None:
        app = web.Application(middlewares=[_cors])
        app.add_routes(self.rest.routes())
        app.add_routes(self.realtime.routes())
        app.add_routes(self._user_tokens.routes())
        app.add_routes(FaultControl(self.faults, self.rest_faults, self.rest).routes())
        # A request that hangs on purpose must end with its client, and must not hold up the end.
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        stack.callback(self.rest_faults.heal)
        await self.realtime.start()
        # Its sockets close before the server that carries them waits for its last requests.
        stack.push_async_callback(self.realtime.stop)
        await web.TCPSite(runner, HOST, port).start()
        self.supabase_url = f"http://{HOST}:{runner.addresses[0][1]}"
        self._user_tokens.issuer = f"{self.supabase_url}/auth/v1"


@web.middleware
async def _cors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Browsers of any origin may read, as at Supabase. Not the control routes."""
    if not request.path.startswith("/rest/"):
        return await handler(request)
    if request.method == "OPTIONS":
        asked = request.headers.get("Access-Control-Request-Headers", "*")
        return web.Response(status=204, headers=CORS | {"Access-Control-Allow-Headers": asked})
    response = await handler(request)
    response.headers.update(CORS)
    return response
