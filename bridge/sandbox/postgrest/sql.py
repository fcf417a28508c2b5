"""Composes a `Query` into one SQL statement. Names become quoted identifiers and values server-side
parameters: no client text is ever interpolated into the SQL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from bridge.sandbox.postgrest.query import Logic, QueryFilter

if TYPE_CHECKING:
    from bridge.sandbox.postgrest.query import Condition, Order, Query

COMPARISONS = {
    "eq": sql.SQL("="),
    "neq": sql.SQL("<>"),
    "gt": sql.SQL(">"),
    "gte": sql.SQL(">="),
    "lt": sql.SQL("<"),
    "lte": sql.SQL("<="),
    "like": sql.SQL("like"),
    "ilike": sql.SQL("ilike"),
}
IS_TESTS = {
    "null": sql.SQL("is null"),
    "not_null": sql.SQL("is not null"),
    "true": sql.SQL("is true"),
    "false": sql.SQL("is false"),
    "unknown": sql.SQL("is unknown"),
}
JUNCTIONS = {"and": sql.SQL(" and "), "or": sql.SQL(" or ")}


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL with numbered placeholders (for a raw cursor) and their values, in order. Returns one
    row: the page as JSON text, its number of rows, the number of all matching rows or null.
    """

    text: sql.Composed
    values: tuple[str, ...]


def compose(query: Query, schema: str, table: str, *, limit: int, count: bool) -> Statement:
    """Return a statement that reads up to `limit` rows of `schema.table`; with `count` it also
    counts all matching rows.
    """
    return _Composer(schema, table).statement(query, limit, count)


class _Composer:
    def __init__(self, schema: str, table: str) -> None:
        self._table = sql.Identifier(schema, table)
        self._names = (schema, table)
        self._values: list[str] = []

    def statement(self, query: Query, limit: int, count: bool) -> Statement:
        where = self._where(query.conditions)
        page = sql.SQL("select {columns} from {table}{where}{order} limit {limit} offset {offset}")
        page_text = page.format(
            columns=self._columns(query.columns),
            table=self._table,
            where=where,
            order=self._order(query.order),
            limit=sql.Literal(limit),
            offset=sql.Literal(query.offset),
        )
        total = (
            sql.SQL("(select count(*) from {}{})").format(self._table, where)
            if count
            else sql.SQL("null::bigint")
        )
        # No column has these aliases, so they do not appear in errors about the client's columns.
        text = sql.SQL(
            "select coalesce(json_agg(_page), '[]')::text, count(_page), {} from ({}) _page"
        ).format(total, page_text)
        return Statement(text, tuple(self._values))

    def _columns(self, names: tuple[str, ...] | None) -> sql.Composable:
        if names is None:
            return sql.SQL("{}.*").format(self._table)
        return sql.SQL(", ").join(self._column(name) for name in names)

    def _column(self, name: str) -> sql.Identifier:
        return sql.Identifier(*self._names, name)

    def _parameter(self, value: str) -> sql.SQL:
        self._values.append(value)
        return sql.SQL(f"${len(self._values)}")

    def _where(self, conditions: tuple[Condition, ...]) -> sql.Composable:
        if not conditions:
            return sql.SQL("")
        parts = JUNCTIONS["and"].join(self._condition(condition) for condition in conditions)
        return sql.SQL(" where {}").format(parts)

    def _condition(self, condition: Condition) -> sql.Composable:
        match condition:
            case QueryFilter():
                test = self._filter(condition)
            case Logic(word, parts):
                test = JUNCTIONS[word].join(self._condition(part) for part in parts)
        pattern = sql.SQL("not ({})") if condition.negated else sql.SQL("({})")
        return pattern.format(test)

    def _filter(self, test: QueryFilter) -> sql.Composable:
        column = self._column(test.column)
        if isinstance(test.value, tuple):
            if not test.value:
                return sql.SQL("false")
            values = sql.SQL(", ").join(self._parameter(value) for value in test.value)
            return sql.SQL("{} in ({})").format(column, values)
        if test.operator == "is":
            return sql.SQL("{} {}").format(column, IS_TESTS[test.value])
        value = test.value
        if test.operator in ("like", "ilike"):
            value = value.replace("*", "%")  # PostgREST's alias: % has to be escaped in URLs
        return sql.SQL("{} {} {}").format(
            column, COMPARISONS[test.operator], self._parameter(value)
        )

    def _order(self, terms: tuple[Order, ...]) -> sql.Composable:
        if not terms:
            return sql.SQL("")
        return sql.SQL(" order by {}").format(
            sql.SQL(", ").join(self._order_term(term) for term in terms)
        )

    def _order_term(self, term: Order) -> sql.Composable:
        direction = sql.SQL(" desc") if term.descending else sql.SQL("")
        nulls = {
            None: sql.SQL(""),
            True: sql.SQL(" nulls first"),
            False: sql.SQL(" nulls last"),
        }[term.nulls_first]
        return sql.SQL("{}{}{}").format(self._column(term.column), direction, nulls)
