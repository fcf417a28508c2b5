"""Encodes row changes as the JSON of Realtime's `postgres_changes` messages.

The real server does this in Postgres, per role, at poll time. So does this module, with the same
casts, because the JSON format of each type is defined by Postgres. A whole poll is encoded at once:
one statement per table, role and set of columns, not one per value.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import orjson
from psycopg import sql

from bridge.changes import Op
from bridge.sandbox.realtime.committed import CommittedChange, column_indexes, value_of
from bridge.source.replication import pgoutput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.sandbox.realtime import pg_catalog

KEPT_VALUE_BYTES = 64
"""Maximum size in bytes of a value's JSON text in a record that is too large."""

TOO_LARGE = "Error 413: Payload Too Large"
UNAUTHORIZED = "Error 401: Unauthorized"
NO_KEY = "Error 400: Bad Request, no primary key"

BYTEA = 17
NUMBERS = frozenset({700, 701, 1700})
"""float4, float8, numeric."""
NOT_FINITE = frozenset({"NaN", "Infinity", "-Infinity"})
PAIRS_PER_CALL = 40
"""Pairs per jsonb_build_object: a function has at most 100 arguments."""


async def encode_changes(
    connection: pg_catalog.Connection,
    table: pg_catalog.CatalogTable,
    role: str,
    select: tuple[str, ...] | None,
    changes: Sequence[CommittedChange],
) -> list[str]:
    """Return the JSON text of `data` for each of `changes`, with the columns that `role` may
    select, limited to `select` and the key.
    """
    if not changes:
        return []
    relation = changes[0].change.relation
    visible = table.visible[role]
    if not table.key:
        return [_error_data(committed.change, NO_KEY) for committed in changes]
    visible_indexes = [
        index
        for index, column in enumerate(relation.columns)
        if column.name in visible
        and (select is None or column.name in select or column.name in table.key)
    ]
    columns = _columns(relation, table, visible_indexes)
    new = await _records(connection, table, visible_indexes, changes, old=False)
    old = await _records(connection, table, visible_indexes, changes, old=True)
    readable = visible.issuperset(table.key)
    texts: list[str] = []
    for n, committed in enumerate(changes):
        change = committed.change
        if not readable and change.op is not Op.DELETE:
            texts.append(_error_data(change, UNAUTHORIZED))
            continue
        errors = orjson.dumps([TOO_LARGE]).decode() if committed.too_large else "null"
        old_record = f'"old_record":{old[n]},' if change.op is not Op.INSERT else ""
        record = f'"record":{new[n]},' if change.op is not Op.DELETE else ""
        texts.append(
            f'{{"columns":{columns},"commit_timestamp":"{committed.timestamp}","errors":{errors},'
            f"{old_record}{record}{_table_fields(change)}}}"
        )
    return texts


def _table_fields(change: pgoutput.RowMessage) -> str:
    relation = change.relation
    schema, table = orjson.dumps(relation.schema).decode(), orjson.dumps(relation.table).decode()
    return f'"schema":{schema},"table":{table},"type":"{change.op.value}"'


def _error_data(change: pgoutput.RowMessage, error: str) -> str:
    old_record = '"old_record":{},' if change.op is not Op.INSERT else ""
    record = '"record":{},' if change.op is not Op.DELETE else ""
    return (
        f'{{"columns":[],"commit_timestamp":null,"errors":{orjson.dumps([error]).decode()},'
        f"{old_record}{record}{_table_fields(change)}}}"
    )


def _columns(
    relation: pgoutput.Relation, table: pg_catalog.CatalogTable, visible_indexes: Sequence[int]
) -> str:
    """Return `columns` in the table's order, with the whitespace of jsonb."""
    described = (
        f'{{"name": {orjson.dumps(column.name).decode()}, '
        f'"type": {orjson.dumps(table.type_names[column.type_oid]).decode()}}}'
        for column in (relation.columns[index] for index in visible_indexes)
    )
    return f"[{', '.join(described)}]"


