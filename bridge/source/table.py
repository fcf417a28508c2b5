"""Reads of the table over PostgREST, through the official `supabase` client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
from postgrest import APIError
from pydantic import ValidationError
from supabase import AsyncClient, AsyncClientOptions, acreate_client

from bridge.errors import TableUnreadable
from bridge.values import normalise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.changes import Json, Key, Record
    from bridge.settings import Settings

TIMEOUT_SECONDS = 20.0
"""For one read. The client's own default is two minutes, in which a gap would stay open."""

_PERMANENT = {
    "42703": "a column of BRIDGE_COLUMNS, BRIDGE_REGION, BRIDGE_KEY or BRIDGE_UPDATED_AT does not "
    "exist: correct the setting or add the column",
    "42P01": "the table does not exist: correct BRIDGE_TABLE or BRIDGE_WATCHERS, or apply the "
    "migrations",
    "PGRST205": "the table does not exist or is not exposed: correct BRIDGE_TABLE or "
    "BRIDGE_WATCHERS, or expose its schema in the project's API settings",
    "PGRST106": "the schema is not exposed: add it in the project's API settings",
    "42501": "the key's role may not read the table: grant select on it to service_role",
    "PGRST301": "the key was refused: set SUPABASE_SECRET_KEY to this project's secret key",
    "PGRST303": "the key was refused: set SUPABASE_SECRET_KEY to this project's secret key",
    "401": "the key was refused: set SUPABASE_SECRET_KEY to this project's secret key",
    "Invalid API key": "set SUPABASE_SECRET_KEY to this project's secret key",
    "Invalid authentication credentials": "set SUPABASE_SECRET_KEY to this project's secret key",
}
"""Errors that stay until somebody acts, by PostgREST's or Postgres's code, and what to do. The
gateways before PostgREST give no code: Supabase's own says the first, a self-hosted Kong the
second.
"""


class SupabaseTable:
    """Implements `source.base.Table`. Open before the first read, close at the end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._projection = settings.projection
        self._http: httpx.AsyncClient | None = None
        self._client: AsyncClient | None = None

    async def open(self) -> None:
        self._http = httpx.AsyncClient(timeout=TIMEOUT_SECONDS, follow_redirects=True)
        self._client = await acreate_client(
            self._settings.supabase_url,
            self._settings.supabase_secret_key.get_secret_value(),
            AsyncClientOptions(
                auto_refresh_token=False,
                persist_session=False,
                postgrest_client_retry=False,  # reconcile tries again, and says so
                schema=self._projection.schema,
                httpx_client=self._http,
            ),
        )

    async def close(self) -> None:
        if self._http is not None:
            await self._http.aclose()
        self._http = self._client = None

    async def page(self, after: Key | None, limit: int) -> Sequence[Record]:
        return await self._keyset(self._projection.selected, after, limit)

    async def keys(self, after: Key | None, limit: int) -> Sequence[Key]:
        column = self._projection.key
        return [row[column] for row in await self._keyset((column,), after, limit)]

    async def rows(self, keys: Sequence[Key]) -> Sequence[Record]:
        query = self._select(self._projection.selected).in_(self._projection.key, list(keys))
        return self._records(await self._run(query), self._projection.selected)

    async def recent(self, since: str, after: Key | None, limit: int) -> Sequence[Record]:
        column, key = self._projection.updated_at, self._projection.key
        assert column is not None
        query = self._select(self._projection.selected).gte(column, since)
        if after is not None:
            at, last = quoted(since), quoted(after)
            query = query.or_(f"{column}.gt.{at},and({column}.eq.{at},{key}.gt.{last})")
        query = query.order(column).order(key).limit(limit)
        return self._records(await self._run(query), self._projection.selected)

    async def newest(self) -> Record | None:
        column, key = self._projection.updated_at, self._projection.key
        assert column is not None
        query = self._select((key, column)).order(column, desc=True, nullsfirst=False).limit(1)
        rows = self._records(await self._run(query), (key, column))
        return rows[0] if rows else None

    async def _keyset(
        self, columns: tuple[str, ...], after: Key | None, limit: int
    ) -> list[dict[str, Json]]:
        query = self._select(columns)
        if after is not None:
            query = query.gt(self._projection.key, after)
        query = query.order(self._projection.key).limit(limit)
        return self._records(await self._run(query), columns)

    def _select(self, columns: tuple[str, ...]) -> Any:
        if self._client is None:
            raise RuntimeError("expected an open table: call open() before the first read")
        return self._client.table(self._projection.table).select(",".join(columns))

    async def _run(self, query: Any) -> list[dict[str, Json]]:
        try:
            response = await query.execute()
        except APIError as error:
            raise self._unreadable(error) from None
        except (httpx.HTTPError, ValidationError, ValueError) as error:
            raise TableUnreadable(
                f"reading {self._settings.table} failed: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(response.data, list):
            raise TableUnreadable(
                f"reading {self._settings.table}: expected a list of rows, "
                f"came {type(response.data).__name__}"
            )
        return response.data

    def _records(
        self, rows: list[dict[str, Json]], columns: tuple[str, ...]
    ) -> list[dict[str, Json]]:
        return [{column: normalise(row[column]) for column in columns} for row in rows]

    def _unreadable(self, error: APIError) -> TableUnreadable:
        advice = _PERMANENT.get(str(error.code or error.message))
        said = " ".join(str(part) for part in (error.code, error.message) if part)
        return TableUnreadable(
            f"reading {self._settings.table} failed: {said}" + (f"; {advice}" if advice else ""),
            permanent=advice is not None,
        )


def quoted(value: Key) -> str:
    """`value` for use inside `or=(...)`, where commas, dots and parentheses have a meaning."""
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
