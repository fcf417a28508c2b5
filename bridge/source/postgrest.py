"""Reads of the table over PostgREST, with the official `supabase` client."""

from __future__ import annotations

import json
import re
import time
from collections import deque
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
from postgrest import APIError
from pydantic import ValidationError
from supabase import AsyncClient, AsyncClientOptions, acreate_client

from bridge import clock as clocks
from bridge.errors import TableUnreadableError
from bridge.source.column_types import ColumnTypes
from bridge.source.normalize import normalize_key, normalizer
from bridge.source.read_errors import unreadable
from bridge.source.row_keys import RowKeys
from bridge.source.table_checks import TableChecks
from bridge.source.table_description import TableDescription

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bridge.changes import Json, Key, Record
    from bridge.projection import Projection
    from bridge.source.base import ReadRights

TIMEOUT_SECONDS = 20.0
"""Timeout of one read. The client's default is two minutes, during which a gap would stay open."""

MAX_URL_BYTES = 7500
"""Maximum size of a URL with keys. Gateways limit a request's line to 8 kB."""

MAX_COLUMNS_BYTES = 5000
"""Maximum size of the names of columns in a URL. Beyond it, or if a name has a quote, all columns
are read, and those that are not known are dropped."""

MAX_KEY_CHARACTERS = 80
"""Of a key in an error message."""

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_]+")


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

    def __init__(self, options: PostgrestOptions, types: ColumnTypes | None = None) -> None:
        """`types` of the columns are shared with the source of the changes."""
        self._options = options
        self._types = ColumnTypes() if types is None else types
        self._description = TableDescription(options.projection, self._types)
        self._projection = options.projection
        self._table = f"{self._projection.schema}.{self._projection.table}"
        self._keys = RowKeys(options.projection, self._types)
        self._checks = TableChecks(options.projection, options.key)
        self._http: httpx.AsyncClient | None = None
        self._client: AsyncClient | None = None

    @property
    def key_advice(self) -> str | None:
        """What the key costs or requires, for an operator, once a row was read; None: nothing."""
        return self._keys.advice

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

    async def page(
        self, after: Key | None, limit: int, up_to: Key | None = None
    ) -> Sequence[Record]:
        return await self._keyset(self._projection.selected, after, limit, up_to)

    async def keys(self, after: Key | None, limit: int) -> Sequence[Key]:
        column = self._projection.key
        return [row[column] for row in await self._keyset((column,), after, limit)]

    async def rows(self, keys: Sequence[Key]) -> Sequence[Record]:
        found: list[dict[str, Json]] = []
        portions = deque(_chunks(keys, MAX_URL_BYTES - self._url_bytes))
        while portions:
            portion = portions.popleft()
            try:
                found += await self._rows_of(portion)
            except TableUnreadableError as error:
                if not error.refused:
                    raise
                if len(portion) == 1:
                    raise TableUnreadableError(
                        f"{error}; it is the row with {self._projection.key} {portion[0]!r}"
                    ) from None
                half = len(portion) // 2
                portions.extendleft((portion[half:], portion[:half]))
        return found

    @cached_property
    def _url_bytes(self) -> int:
        """The size of the URL of a read by keys, without the keys."""
        key, names = self._projection.key, self._column_list(self._projection.selected)
        parts = (self._options.url, "/rest/v1/", self._projection.table, "?select=", names)
        return sum(len(quote(part, safe="")) for part in (*parts, f"&{key}=in.()"))

    async def _rows_of(self, keys: Sequence[Key]) -> list[dict[str, Json]]:
        """Read rows by key. The project may cap a response (`max-rows`) without an indication, so
        missing keys are requested again until a response has none of them.
        """
        column, columns = self._projection.key, self._projection.selected
        found: list[dict[str, Json]] = []
        while keys:
            names = ",".join(map(quoted, keys))
            query = self._select(columns).filter(column, "in", f"({names})")
            rows = await self._read(query, columns)
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
        return await self._read(query, self._projection.selected)

    async def newest(self) -> Record | None:
        column = self._projection.updated_at
        assert column is not None
        columns = (self._projection.key, column)
        # Without "nulls last", which an index on the column does not support: PostgreSQL would
        # scan the whole table every few seconds.
        # A row that is dated in the future would hide all that are written until then.
        latest = clocks.timestamp(time.time() + clocks.FUTURE_SECONDS)
        query = self._select(columns).lte(column, latest).order(_name(column), desc=True)
        rows = await self._read(query.limit(1), columns)
        if rows:
            return rows[0]
        # The table is empty, or the column is null or in the future in all rows.
        rows = await self._read(self._select(columns).limit(1), columns)
        return {**rows[0], column: None} if rows else None

    async def _keyset(
        self, columns: tuple[str, ...], after: Key | None, limit: int, up_to: Key | None = None
    ) -> list[dict[str, Json]]:
        query = self._select(columns)
        if after is not None:
            query = query.gt(self._projection.key, after)
        if up_to is not None:
            query = query.lte(self._projection.key, up_to)
        query = query.order(_name(self._projection.key)).limit(limit)
        try:
            return await self._read(query, columns)
        except TableUnreadableError as error:
            if after is None or not error.refused:
                raise
            key = f"{self._projection.key} {str(after)[:MAX_KEY_CHARACTERS]!r}"
            raise TableUnreadableError(
                f"{error}; it is the page of {limit} after the row with {key}", refused=True
            ) from None

    async def count(self) -> int:
        return await self._checks.count(self._open_client)

    async def rights(self) -> ReadRights:
        return await self._checks.rights(self._open_client)

    async def digest(self, after: Key | None, up_to: Key | None) -> str | None:
        return await self._checks.digest(self._open_client, after, up_to)

    async def unusual_updates(self) -> tuple[int, int]:
        """Return in how many rows `updated_at` is null, and in how many it is in the future."""
        return await self._checks.unusual_updates(self._open_client)

    @property
    def _open_client(self) -> AsyncClient:
        if self._client is None:
            raise RuntimeError("expected an open table: call open() before the first read")
        return self._client

    def _select(self, columns: tuple[str, ...]) -> Any:
        return self._open_client.table(self._projection.table).select(self._column_list(columns))

    @staticmethod
    def _column_list(columns: tuple[str, ...]) -> str:
        names = ",".join(map(_name, columns))
        # The library removes blanks outside of quotes, and takes an escaped quote for the end.
        plain = not any('"' in column for column in columns)
        return names if plain and len(quote(names, safe="")) <= MAX_COLUMNS_BYTES else "*"

    async def _read(self, query: Any, columns: tuple[str, ...]) -> list[dict[str, Json]]:
        if self._description.is_due(time.monotonic()):
            await self._description.read(self._open_client, self._run, time.monotonic())
        return self._records(await self._run(query), columns)

    async def _run(self, query: Any) -> list[dict[str, Json]]:
        try:
            response = await query.execute()
        except APIError as error:
            raise unreadable(self._table, error) from None
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
        key = self._projection.key
        normalizers = [
            (column, partial(normalize_key, type_name=self._types.get(column)))
            if column == key
            else (column, normalizer(self._types.get(column)))
            for column in columns
        ]
        try:
            records = [
                {column: normal(row[column]) for column, normal in normalizers} for row in rows
            ]
        except (KeyError, TypeError):
            raise TableUnreadableError(
                f"reading {self._table}: expected rows with {', '.join(columns)}, got others"
            ) from None
        if key in columns:
            self._keys.check(records)
        return records


def quoted(value: Key) -> str:
    """Quote `value` for `or=(...)` and `in.(...)`, where commas and parentheses are syntax."""
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _name(column: str) -> str:
    """Quote `column` for `select`, `order` and `or`, if needed; plain filters need no quotes."""
    return column if _PLAIN_NAME.fullmatch(column) else quoted(column)


def _chunks(keys: Iterable[Key], size_limit: int) -> Iterator[list[Key]]:
    """Yield chunks of keys that take up to `size_limit` bytes in a URL, in order; a longer key is
    alone.
    """
    chunk: list[Key] = []
    size = 0
    for key in keys:
        added = len(quote(f"{quoted(key)},", safe=""))
        if chunk and size + added > size_limit:
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
    if response.request.method == "HEAD":
        return
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
