"""Parses PostgREST's query string: columns, filters, order, limit and offset. No I/O.

Supports the subset for reads of one table: `select` (columns or `*`), filters, `or=()`/`and=()`
trees, `order`, `limit`, `offset`. Other features of PostgREST (embedding, casts, JSON paths,
aggregates) are rejected with an error, never misinterpreted. The result contains names and values
as text; `sql` quotes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from bridge.sandbox.postgrest.errors import PostgrestError, parse_error
from bridge.sandbox.postgrest.scanner import Scanner

if TYPE_CHECKING:
    from collections.abc import Iterable

OPERATORS = ("eq", "neq", "gt", "gte", "lt", "lte", "like", "ilike")
IS_VALUES = ("null", "not_null", "true", "false", "unknown")
EXPECTED_OPERATOR = 'expecting "not" or operator (eq, gt, ...)'
MAX_DEPTH = 20
"""Maximum nesting of `and()`/`or()`; bounds the recursion of the parser."""


@dataclass(frozen=True, slots=True)
class QueryFilter:
    """One condition on one column. `value` is a tuple for `in` only."""

    column: str
    operator: str
    value: str | tuple[str, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Logic:
    """`and` or `or` (`word`) over conditions."""

    word: str
    parts: tuple[Condition, ...]
    negated: bool = False


Condition: TypeAlias = "QueryFilter | Logic"


@dataclass(frozen=True, slots=True)
class Order:
    """One column of `order`. `nulls_first` None: Postgres' default."""

    column: str
    descending: bool = False
    nulls_first: bool | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed query string. `columns` None means all. The `conditions` are joined by `and`."""

    columns: tuple[str, ...] | None = None
    conditions: tuple[Condition, ...] = ()
    order: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0


def parse(parameters: Iterable[tuple[str, str]]) -> Query:
    """Return the query of decoded query string pairs, in order.

    Raises `PostgrestError` with PostgREST's status and code.
    """
    columns: tuple[str, ...] | None = None
    conditions: list[Condition] = []
    order: tuple[Order, ...] = ()
    limit: int | None = None
    offset = 0
    for key, value in parameters:
        if "\0" in key or "\0" in value:
            raise PostgrestError(400, "22021", 'invalid byte sequence for encoding "UTF8": 0x00')
        match key:
            case "select":
                columns = _select(value)
            case "order":
                order = _order(value)
            case "limit":
                limit = _integer(value, "limit")
            case "offset":
                offset = _integer(value, "offset")
            case "apikey" | "columns" | "on_conflict":
                continue  # parameters of the gateway, or of writes
            case "and" | "or" | "not.and" | "not.or":
                conditions.append(_logic(key, value))
            case _:
                conditions.append(_filter(key, value))
    if limit is not None and limit < 0:
        raise PostgrestError(
            416,
            "PGRST103",
            "Requested range not satisfiable",
            details="Limit should be greater than or equal to zero.",
        )
    return Query(columns, tuple(conditions), order, limit, max(offset, 0))


def _select(value: str) -> tuple[str, ...] | None:
    scanner = Scanner(value, "select parameter")
    names: list[str] = []
    star = False
    while True:
        if scanner.accept("*"):
            star = True
        else:
            names.append(scanner.column_name())
        if scanner.done:
            break
        if scanner.next in ":(!.":
            raise scanner.error(
                'expecting "," or end of input: the sandbox reads plain columns of one table'
            )
        scanner.expect(",")
    if star and names:
        raise PostgrestError(
            400, "PGRST100", "the sandbox reads either * or a list of columns, not both at once"
        )
    return None if star else tuple(dict.fromkeys(names))


def _order(value: str) -> tuple[Order, ...]:
    scanner = Scanner(value, "order")
    terms: list[Order] = []
    while True:
        column = scanner.column_name()
        descending, nulls_first = False, None
        if scanner.accept(".desc"):
            descending = True
        else:
            scanner.accept(".asc")
        if scanner.accept(".nullsfirst"):
            nulls_first = True
        elif scanner.accept(".nullslast"):
            nulls_first = False
        terms.append(Order(column, descending, nulls_first))
        if scanner.done:
            return tuple(terms)
        if scanner.next != ",":
            raise scanner.error('expecting "asc", "desc", "nullsfirst" or "nullslast"')
        scanner.expect(",")


def _integer(value: str, what: str) -> int:
    digits = value.removeprefix("-")
    # LIMIT is a bigint; a longer number is invalid.
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):  # noqa: PLR2004
        raise parse_error(what, value, 1, "expecting a whole number")
    return int(value)


def _filter(key: str, value: str) -> QueryFilter:
    name = Scanner(key, "tree path")
    column = name.column_name()
    if name.accept("."):
        raise PostgrestError(
            400,
            "PGRST108",
            f"'{column}' is not an embedded resource in this request",
            hint=f"Verify that '{column}' is included in the 'select' query parameter.",
        )
    if not name.done:
        raise name.error("expecting end of input")
    scanner = Scanner(value, "filter")
    negated = scanner.accept("not.")
    operator = _operator(scanner)
    found: str | tuple[str, ...]
    if operator == "in":
        found = _list(scanner)
        if not scanner.done:
            raise scanner.error("expecting end of input")
    else:
        # Unlike inside or=(), the rest is the literal value, including quotes.
        found = scanner.until("")
    return QueryFilter(column, operator, _check_is_value(operator, found, scanner), negated)


def _logic(key: str, value: str) -> Logic:
    scanner = Scanner(value, "logic tree")
    negated = key.startswith("not.")
    logic = Logic(key.removeprefix("not."), _logic_parts(scanner, 1), negated)
    if not scanner.done:
        raise scanner.error("expecting end of input")
    return logic


def _logic_parts(scanner: Scanner, depth: int) -> tuple[Condition, ...]:
    if depth > MAX_DEPTH:
        raise scanner.error(f"expecting at most {MAX_DEPTH} nested and()/or()")
    scanner.expect("(")
    parts = [_logic_part(scanner, depth)]
    while scanner.accept(","):
        parts.append(_logic_part(scanner, depth))
    scanner.expect(")")
    return tuple(parts)


def _logic_part(scanner: Scanner, depth: int) -> Condition:
    while scanner.accept(" "):
        pass
    start = scanner.position
    negated = scanner.accept("not.")
    for word in ("and", "or"):
        if scanner.text.startswith(f"{word}(", scanner.position):
            scanner.accept(word)
            return Logic(word, _logic_parts(scanner, depth + 1), negated)
    scanner.position = start
    column = scanner.column_name()
    scanner.expect(".")
    negated = scanner.accept("not.")
    operator = _operator(scanner)
    found = _list(scanner) if operator == "in" else _value(scanner)
    return QueryFilter(column, operator, _check_is_value(operator, found, scanner), negated)


def _operator(scanner: Scanner) -> str:
    for operator in (*OPERATORS, "in", "is"):
        if scanner.accept(f"{operator}."):
            return operator
    raise scanner.error(EXPECTED_OPERATOR)


def _value(scanner: Scanner) -> str:
    """Parse a value inside a tree: quoted if it contains a comma or a parenthesis."""
    start = scanner.position
    quoted = scanner.quoted()
    if quoted is not None and scanner.next in ("", ",", ")"):
        return quoted
    scanner.position = start
    return scanner.until(",)")


def _list(scanner: Scanner) -> tuple[str, ...]:
    scanner.expect("(")
    if scanner.accept(")"):
        return ()
    values = [_value(scanner)]
    while scanner.accept(","):
        values.append(_value(scanner))
    scanner.expect(")")
    return tuple(values)


def _check_is_value(
    operator: str, value: str | tuple[str, ...], scanner: Scanner
) -> str | tuple[str, ...]:
    if operator != "is":
        return value
    assert isinstance(value, str)
    if value.lower() not in IS_VALUES:
        raise scanner.error("expecting null or trilean value (unknown, true, false)")
    return value.lower()
