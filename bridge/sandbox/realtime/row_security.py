"""Evaluates row level security and filters of subscriptions, as queries on Postgres."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from bridge.changes import Op
from bridge.sandbox.realtime import bindings
from bridge.sandbox.realtime.committed import (
    CommittedChange,
    column_indexes,
    is_known_null,
    value_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.sandbox.realtime import pg_catalog
    from bridge.source.replication import pgoutput


async def evaluate_visibility(
    connection: pg_catalog.Connection,
    table: pg_catalog.CatalogTable,
    reader: pg_catalog.ReaderRole,
    changes: Sequence[CommittedChange],
) -> None:
    """Set `CommittedChange.visible_to[reader]` for each change.

    Without row level security every change is visible. With it, an INSERT or UPDATE is visible if
    the row with that key exists and `reader` can select it now, also as service_role; a DELETE
    always is. If `reader` has no SELECT privilege on the key, every change counts as visible, and
    the message contains `Error 401` instead of the row.
    """
    checked: list[CommittedChange] = []
    skipped = not table.rls or not table.key or not table.visible[reader.role].issuperset(table.key)
    for committed in changes:
        if skipped or committed.change.op is Op.DELETE:
            committed.visible_to[reader] = True
        else:
            checked.append(committed)
    if not checked:
        return
    relation = checked[0].change.relation
    indexes = column_indexes(relation, table.key)
    keys = [[_text(c.change.new, index) for c in checked] for index in indexes]
    names = [sql.Identifier(f"k{n}") for n in range(len(indexes))]
    same = sql.SQL(" and ").join(
        sql.SQL("t.{} = k.{}::{}").format(
            sql.Identifier(relation.columns[index].name),
            name,
            sql.SQL(table.casts[relation.columns[index].type_oid]),
        )
        for index, name in zip(indexes, names, strict=True)
    )
    query = sql.SQL(
        "select k.n from unnest({arrays}) with ordinality k({names}, n)"
        " where exists (select 1 from {table} t where {same})"
    ).format(
        arrays=sql.SQL(", ").join([sql.SQL("%s::text[]")] * len(keys)),
        names=sql.SQL(", ").join(names),
        table=sql.Identifier(relation.schema, relation.table),
        same=same,
    )
    async with connection.transaction(force_rollback=True):
        await connection.execute(
            "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)",
            (reader.role, reader.claims),
        )
        rows = await (await connection.execute(query, keys)).fetchall()
    found = {n for (n,) in rows}
    for n, committed in enumerate(checked, 1):
        committed.visible_to[reader] = n in found


async def matching(
    connection: pg_catalog.Connection,
    table: pg_catalog.CatalogTable,
    test: bindings.BindingFilter,
    changes: Sequence[CommittedChange],
) -> set[CommittedChange]:
    """Return those of `changes` that pass `test`, evaluated on the new tuple, for DELETE on the old
    one. NULL and absent columns pass only tests for null.
    """
    if not changes:
        return set()
    relation = changes[0].change.relation
    column = next((c for c in relation.columns if c.name == test.column), None)
    if column is None:
        return set()
    index = relation.columns.index(column)
    present = [
        c for c in changes if isinstance(value_of(c, index), str) or is_known_null(c, index)
    ]  # fmt: skip
    kind = table.casts[column.type_oid]
    value, verdict = condition(test, kind)
    query = sql.SQL(
        "select n from unnest(%s::text[]) with ordinality v(v, n) where {}"
    ).format(verdict)  # fmt: skip
    texts = [v if isinstance(v := value_of(c, index), str) else None for c in present]
    cursor = await connection.execute(query, [texts, *value])
    return {present[n - 1] for (n,) in await cursor.fetchall()}


def condition(test: bindings.BindingFilter, kind: str) -> tuple[list[str], sql.Composable]:
    """Return parameters and SQL of `test` over `v`, the text of a value of type `kind`."""
    operator = sql.SQL(bindings.OPERATORS[test.operator])
    typed = sql.SQL(kind)
    parameters = [test.value]
    if test.operator == "is":
        word = test.value.lower()
        literal = word if word in ("null", "true", "false", "unknown") else "null"
        verdict: sql.Composable = sql.SQL("v::{} is {}").format(typed, sql.SQL(literal))
        parameters = []
    elif test.operator == "in":
        verdict = sql.SQL("v::{} = any(%s::{}[])").format(typed, typed)
    elif test.operator in ("like", "ilike", "match", "imatch"):
        verdict = sql.SQL("v {} %s").format(operator)
    else:
        verdict = sql.SQL("v::{} {} %s::{}").format(typed, operator, typed)
    return parameters, sql.SQL("not ({})").format(verdict) if test.negated else verdict


def _text(row: pgoutput.TupleData | None, index: int) -> str | None:
    value = row[index] if row is not None else None
    return value if isinstance(value, str) else None
