"""Starts the database, REST and Realtime, and serves the latter two on one port."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

import psycopg
from aiohttp import web
from psycopg.rows import dict_row

from bridge.sandbox.auth import keys
from bridge.sandbox.auth.sign_in import SignIn
from bridge.sandbox.auth.users import UserTokens
from bridge.sandbox.control import FaultControl
from bridge.sandbox.postgres.connections import ConnectionPool
from bridge.sandbox.postgres.faults import PostgresFaults
from bridge.sandbox.postgres.migrations import apply_project
from bridge.sandbox.postgres.server import HOST, STOP_TIMEOUT, SUPERUSER, PostgresServer
from bridge.sandbox.postgres.slow_shutdown import unconfirmed_replication
from bridge.sandbox.postgrest.faults import PostgrestFaults
from bridge.sandbox.postgrest.server import PostgrestServer
from bridge.sandbox.realtime.faults import Faults
from bridge.sandbox.realtime.server import PUBLICATION, RealtimeServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from aiohttp.typedefs import Handler

CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, POST, OPTIONS",
    "Access-Control-Expose-Headers": "Content-Range, Content-Profile, Proxy-Status",
}


class Sandbox:
    """A miniature Supabase. Created by `Sandbox.open()` only; runs inside its `async with`.

    `supabase_url` and `supabase_key` (service_role) configure the bridge or any Supabase client;
    `anon_key` is the key for browsers. `database_url` is a PostgreSQL URL of the role `postgres`.
    `faults` are those of Realtime, `rest_faults` those of REST, `postgres_faults` those of the
    database. `rest.max_rows` may be changed.
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
        self.postgres_faults = PostgresFaults(self.restart_postgres)
        self._user_tokens = UserTokens()
        self._sign_in = SignIn(self._user_tokens, self.execute, (self.anon_key, self.supabase_key))
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
        cls,
        data: Path | None = None,
        port: int = 0,
        *,
        seed: bool = True,
        pace: float = 1.0,
        publication_check: float = 60.0,
    ) -> AsyncIterator[Self]:
        """Run a sandbox on loopback; `port` 0 uses a free one.

        With `data` the database is kept in that directory and reused; without, it is temporary.
        `seed` fills a new database with listings. `pace` scales the delays of Realtime: 1.0 is the
        real server's timing, 0.05 suits tests. `publication_check` is the interval at which it
        looks at the publication, in seconds, not scaled.

        Raises `PostgresError` if PostgreSQL cannot be started, `MigrationError` if a migration
        fails, OSError if `port` is in use.
        """
        async with AsyncExitStack() as stack:
            postgres = await stack.enter_async_context(PostgresServer(data))
            await apply_project(postgres, seed=seed)
            sandbox = cls(postgres)
            sandbox.realtime.pace = pace
            sandbox.realtime.publication_check_seconds = publication_check
            stack.push_async_callback(sandbox._connections.close_idle)
            stack.push_async_callback(sandbox._rest_connections.close_idle)
            await sandbox._serve(port, stack)
            stack.push_async_callback(sandbox.postgres_faults.close)
            yield sandbox

    async def execute(
        self, query: str, params: Sequence[Any] | Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Run one statement as `postgres` in autocommit mode. Return its rows, [] if it has none.

        Statements run one at a time. Reconnects after a restart of PostgreSQL.
        """
        try:
            return await self._execute(query, params)
        except (psycopg.errors.AdminShutdown, psycopg.errors.CrashShutdown):
            # Either the idle connection was terminated before the statement ran, or the server
            # aborted the statement. In both cases nothing was committed.
            await self._connections.close_idle()
            return await self._execute(query, params)

    def user_token(self, subject: str, *, lifetime: float = 3600, **claims: Any) -> str:
        """Return an access token as Supabase Auth issues it for a new session: ES256, with the key
        of `/auth/v1/.well-known/jwks.json`, valid for `lifetime` seconds (negative: expired).
        `claims` add to or replace the default claims. The sandbox's own REST and Realtime accept
        `keys.user_token` instead.
        """
        return self._user_tokens.token(subject, lifetime=lifetime, **claims)

    def set_password(self, email: str, password: str) -> None:
        """Let the user with this e-mail, a row of `auth.users`, sign in with `password` at
        `/auth/v1/token`, as long as the sandbox runs.
        """
        self._sign_in.set_password(email, password)

    async def restart_postgres(self, *, crash: bool = False, shutdown_seconds: float = 0.0) -> None:
        """Stop and start PostgreSQL on the same port; return when it accepts connections.
        `crash` stops it without a shutdown checkpoint, as a power failure does. A shutdown of
        `shutdown_seconds` closes the connections at once, and refuses new ones until it ends.
        """
        await self.stop_postgres(crash=crash, shutdown_seconds=shutdown_seconds)
        await self.start_postgres()

    async def stop_postgres(self, *, crash: bool = False, shutdown_seconds: float = 0.0) -> None:
        """Stop PostgreSQL; REST responds with 503 until `start_postgres()`."""
        async with AsyncExitStack() as stack:
            if shutdown_seconds:
                url = self.postgres.url(SUPERUSER)
                held = unconfirmed_replication(url, PUBLICATION, shutdown_seconds)
                await stack.enter_async_context(held)
            await self.postgres.down(crash=crash, patience=STOP_TIMEOUT + shutdown_seconds)
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

    def _fault_control(self) -> FaultControl:
        return FaultControl(self.faults, self.rest_faults, self.postgres_faults, self.rest)

    async def _serve(self, port: int, stack: AsyncExitStack) -> None:
        app = web.Application(middlewares=[_cors])
        app.add_routes(self.rest.routes())
        app.add_routes(self.realtime.routes())
        app.add_routes(self._user_tokens.routes())
        app.add_routes(self._sign_in.routes())
        app.add_routes(self._fault_control().routes())
        # A request that a fault blocks must end with its client, and must not delay the shutdown.
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        stack.callback(self.rest_faults.heal)
        await self.realtime.start()
        # Close the sockets before the HTTP server waits for its open requests.
        stack.push_async_callback(self.realtime.stop)
        await web.TCPSite(runner, HOST, port).start()
        self.supabase_url = f"http://{HOST}:{runner.addresses[0][1]}"
        self._user_tokens.issuer = f"{self.supabase_url}/auth/v1"


@web.middleware
async def _cors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Allow REST and Auth from every origin, as Supabase does. Control routes are excluded."""
    if not request.path.startswith(("/rest/", "/auth/")):
        return await handler(request)
    if request.method == "OPTIONS":
        allowed = request.headers.get("Access-Control-Request-Headers", "*")
        return web.Response(status=204, headers=CORS | {"Access-Control-Allow-Headers": allowed})
    response = await handler(request)
    response.headers.update(CORS)
    return response
