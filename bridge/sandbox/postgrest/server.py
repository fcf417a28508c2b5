"""PostgREST's reads at `/rest/v1/{table}`, the subset used by the official `supabase` client, and
calls of functions at `/rest/v1/rpc/{name}`.

PostgreSQL encodes the rows as JSON under the role of the request, so types, column grants and row
level security behave as with the real PostgREST. Writes of tables are rejected.
"""

from __future__ import annotations

import difflib
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt
import psycopg
from aiohttp import web

from bridge.sandbox.postgres.connections import ServerUnavailableError
from bridge.sandbox.postgrest.errors import (
    GatewayError,
    PostgrestError,
    cannot_connect,
    from_postgres,
    invalid_token,
    unknown_table,
)
from bridge.sandbox.postgrest.functions import FUNCTIONS_QUERY, call, choose
from bridge.sandbox.postgrest.query import parse
from bridge.sandbox.postgrest.sql import compose

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from bridge.sandbox.postgres.connections import ConnectionPool
    from bridge.sandbox.postgrest.faults import PostgrestFaults
    from bridge.sandbox.postgrest.query import Query

SCHEMA = "public"
ANONYMOUS_ROLE = "anon"
MAX_ROWS = 1000
OBJECT_TYPE = "application/vnd.pgrst.object+json"
LIST_TYPES = ("", "*/*", "application/*", "application/json", "application/vnd.pgrst.array+json")
TABLES_QUERY = (
    "select relname from pg_class "
    "where relnamespace = to_regnamespace($1) and relkind in ('r', 'v', 'm', 'f', 'p')"
)
DESCRIPTION_QUERY = """
with recursive base as (
  select oid, oid as type from pg_type where typtype = 'd'
  union all
  select base.oid, t.typbasetype from base join pg_type t on t.oid = base.type
  where t.typtype = 'd'
), described as (
  select c.relname::text as name,
    jsonb_object_agg(a.attname, jsonb_strip_nulls(jsonb_build_object(
      'format', format_type(t.oid, null),
      'enum', (select jsonb_agg(e.enumlabel order by e.enumsortorder) from pg_enum e
               where e.enumtypid = t.oid),
      'description', case when a.attnum = any(i.indkey) then
        E'Note:\\nThis is a Primary Key.<pk/>' end))) as columns
  from pg_class c
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  join pg_type t on t.oid = coalesce(
    (select base.type from base join pg_type b on b.oid = base.type
     where base.oid = a.atttypid and b.typtype <> 'd'), a.atttypid)
  left join pg_index i on i.indrelid = c.oid and i.indisprimary
  where c.relnamespace = to_regnamespace($1) and c.relkind in ('r', 'v', 'm', 'f', 'p')
    and has_any_column_privilege($2, c.oid, 'SELECT')
  group by c.oid, c.relname
)
select coalesce(jsonb_object_agg(
  name, jsonb_build_object('type', 'object', 'properties', columns)), '{}')
from described
"""
SET_ROLE = "select set_config('role', $1, true), set_config('request.jwt.claims', $2, true)"
ROLE_SETTINGS = """
select set_config(name, substr(pair, strpos(pair, '=') + 1), true)
from pg_roles, unnest(rolconfig) pair
join pg_settings on lower(name) = lower(split_part(pair, '=', 1)) and context = 'user'
where rolname = $1
"""
"""As PostgREST does: the settings of `alter role ... set` of the role that it switches to."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Role and claims of a request, as set in the database session."""

    role: str
    claims: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ResponsePage:
    """Rows as JSON text, their number, and the number of all matching rows if counted."""

    body: str
    rows: int
    total: int | None