def _known_columns(
    committed: CommittedChange, table: pg_catalog.CatalogTable, *, old: bool
) -> tuple[int, ...] | None:
    """Return the columns that the new or old record contains, None if there is no such record."""
    change = committed.change
    everything = range(len(change.relation.columns))
    if not old:
        if change.new is None:
            return None
        return tuple(
            p for p in everything if value_of(committed, p) is not pgoutput.UNCHANGED_TOAST
        )
    if change.op is Op.INSERT:
        return None
    names = {column.name for column in change.relation.columns}
    key = tuple(column_indexes(change.relation, (name for name in table.key if name in names)))
    if change.old is None or change.old_is_key:
        return key
    # Policies cannot be evaluated for a deleted row, so with row level security a DELETE contains
    # the key only, also for service_role.
    return key if change.op is Op.DELETE and table.rls else tuple(everything)


async def _records(
    connection: pg_catalog.Connection,
    table: pg_catalog.CatalogTable,
    visible_indexes: Sequence[int],
    changes: Sequence[CommittedChange],
    *,
    old: bool,
) -> list[str]:
    """Return the record of each change as jsonb text, `{}` if there is none."""
    texts = ["{}"] * len(changes)
    groups: defaultdict[tuple[tuple[int, ...], bool], list[int]] = defaultdict(list)
    allowed = set(visible_indexes)
    for n, committed in enumerate(changes):
        known = _known_columns(committed, table, old=old)
        if known is not None:
            indexes = tuple(p for p in known if p in allowed)
            groups[indexes, committed.too_large].append(n)
    for (indexes, cut), members in groups.items():
        if not indexes:
            continue
        relation = changes[members[0]].change.relation
        rows = [_row(changes[n], old=old) for n in members]
        arrays = [
            [_wal_text(relation.columns[index], row[index]) for row in rows] for index in indexes
        ]
        query = _record_query(relation, table, indexes, cut=cut)
        cursor = await connection.execute(query, arrays)
        for n, (text,) in zip(members, await cursor.fetchall(), strict=True):
            texts[n] = text
    return texts


def _row(committed: CommittedChange, *, old: bool) -> pgoutput.TupleData:
    change = committed.change
    if old:
        # Without an old tuple the replica identity is unchanged, so the new tuple contains it.
        row = change.old if change.old is not None else change.new
        assert row is not None, "an update has a new tuple, a delete an old one"
        return row
    return tuple(value_of(committed, index) for index in range(len(change.relation.columns)))


def _wal_text(column: pgoutput.RelationColumn, value: pgoutput.TupleValue) -> str | None:
    """Return the value as wal2json, the real server's output plugin, formats it."""
    if not isinstance(value, str):
        return None
    if column.type_oid in NUMBERS and value in NOT_FINITE:
        return None
    return value.removeprefix("\\x") if column.type_oid == BYTEA else value


def _record_query(
    relation: pgoutput.Relation,
    table: pg_catalog.CatalogTable,
    indexes: Sequence[int],
    *,
    cut: bool,
) -> sql.Composed:
    names = [sql.Identifier(f"v{index}") for index in indexes]
    pairs = [
        sql.SQL("{}, to_jsonb({}::{})").format(
            sql.Literal(relation.columns[index].name),
            name,
            sql.SQL(
                "text" if (oid := relation.columns[index].type_oid) == BYTEA else table.casts[oid]
            ),
        )
        for index, name in zip(indexes, names, strict=True)
    ]
    whole = sql.SQL(" || ").join(
        sql.SQL("jsonb_build_object({})").format(
            sql.SQL(", ").join(pairs[at : at + PAIRS_PER_CALL])
        )
        for at in range(0, len(pairs), PAIRS_PER_CALL)
    )
    if cut:
        whole = sql.SQL(
            "coalesce((select jsonb_object_agg(key, value) from jsonb_each({})"
            " where value <> 'null' and octet_length(value::text) <= {}), '{{}}')"
        ).format(whole, sql.Literal(KEPT_VALUE_BYTES))
    return sql.SQL("select ({})::text from unnest({}) with ordinality v({}, n) order by n").format(
        whole,
        sql.SQL(", ").join([sql.SQL("%s::text[]")] * len(indexes)),
        sql.SQL(", ").join(names),
    )
