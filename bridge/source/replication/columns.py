"""The columns of the table as SQL selects them, and the records of what it returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from psycopg import sql

from bridge.source.normalize import normalize_key
from bridge.source.replication import values

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

    from bridge.changes import Json, Record
    from bridge.projection import Projection
    from bridge.source.column_types import ColumnTypes
    from bridge.source.replication.types import PgType, TypeCatalog
    from bridge.source.replication.values import Convert

_DESCRIBE: Final = """
    select a.attname::text, a.atttypid::int8, i.indrelid is not null
    from pg_catalog.pg_attribute a
    join pg_catalog.pg_class c on c.oid = a.attrelid
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    left join pg_catalog.pg_index i
      on i.indrelid = c.oid and i.indisprimary and a.attnum = any(i.indkey)
    where n.nspname = %s and c.relname = %s and a.attnum > 0 and not a.attisdropped
    order by a.attnum"""


_ROW_FILTER: Final = """
    select rowfilter from pg_catalog.pg_publication_tables
    where pubname = %s and schemaname = %s and tablename = %s"""

FIRST_ROW_FILTERS: Final = 150_000
"""First version of PostgreSQL with publications that leave out rows."""


class MissingColumnError(LookupError):
    """The table does not exist or lacks columns of the projection."""


class TableColumns:
    """The selected columns with their types. Created by `describe`."""

    def __init__(
        self,
        projection: Projection,
        types: Sequence[PgType],
        names: tuple[str, ...] | None = None,
        row_filter: str | None = None,
    ) -> None:
        """`types`: those of `names`, by default `projection.selected`, in that order. `row_filter`:
        the condition of the rows that are streamed.
        """
        self.row_filter = row_filter
        self._table = sql.Identifier(projection.schema, projection.table)
        self._names = projection.selected if names is None else names
        self._types = dict(zip(self._names, types, strict=True))
        self.selected = sql.SQL(", ").join(map(self._expression, self._names))
        converters = [self._converter(name, projection.key) for name in self._names]
        self._converters = [each for each in converters if not values.is_plain(each[1])]

    def rows(self, *, parameters: bool) -> sql.Composable:
        """Return the rows that are streamed, as SQL after FROM. `parameters`: of a query with some,
        where a percent sign is doubled.
        """
        if self.row_filter is None:
            return self._table
        condition = self.row_filter.replace("%", "%%") if parameters else self.row_filter
        filtered = sql.SQL(condition)  # from the catalog
        return sql.SQL("(select * from {} where {}) as streamed").format(self._table, filtered)

    def type_of(self, column: str) -> PgType:
        return self._types[column]

    def record(self, row: Sequence[str | None]) -> Record:
        """Return the record of a row of texts."""
        record: dict[str, Json] = dict(zip(self._names, row, strict=True))
        for name, convert in self._converters:
            if (value := record[name]) is not None:
                record[name] = convert(value)
        return record

    def _expression(self, name: str) -> sql.Composable:
        column = sql.Identifier(name)
        if self._types[name].serialized:
            return sql.SQL("to_jsonb({})").format(column)
        return column

    def _converter(self, name: str, key: str) -> tuple[str, Convert]:
        each = self._types[name]
        convert = values.CONVERTERS["jsonb"] if each.serialized else each.convert
        if name == key and not values.is_plain(convert):
            return name, lambda text: normalize_key(convert(text), each.name)
        return name, convert


async def describe(
    connection: psycopg.AsyncConnection[Any],
    projection: Projection,
    catalog: TypeCatalog,
    known: ColumnTypes,
    publication: str,
) -> TableColumns:
    """Read the table's columns and their types, into `catalog` and `known` too, and which of its
    rows are published.

    Raises `psycopg.Error`, and `MissingColumnError`.
    """
    cursor = await connection.execute(_DESCRIBE, (projection.schema, projection.table))
    rows = await cursor.fetchall()
    oids = {name: oid for name, oid, _ in rows}
    if not oids:
        raise MissingColumnError(
            f"the table {projection.schema}.{projection.table} does not exist: correct "
            "BRIDGE_TABLE or BRIDGE_WATCHERS, or apply the migrations"
        )
    missing = [name for name in projection.selected if name not in oids]
    if missing:
        raise MissingColumnError(
            f"{projection.schema}.{projection.table} has no column {', '.join(missing)}: correct "
            "BRIDGE_COLUMNS, BRIDGE_REGION, BRIDGE_KEY or BRIDGE_UPDATED_AT, or add the column"
        )
    await catalog.load(connection, [oids[name] for name in projection.selected])
    known.describe(
        {name: catalog[oids[name]].name for name in projection.selected},
        [name for name, _, primary in rows if primary],
    )
    types = [catalog[oids[name]] for name in projection.selected]
    row_filter = None
    if connection.info.server_version >= FIRST_ROW_FILTERS:
        cursor = await connection.execute(
            _ROW_FILTER, (publication, projection.schema, projection.table)
        )
        [row_filter] = await cursor.fetchone() or [None]
    return TableColumns(projection, types, row_filter=row_filter)