class PostgrestServer:
    """The REST endpoint. The gateway accepts `api_keys`; the bearer token may be any JWT signed
    with `secret`. `max_rows` silently limits every response, as on Supabase. `reads` and
    `rows_given` count successful responses and their rows.
    """

    def __init__(
        self,
        connections: ConnectionPool,
        *,
        secret: str,
        api_keys: Collection[str],
        faults: PostgrestFaults,
        max_rows: int = MAX_ROWS,
    ) -> None:
        self.max_rows = max_rows
        self.reads = 0
        self.rows_given = 0
        self._connections = connections
        self._secret = secret
        self._api_keys = frozenset(api_keys)
        self._faults = faults

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/rest/v1/", self._root),
            web.get("/rest/v1/rpc/{name}", self._call),
            web.post("/rest/v1/rpc/{name}", self._call),
            web.route("*", "/rest/v1/rpc/{name}", self._refuse_method),
            web.get("/rest/v1/{table}", self._read),
            web.route("*", "/rest/v1/{table}", self._refuse_method),
        ]

    async def _root(self, request: web.Request) -> web.Response:
        try:
            caller = self._caller(request)
            async with self._connections.connection() as connection:
                cursor = psycopg.AsyncRawCursor(connection)
                await cursor.execute(DESCRIPTION_QUERY, (SCHEMA, caller.role))
                row = await cursor.fetchone()
        except ServerUnavailableError:
            return cannot_connect().response()
        except PostgrestError as rejection:
            return rejection.response()
        assert row is not None
        return web.json_response(
            {"info": {"title": "sandbox"}, "swagger": "2.0", "paths": {}, "definitions": row[0]}
        )

    async def _refuse_method(self, request: web.Request) -> web.Response:
        return PostgrestError(
            405,
            "PGRST117",
            f"Unsupported HTTP method: {request.method}",
            details="The sandbox serves reads of tables, and functions.",
            hint="Write with SQL, through the sandbox's database URL.",
        ).response()

    async def _read(self, request: web.Request) -> web.Response:
        try:
            await self._faults.inject()
            caller = self._caller(request)
            _check_profile(request)
            single = _wants_object(request)
            query = parse(request.query.items())
            count = _wants_count(request)
            page = await self._page(caller, request.match_info["table"], query, count)
            self.reads += 1
            self.rows_given += page.rows
            return _response(page, query, single=single)
        except PostgrestError as rejection:
            return rejection.response()

    async def _call(self, request: web.Request) -> web.Response:
        try:
            await self._faults.inject()
            caller = self._caller(request)
            post = request.method == "POST"
            _check_profile(request, "Content-Profile" if post else "Accept-Profile")
            arguments = await _arguments(request) if post else _query_arguments(request)
            body = await self._result(caller, request.match_info["name"], arguments, writes=post)
        except PostgrestError as rejection:
            return rejection.response()
        if body is None:
            return web.Response(status=204)
        return web.Response(
            text=body, content_type="application/json", headers={"Content-Profile": SCHEMA}
        )

    def _caller(self, request: web.Request) -> Caller:
        """Check the API key as the gateway does, then the token as PostgREST does."""
        key = request.headers.get("apikey") or request.query.get("apikey")
        if not key:
            raise GatewayError(
                "No API key found in request",
                "No `apikey` request header or url param was found.",
            )
        if key not in self._api_keys:
            raise GatewayError(
                "Invalid API key", "Double check your Supabase `anon` or `service_role` API key."
            )
        scheme, _, token = request.headers.get("Authorization", f"Bearer {key}").partition(" ")
        if scheme.lower() != "bearer":
            token = key
        return self._verify(token.strip())

    def _verify(self, token: str) -> Caller:
        if token.count(".") != 2:  # noqa: PLR2004
            parts = token.count(".") + 1
            raise invalid_token("PGRST301", f"Expected 3 parts in JWT; got {parts}")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._secret,
                algorithms=["HS256"],
                options={"verify_aud": False, "verify_sub": False, "verify_iat": False},
            )
        except jwt.ExpiredSignatureError:
            raise invalid_token("PGRST303", "JWT expired") from None
        except jwt.ImmatureSignatureError:
            raise invalid_token("PGRST303", "JWT not yet valid") from None
        except jwt.InvalidTokenError:
            raise invalid_token(
                "PGRST301",
                "No suitable key or wrong key type",
                "None of the keys was able to decode the JWT",
            ) from None
        return Caller(str(claims.get("role", ANONYMOUS_ROLE)), claims)

    async def _page(self, caller: Caller, table: str, query: Query, count: bool) -> ResponsePage:
        limit = self.max_rows if query.limit is None else min(query.limit, self.max_rows)
        statement = compose(query, SCHEMA, table, limit=limit, count=count)
        async with self._transaction(caller) as cursor:
            await cursor.execute("set transaction read only")
            await _check_table(cursor, table)
            await _set_role(cursor, caller)
            await cursor.execute(statement.text, statement.values)
            row = await cursor.fetchone()
        assert row is not None
        return ResponsePage(*row)

    async def _result(
        self, caller: Caller, name: str, arguments: dict[str, Any], *, writes: bool
    ) -> str | None:
        """Call a function. Return its result as JSON; None: it returns void."""
        async with self._transaction(caller) as cursor:
            await cursor.execute(FUNCTIONS_QUERY, (SCHEMA, name))
            function = choose(await cursor.fetchall(), name, arguments)
            if function.reads or not writes:
                await cursor.execute("set transaction read only")
            await _set_role(cursor, caller)
            values = (json.dumps(arguments),) if arguments else ()
            await cursor.execute(call(SCHEMA, name, function, arguments), values)
            row = await cursor.fetchone()
        if function.returns_void:
            return None
        return "null" if row is None or row[0] is None else str(row[0])

    @asynccontextmanager
    async def _transaction(self, caller: Caller) -> AsyncIterator[psycopg.AsyncRawCursor[Any]]:
        """Begin a transaction; errors within it are raised as PostgREST responds to them."""
        try:
            async with self._connections.connection() as connection, connection.transaction():
                yield psycopg.AsyncRawCursor(connection)
        except ServerUnavailableError as error:
            raise cannot_connect() from error
        except psycopg.Error as error:
            if error.sqlstate is None or error.sqlstate.startswith("57P"):
                await self._connections.close_idle()
            raise from_postgres(error, authenticated=caller.role != ANONYMOUS_ROLE) from error


