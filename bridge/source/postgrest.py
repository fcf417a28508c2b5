"""Reads of the table over PostgREST, with the official `supabase` client."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
from postgrest import APIError
from pydantic import ValidationError
from supabase import AsyncClient, AsyncClientOptions, acreate_client

from bridge import clock as clocks
from bridge.errors import TableUnreadableError
from bridge.source.normalize import normalize

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bridge.changes import Json, Key, Record
    from bridge.projection import Projection

TIMEOUT_SECONDS = 20.0
"""Timeout of one read. The client's default is two minutes, during which a gap would stay open."""

MAX_KEYS_BYTES = 6000
"""Maximum size of the keys in the URL of one read. Gateways limit URLs to 8 kB."""

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_]+")

_PERMANENT_ERRORS = {
    "42703": "a column of BRIDGE_COLUMNS, BRIDGE_REGION, BRIDGE_KEY or BRIDGE_UPDATED_AT does not "
    "exist: correct the setting or add the column",
    "42P01": "the table does not exist: correct BRIDGE_TABLE or BRIDGE_WATCHERS, or apply the "
    "migrations",
    "PGRST205": "the table does not exist or is not exposed: correct BRIDGE_TABLE or "
    "BRIDGE_WATCHERS, or expose its schema in the project's API settings",
    "PGRST106": "the schema is not exposed: add it in the project's API settings",
    "42501": "the key's role may not read the table: grant select on it to service_role",
    "PGRST301": "the key was rejected: set SUPABASE_SECRET_KEY to this project's secret key",
    "PGRST303": "the key was rejected: set SUPABASE_SECRET_KEY to this project's secret key",
    "401": "the key was rejected: set SUPABASE_SECRET_KEY to this project's secret key",
    "22P02": "expected BRIDGE_UPDATED_AT to name a column of dates or timestamps: correct it, or "
    "leave it empty",
    "Invalid API key": "set SUPABASE_SECRET_KEY to this project's secret key",
    "Unregistered API key": "set SUPABASE_SECRET_KEY to a secret key of the project of "
    "SUPABASE_URL",
    "Legacy API keys are disabled": "set SUPABASE_SECRET_KEY to a secret key (sb_secret_...) "
    "instead of the legacy service_role key",
    "Invalid authentication credentials": "set SUPABASE_SECRET_KEY to this project's secret key",
}
"""Errors that persist until an operator acts, by the code of PostgREST or Postgres, with advice.
The gateways in front of PostgREST send a message without a code: the messages on API keys are those
of Supabase's gateway, the last one is that of a self-hosted Kong.
"""


@dataclass(frozen=True, slots=True)
class PostgrestOptions:
    """Which project and which of its tables is read."""

    url: str
    """The project's URL; PostgREST is at `/rest/v1`."""
    key: str = field(repr=False)
    """The project's secret key."""
    projection: Projection


