"""Reads of the table over SQL, on one connection that is opened when it is needed."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from bridge import clock as clocks
from bridge.errors import TableUnreadableError
from bridge.source.base import ReadRights
from bridge.source.column_types import ColumnTypes
from bridge.source.replication import connection as connections
from bridge.source.replication.columns import MissingColumnError, TableColumns, describe
from bridge.source.replication.faults import SourceFault, advice_on
from bridge.source.replication.types import TypeCatalog
from bridge.source.row_keys import RowKeys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from typing import LiteralString

    from bridge.changes import Key, Record
    from bridge.projection import Projection

TIMEOUT_SECONDS: Final = 20.0
"""Timeout of one read, as of those over PostgREST."""

REFRESH_SECONDS: Final = 600.0
"""After which the columns are described again: a type may have been changed."""

RIGHTS: Final = """
with applied as (
  select p.polpermissive, pg_get_expr(p.polqual, p.polrelid) = 'true' as all_rows, p.polrelid
  from pg_policy p
  where p.polcmd in ('r', '*') and exists (
    select from unnest(p.polroles) as role
    where case when role = 0 then true else pg_has_role(role, 'usage') end))
select current_user::text,
  not has_any_column_privilege(c.oid, 'select') or row_security_active(c.oid) and not (
    exists (select from applied a where a.polrelid = c.oid and a.polpermissive and a.all_rows)
    and not exists (select from applied a where a.polrelid = c.oid and not a.polpermissive
                    and a.all_rows is not true)),
  array(select t.tgname::text from pg_trigger t where t.tgrelid = c.oid and not t.tgisinternal
        and t.tgenabled <> 'D' and (t.tgtype & 19) = 19 order by 1)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = %s and c.relname = %s
