"""Parses the `postgres_changes` bindings of a join as Realtime does.

Bindings are not checked against the database here (see `subscriptions`). The real server accepts a
join with a wrong binding and sends a `system` error afterwards, so `parse` is called after the
reply, and its `BindingError` holds the text of that error.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bridge.changes import Op

OPERATORS = {
    "eq": "=",
    "neq": "<>",
    "lt": "<",
    "lte": "<=",
    "gt": ">",
    "gte": ">=",
    "in": "= any",
    "like": "~~",
    "ilike": "~~*",
    "is": "is",
    "match": "~",
    "imatch": "~*",
    "isdistinct": "is distinct from",
}
"""Realtime's operator -> SQL operator."""

INSPECT_WIDTH = 80
"""Columns beyond which Elixir's `inspect` breaks a list over several lines."""

MAX_IN_VALUES = 100
"""Maximum number of values of an `in` filter."""

EVENTS = ("INSERT", "UPDATE", "DELETE")


class BindingError(ValueError):
    """A binding cannot be parsed. The message is that of the real server's `system` error."""


@dataclass(frozen=True, slots=True)
class BindingFilter:
    """One condition of a binding's `filter`."""

    column: str
    operator: str
    value: str
    negated: bool


@dataclass(frozen=True, slots=True)
class Binding:
    """One parsed entry of `config.postgres_changes`."""

    id: int
    event: str
    schema: str
    table: str
    filters: tuple[BindingFilter, ...] = ()
    select: tuple[str, ...] | None = None

    def matches(self, op: Op) -> bool:
        """Return whether the event includes `op`. An unknown event name means every event."""
        return self.event not in EVENTS or self.event == op.value

    def covers(self, schema: str, table: str) -> bool:
        """Return whether the binding includes this table; `*` matches every name."""
        return self.schema in ("*", schema) and self.table in ("*", table)

    def __str__(self) -> str:
        """Return the binding as the real server formats it in error messages."""
        select = "nil" if self.select is None else _inspect_list(self.select)
        return (
            f"[event: {self.event}, schema: {self.schema}, table: {self.table}, "
            f"filters: {_inspect_filters(self.filters)}, select: {select}]"
        )


def binding_id(raw: Mapping[str, Any]) -> int:
    """Return the id of a binding, a hash of its content only: equal bindings have equal ids on
    every connection and after every rejoin.
    """
    content = orjson.dumps(raw, option=orjson.OPT_SORT_KEYS)
    return zlib.crc32(content) & 0x7FFFFFF


def echo(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the binding as the join reply contains it."""
    return {"id": binding_id(raw)} | {key: raw[key] for key in sorted(raw)}


def from_topic(topic: str) -> dict[str, Any]:
    """Return the binding of a join without a config, from the legacy topic format
    `realtime:schema[:table[:filter]]`.
    """
    names = topic.removeprefix("realtime:").split(":", 2)
    return dict(zip(("schema", "table", "filter"), names, strict=False))


def parse(raw: Mapping[str, Any]) -> Binding:
    """Return the parsed binding. Raises `BindingError`."""
    text = raw.get("filter")
    select = raw.get("select")
    if select is not None and not (
        isinstance(select, list) and all(isinstance(name, str) for name in select)
    ):
        raise BindingError(
            "Error parsing `select` params: expected a list of column name strings, "
            'e.g. select: ["col1", "col2"]'
        )
    return Binding(
        id=binding_id(raw),
        event=str(raw.get("event", "*")),
        schema=str(raw.get("schema", "public")),
        table=str(raw.get("table", "*")),
        filters=tuple(_parse_filter(part) for part in _split_filters(text)) if text else (),
        select=None if select is None else tuple(select),
    )


def _split_filters(text: str) -> Sequence[str]:
    """Split at commas outside quotes and parentheses: `state=in.(TX,CA),price=gt.5`."""
    return [part for part in re.findall(r'(?:"[^"]*"|\([^)]*\)|[^,])+', text) if part]


def _parse_filter(text: str) -> BindingFilter:
    column, equals, rest = text.partition("=")
    if not equals:
        raise BindingError(f"Error parsing `filter` params: {_inspect_list([text])}")
    negated = rest.startswith("not.")
    operator, dot, value = rest.removeprefix("not.").partition(".")
    if not dot or operator not in OPERATORS:
        parts = [operator, value] if dot else [operator]
        raise BindingError(f"Error parsing `filter` params: {_inspect_list(parts)}")
    if operator == "in" and value.startswith("(") and value.endswith(")"):
        value = "{" + value[1:-1] + "}"  # Postgres' array literal
    elif value.startswith('"') and value.endswith('"') and len(value) > 1:
        value = value[1:-1]
    return BindingFilter(column, operator, value, negated)


def _inspect(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _inspect_list(texts: Sequence[str]) -> str:
    return "[" + ", ".join(_inspect(text) for text in texts) + "]"


def _inspect_filters(filters: Sequence[BindingFilter]) -> str:
    tuples = [
        (_inspect(f.column), _inspect(f.operator), _inspect(f.value), str(f.negated).lower())
        for f in filters
    ]
    flat = "[" + ", ".join("{" + ", ".join(parts) + "}" for parts in tuples) + "]"
    if len(flat) <= INSPECT_WIDTH:
        return flat
    broken: list[str] = []
    for column, operator, value, negated in tuples:
        line = f"{{{column}, {operator}, {value}, {negated}}}"
        if len(line) > INSPECT_WIDTH - 2:
            line = f"{{{column}, {operator},\n   {value},\n   {negated}}}"
        broken.append(line)
    return "[\n  " + ",\n  ".join(broken) + "\n]"