class PostgrestTable:
    """Implements `source.base.Table`. Call `open` before the first read, `close` at the end."""

    def __init__(self, options: PostgrestOptions) -> None:
        self._options = options
        self._projection = options.projection
        self._table = f"{self._projection.schema}.{self._projection.table}"
        self._http: httpx.AsyncClient | None = None
        self._client: AsyncClient | None = None

    async def open(self) -> None:
        self._http = httpx.AsyncClient(
            timeout=TIMEOUT_SECONDS,
            follow_redirects=True,
            event_hooks={"response": [_reject_empty_body]},
        )
        self._client = await acreate_client(
            self._options.url,
            self._options.key,
            AsyncClientOptions(
                auto_refresh_token=False,
                persist_session=False,
                postgrest_client_retry=False,  # the reconciler retries and logs it
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
        found: list[dict[str, Json]] = []
        for chunk in _chunks_by_url_size(keys):
            found += await self._rows_of(chunk)
        return found

    async def _rows_of(self, keys: Sequence[Key]) -> list[dict[str, Json]]:
        """Read rows by key. The project may cap a response (`max-rows`) without an indication, so
        missing keys are requested again until a response has none of them.
        """
        column, columns = self._projection.key, self._projection.selected
        found: list[dict[str, Json]] = []
        while keys:
            names = ",".join(map(quoted, keys))
            query = self._select(columns).filter(column, "in", f"({names})")
            rows = self._records(await self._run(query), columns)
            read = {row[column] for row in rows}
            missing = [key for key in keys if key not in read]
            found += rows
            if len(missing) == len(keys):
                break
            keys = missing
        return found

    async def recent(self, since: str, after: Key | None, limit: int) -> Sequence[Record]:
        column, key = self._projection.updated_at, self._projection.key
        assert column is not None
        query = self._select(self._projection.selected).gte(column, since)
        if after is not None:
            time, last, by, then = quoted(since), quoted(after), _name(column), _name(key)
            query = query.or_(f"{by}.gt.{time},and({by}.eq.{time},{then}.gt.{last})")
        query = query.order(_name(column)).order(_name(key)).limit(limit)
        return self._records(await self._run(query), self._projection.selected)

    async def newest(self) -> Record | None:
        column = self._projection.updated_at
        assert column is not None
        columns = (self._projection.key, column)
        # Without "nulls last", which an index on the column does not support: PostgreSQL would
        # scan the whole table every few seconds.
        # A row that is dated in the future would hide all that are written until then.
        latest = clocks.timestamp(time.time() + clocks.FUTURE_SECONDS)
        query = self._select(columns).lte(column, latest).order(_name(column), desc=True)
        rows = self._records(await self._run(query.limit(1)), columns)
        if rows:
            return rows[0]
        # The table is empty, or the column is null or in the future in all rows.
        rows = self._records(await self._run(self._select(columns).limit(1)), columns)
        return {**rows[0], column: None} if rows else None

    async def _keyset(
        self, columns: tuple[str, ...], after: Key | None, limit: int
    ) -> list[dict[str, Json]]:
        query = self._select(columns)
        if after is not None:
            query = query.gt(self._projection.key, after)
        query = query.order(_name(self._projection.key)).limit(limit)
        return self._records(await self._run(query), columns)

    def _select(self, columns: tuple[str, ...]) -> Any:
        if self._client is None:
            raise RuntimeError("expected an open table: call open() before the first read")
        return self._client.table(self._projection.table).select(",".join(map(_name, columns)))

    async def _run(self, query: Any) -> list[dict[str, Json]]:
        try:
            response = await query.execute()
        except APIError as error:
            raise self._unreadable(error) from None
        except (httpx.HTTPError, ValidationError, ValueError) as error:
            raise TableUnreadableError(
                f"reading {self._table} failed: {type(error).__name__}: {error}"
            ) from error
        data = response.data
        if isinstance(data, str):  # the library could not decode it
            data = _decode_long_numbers(data)
        if not isinstance(data, list):
            raise TableUnreadableError(
                f"reading {self._table}: expected a list of rows, got {type(data).__name__}"
            )
        return data

    def _records(
        self, rows: list[dict[str, Json]], columns: tuple[str, ...]
    ) -> list[dict[str, Json]]:
        try:
            return [{column: normalize(row[column]) for column in columns} for row in rows]
        except (KeyError, TypeError):
            raise TableUnreadableError(
                f"reading {self._table}: expected rows with {', '.join(columns)}, got others"
            ) from None

    def _unreadable(self, error: APIError) -> TableUnreadableError:
        advice = _PERMANENT_ERRORS.get(str(error.code or error.message))
        reason = " ".join(str(part) for part in (error.code, error.message) if part)
        return TableUnreadableError(
            f"reading {self._table} failed: {reason}" + (f"; {advice}" if advice else ""),
            permanent=advice is not None,
        )


def quoted(value: Key) -> str:
    """Quote `value` for `or=(...)` and `in.(...)`, where commas and parentheses are syntax."""
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _name(column: str) -> str:
    """Quote `column` for `select`, `order` and `or`, if needed; plain filters need no quotes."""
    return column if _PLAIN_NAME.fullmatch(column) else quoted(column)


def _chunks_by_url_size(keys: Iterable[Key]) -> Iterator[list[Key]]:
    """Yield chunks of keys that fit into one URL, in order."""
    chunk: list[Key] = []
    size = 0
    for key in keys:
        added = len(quote(f"{quoted(key)},", safe=""))
        if chunk and size + added > MAX_KEYS_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(key)
        size += added
    if chunk:
        yield chunk


async def _reject_empty_body(response: httpx.Response) -> None:
    """Raise for a successful response without a body, which a gateway may send: it must not be
    read as an empty table, for which PostgREST sends `[]`.
    """
    if response.is_success and not await response.aread():
        raise httpx.RemoteProtocolError(f"got status {response.status_code} without a body")


def _decode_long_numbers(text: str) -> Any:
    """Decode JSON, or return `text` if it is not JSON. Python converts no integer of more than
    4,300 digits, which `numeric` and `jsonb` may have: those become infinite.
    """
    try:
        return json.loads(text, parse_int=_number)
    except ValueError:
        return text


def _number(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:
        return float(digits)