"""
"""What the function `bridge_rights` shows, for the role of the connection."""

DIGEST: Final = (
    "select count(*) || ':' || coalesce(sum(hashtextextended((r.*)::text, 0)), 0) "
    "from {table} r where true"
)
UNUSUAL_UPDATES: Final = (
    "select count(*) filter (where {updated_at} is null), "
    "count(*) filter (where {updated_at} > %s) from {table}"
)

_PERMANENT: Final = ("42703", "42P01", "42501", "3D000", "28P01")
_REFUSED: Final = ("57014", "22", "54")


class _AlteredError(Exception):
    """A column has another type than described."""


class SqlTable:
    """Implements `source.base.Table`. Call `close` at the end."""

    def __init__(
        self,
        url: str,
        projection: Projection,
        publication: str,
        types: ColumnTypes | None = None,
    ) -> None:
        """Reads the rows that `publication` has, all if it does not exist."""
        self._publication = publication
        self._url = url
        self._projection = projection
        self._types = ColumnTypes() if types is None else types
        self._catalog = TypeCatalog()
        self._keys = RowKeys(projection, self._types, cut_short=False)
        self._name = f"{projection.schema}.{projection.table}"
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._columns: TableColumns | None = None
        self._described_at = 0.0
        self._oids: dict[str, int] = {}
        """The type of each column in the results of queries since the description."""
        self._lock = asyncio.Lock()

    @property
    def key_advice(self) -> str | None:
        """What the key costs or requires, for an operator, once the table was read."""
        return self._keys.advice

    async def open(self) -> None:
        """Does nothing: a database that is down must not keep the bridge from starting."""

    async def close(self) -> None:
        async with self._lock:
            await self._disconnect()

    async def page(
        self, after: Key | None, limit: int, up_to: Key | None = None
    ) -> Sequence[Record]:
        return await self._select(*self._in_key_order(after, limit, up_to))

    async def keys(self, after: Key | None, limit: int) -> Sequence[Key]:
        key = self._projection.key
        rows = await self._select(*self._in_key_order(after, limit), columns=(key,))
        return [row[key] for row in rows]

    async def rows(self, keys: Sequence[Key]) -> Sequence[Record]:
        tail = sql.SQL(" where {} = any(%s)").format(sql.Identifier(self._projection.key))
        return await self._select(tail, [_array(keys)])

    async def recent(self, since: str, after: Key | None, limit: int) -> Sequence[Record]:
        assert self._projection.updated_at is not None
        column = sql.Identifier(self._projection.updated_at)
        key = sql.Identifier(self._projection.key)
        if after is None:
            where, parameters = sql.SQL("{} >= %s").format(column), [since]
        else:
            where = sql.SQL("({}, {}) > (%s, %s)").format(column, key)
            parameters = [since, str(after)]
        tail = sql.SQL(" where {} order by {}, {} limit {}").format(
            where, column, key, sql.Literal(limit)
        )
        return await self._select(tail, parameters)

    async def newest(self) -> Record | None:
        name = self._projection.updated_at
        assert name is not None
        column = sql.Identifier(name)
        columns = (self._projection.key, name)
        # A row that is dated in the future would hide all that are written until then.
        latest = clocks.timestamp(time.time() + clocks.FUTURE_SECONDS)
        tail = sql.SQL(" where {0} <= %s order by {0} desc limit 1").format(column)
        rows = await self._select(tail, [latest], columns=columns)
        if rows:
            return rows[0]
        rows = await self._select(sql.SQL(" limit 1"), [], columns=columns)
        return {**rows[0], name: None} if rows else None

    async def count(self) -> int:
        return int((await self._ask("select count(*) from {table}", []))[0])

    async def rights(self) -> ReadRights:
        names = [self._projection.schema, self._projection.table]
        role, filtered, triggers = await self._ask(RIGHTS, names)
        return ReadRights(str(role), filtered=bool(filtered), update_triggers=tuple(triggers))

    async def digest(self, after: Key | None, up_to: Key | None) -> str | None:
        given = [(" and {key} > %s", after), (" and {key} <= %s", up_to)]
        tests = [(test, str(key)) for test, key in given if key is not None]
        query = DIGEST
        for test, _ in tests:
            query += test
        try:
            return str((await self._ask(query, [key for _, key in tests]))[0])
        except TableUnreadableError:
            return None

    async def unusual_updates(self) -> tuple[int, int]:
        latest = clocks.timestamp(time.time() + clocks.FUTURE_SECONDS)
        nulls, future = await self._ask(UNUSUAL_UPDATES, [latest])
        return int(nulls), int(future)

    def _in_key_order(
        self, after: Key | None, limit: int, up_to: Key | None = None
    ) -> tuple[sql.Composable, list[str]]:
        where, parameters = self._between(after, up_to)
        order = sql.SQL(" order by {} limit {}").format(
            sql.Identifier(self._projection.key), sql.Literal(limit)
        )
        return where + order, parameters

    def _between(self, after: Key | None, up_to: Key | None) -> tuple[sql.Composable, list[str]]:
        """Return the condition of keys above `after`, up to and with `up_to`."""
        key = sql.Identifier(self._projection.key)
        bounds = [(" {} > %s", after), (" {} <= %s", up_to)]
        given = [(sql.SQL(test).format(key), str(at)) for test, at in bounds if at is not None]
        if not given:
            return sql.SQL(""), []
        tests = sql.SQL(" and").join(test for test, _ in given)
        return sql.SQL(" where") + tests, [at for _, at in given]

    async def _select(
        self,
        tail: sql.Composable,
        parameters: Sequence[str],
        columns: tuple[str, ...] | None = None,
    ) -> list[Record]:
        """Return the rows of a query; of all selected columns unless `columns` names some."""
        async with self._reading():
            return await self._rows_of(tail, parameters, columns)

    async def _ask(self, query: LiteralString, parameters: Sequence[str]) -> Sequence[Any]:
        """Return the one row of a query; `{table}`, `{key}` and `{updated_at}` stand for names."""
        projection = self._projection
        text = sql.SQL(query).format(
            table=sql.Identifier(projection.schema, projection.table),
            key=sql.Identifier(projection.key),
            updated_at=sql.Identifier(projection.updated_at or projection.key),
        )
        async with self._reading():
            connection = await self._connected()
            row = await (await connection.execute(text, parameters)).fetchone()
        if row is None:
            raise TableUnreadableError(f"asking about {self._name}: there is no such table")
        return tuple(row)

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[None]:
        """One read at a time; whatever fails within the block becomes `TableUnreadableError`."""
        async with self._lock:
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    yield
            except TimeoutError:
                await self._disconnect()
                raise TableUnreadableError(
                    f"reading {self._name} took longer than {TIMEOUT_SECONDS:g} s", refused=True
                ) from None
            except asyncio.CancelledError:
                await self._disconnect()
                raise
            except psycopg.Error as error:
                await self._disconnect()
                raise self._unreadable(error) from None
            except SourceFault as fault:
                raise TableUnreadableError(
                    f"reading {self._name} failed: {fault}", permanent=fault.needs_operator
                ) from None
            except (ValueError, _AlteredError):
                self._columns = None
                raise TableUnreadableError(
                    f"reading {self._name}: the table was altered meanwhile"
                ) from None
            except MissingColumnError as error:
                self._columns = None
                raise TableUnreadableError(
                    f"reading {self._name} failed: {error}", permanent=True
                ) from None

    async def _connected(self) -> psycopg.AsyncConnection[Any]:
        connection = self._connection
        if connection is None or connection.closed:
            connection = self._connection = await connections.connect(self._url)
            self._columns = None
        return connection

    async def _rows_of(
        self, tail: sql.Composable, parameters: Sequence[str], names: tuple[str, ...] | None
    ) -> list[Record]:
        connection = await self._connected()
        columns = self._columns
        if columns is None or time.monotonic() - self._described_at > REFRESH_SECONDS:
            columns = await self._describe(connection)
        try:
            return await self._read(connection, columns, tail, parameters, names)
        except _AlteredError:
            columns = await self._describe(connection)
            return await self._read(connection, columns, tail, parameters, names)

    async def _describe(self, connection: psycopg.AsyncConnection[Any]) -> TableColumns:
        self._catalog.forget()
        self._oids.clear()
        self._columns = await describe(
            connection, self._projection, self._catalog, self._types, self._publication
        )
        self._described_at = time.monotonic()
        return self._columns

    async def _read(
        self,
        connection: psycopg.AsyncConnection[Any],
        columns: TableColumns,
        tail: sql.Composable,
        parameters: Sequence[str],
        names: tuple[str, ...] | None,
    ) -> list[Record]:
        """Run a query. Raises `_AlteredError` if a type is not the described one."""
        if names is not None:
            columns = TableColumns(
                self._projection,
                [columns.type_of(name) for name in names],
                names,
                columns.row_filter,
            )
        rows = columns.rows(parameters=True)
        query = sql.SQL("select {} from {}").format(columns.selected, rows) + tail
        async with connection.cursor() as cursor:
            await cursor.execute(query, parameters)
            result = cursor.pgresult
            assert result is not None
            fields = range(result.nfields)
            for field, name in enumerate(names or self._projection.selected):
                if self._oids.setdefault(name, result.ftype(field)) != result.ftype(field):
                    raise _AlteredError
            records = [
                columns.record([_text(result.get_value(row, field)) for field in fields])
                for row in range(result.ntuples)
            ]
        if self._projection.key in (names or self._projection.selected):
            self._keys.check(records)
        return records

    def _unreadable(self, error: psycopg.Error) -> TableUnreadableError:
        code = error.sqlstate or ""
        text = " ".join(str(error).split())
        advice = advice_on(text)
        if advice is None and code == "42501":
            advice = "grant select on it to the role of BRIDGE_DATABASE_URL"
        return TableUnreadableError(
            f"reading {self._name} failed: {' '.join(filter(None, (code, text)))}"
            + (f"; {advice}" if advice else ""),
            permanent=code in _PERMANENT,
            refused=code.startswith(_REFUSED),
        )

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if connection.info.transaction_status is TransactionStatus.ACTIVE:
            connection.pgconn.finish()  # a query is under way: nothing can be sent
        await connection.close()


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def _array(keys: Sequence[Key]) -> str:
    """Return an array of `keys` as PostgreSQL reads it, of whatever type the column has."""
    quoted = (str(key).replace("\\", "\\\\").replace('"', '\\"') for key in keys)
    return "{" + ",".join(f'"{key}"' for key in quoted) + "}"