async def _set_role(cursor: psycopg.AsyncRawCursor[Any], caller: Caller) -> None:
    await cursor.execute(ROLE_SETTINGS, (caller.role,))
    await cursor.execute(SET_ROLE, (caller.role, json.dumps(caller.claims)))


def _query_arguments(request: web.Request) -> dict[str, Any]:
    return {name: value for name, value in request.query.items() if name != "apikey"}


async def _arguments(request: web.Request) -> dict[str, Any]:
    text = await request.text()
    try:
        arguments = json.loads(text) if text else {}
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise PostgrestError(400, "PGRST102", "Empty or invalid json")
    return arguments


async def _check_table(cursor: psycopg.AsyncRawCursor[Any], table: str) -> None:
    await cursor.execute(TABLES_QUERY, (SCHEMA,))
    tables = [row[0] for row in await cursor.fetchall()]
    if table not in tables:
        similar = difflib.get_close_matches(table, tables, n=1, cutoff=0.75)
        raise unknown_table(SCHEMA, table, similar[0] if similar else None)


def _check_profile(request: web.Request, header: str = "Accept-Profile") -> None:
    schema = request.headers.get(header, SCHEMA)
    if schema != SCHEMA:
        raise PostgrestError(
            406,
            "PGRST106",
            f"Invalid schema: {schema}",
            hint=f"Only the following schemas are exposed: {SCHEMA}",
        )


def _wants_object(request: web.Request) -> bool:
    wanted = [
        media.partition(";")[0].strip() for media in request.headers.get("Accept", "").split(",")
    ]
    for media in wanted:
        if media == OBJECT_TYPE:
            return True
        if media in LIST_TYPES:
            return False
    raise PostgrestError(
        406, "PGRST107", f"None of these media types are available: {', '.join(wanted)}"
    )


def _wants_count(request: web.Request) -> bool:
    preferences = ",".join(request.headers.getall("Prefer", [])).replace(" ", "").split(",")
    # Planned and estimated counts are exact here: at the sandbox's size that is as fast.
    return any(f"count={kind}" in preferences for kind in ("exact", "planned", "estimated"))


def _response(page: ResponsePage, query: Query, *, single: bool) -> web.Response:
    total = "*" if page.total is None else str(page.total)
    first, last = query.offset, query.offset + page.rows - 1
    if page.total is not None and query.offset > page.total:
        raise PostgrestError(
            416,
            "PGRST103",
            "Requested range not satisfiable",
            details=f"An offset of {query.offset} was requested, "
            f"but there are only {page.total} rows.",
        )
    body = page.body
    if single:
        if page.rows != 1:
            raise PostgrestError(
                406,
                "PGRST116",
                "Cannot coerce the result to a single JSON object",
                details=f"The result contains {page.rows} rows",
            )
        body = page.body[1:-1]
    partial = page.total is not None and page.rows < page.total
    return web.Response(
        status=206 if partial else 200,
        text=body,
        content_type=OBJECT_TYPE if single else "application/json",
        headers={
            "Content-Range": f"{first}-{last}/{total}" if page.rows else f"*/{total}",
            "Content-Profile": SCHEMA,
        },
    )
