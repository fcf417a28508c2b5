"""Which changes a subscription gets: row level security and filters, decided by Postgres itself."""

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
    """Find out which rows `reader` sees now; put the answers into `Committed.seen`.

    With row level security off every change is seen. With it on, INSERT and UPDATE are, if the row
    with that key exists and is visible at this moment, be it as service_role; DELETE always is.
    Who may not read the key at all is not asked about rows, and is told so instead (`Error 401`).
    """
    asked: list[CommittedChange] = []
    unasked = not table.rls or not table.key or not table.visible[reader.role].issuperset(table.key)
    for committed in changes:
        if unasked or committed.change.op is Op.DELETE:
            committed.visible_to[reader] = True
        else:
            asked.append(committed)
    if not asked:
        return
    relation = asked[0].change.relation
    places = column_indexes(relation, table.key)
    keys = [[_text(c.change.new, place) for c in asked] for place in places]
    names = [sql.Identifier(f"k{n}") for n in range(len(places))]
    same = sql.SQL(" and ").join(
        sql.SQL("t.{} = k.{}::{}").format(
            sql.Identifier(relation.columns[place].name),
            name,
            sql.SQL(table.casts[relation.columns[place].type_oid]),
        )
        for place, name in zip(places, names, strict=True)
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
    for n, committed in enumerate(asked, 1):
        committed.visible_to[reader] = n in found


async def matching(
    connection: pg_catalog.Connection,
    table: pg_catalog.CatalogTable,
    test: bindings.BindingFilter,
    changes: Sequence[CommittedChange],
) -> set[CommittedChange]:
    """Those of `changes` that pass `test`: on the new row, for DELETE on what the old row carries.
    A column that is null or absent passes only tests that are about null.
    """
    if not changes:
        return set()
    relation = changes[0].change.relation
    column = next((c for c in relation.columns if c.name == test.column), None)
    if column is None:
        return set()
    place = relation.columns.index(column)
    present = [
        c for c in changes if isinstance(value_of(c, place), str) or is_known_null(c, place)
    ]  # fmt: skip
    kind = table.casts[column.type_oid]
    value, verdict = condition(test, kind)
    query = sql.SQL(
        "select n from unnest(%s::text[]) with ordinality v(v, n) where {}"
    ).format(verdict)  # fmt: skip
    texts = [v if isinstance(v := value_of(c, place), str) else None for c in present]
    cursor = await connection.execute(query, [texts, *value])
    return {present[n - 1] for (n,) in await cursor.fetchall()}


def condition(test: bindings.BindingFilter, kind: str) -> tuple[list[str], sql.Composable]:
    """Parameters and SQL of `test` over `v`, the text of a value of type `kind`."""
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


def _text(row: pgoutput.TupleData | None, place: int) -> str | None:
    value = row[place] if row is not None else None
    return value if isinstance(value, str) else None
