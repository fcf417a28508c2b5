"""PostgreSQL types of the columns of one table, by which values are normalized. No I/O.

The table's description and the stream name types differently (`timestamp with time zone`,
`timestamptz`; `text[]`, `_text`), and the stream does not resolve domains: `canonical_type` makes
one name of both.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ENUM: Final = "enum"
"""Stands for any enumeration, whose own name does not show what it is."""

_ALIASES: Final = {
    "bigint": "int8",
    "bit varying": "varbit",
    "boolean": "bool",
    "character": "bpchar",
    "character varying": "varchar",
    "double precision": "float8",
    "integer": "int4",
    "real": "float4",
    "smallint": "int2",
    "time with time zone": "timetz",
    "time without time zone": "time",
    "timestamp with time zone": "timestamptz",
    "timestamp without time zone": "timestamp",
}

_COMPARABLE: Final = frozenset(
    (
        *("bool", "int2", "int4", "int8", "numeric", "float4", "float8", "money", "oid", "xid"),
        *("char", "name", "text", "varchar", "bpchar", "citext", "xml", "uuid", ENUM, "ltree"),
        *("json", "jsonb", "hstore", "bytea", "bit", "varbit", "tsvector", "tsquery", "pg_lsn"),
        *("date", "time", "timetz", "timestamp", "timestamptz", "interval"),
        *("inet", "cidr", "macaddr", "macaddr8", "vector", "halfvec", "sparsevec"),
        *("box", "circle", "line", "lseg", "path", "point", "polygon", "geometry", "geography"),
        *("int4range", "int8range", "numrange"),
        *("int4multirange", "int8multirange", "nummultirange"),
    )
)
"""Types whose values are equal in the stream and in reads once they are normalized. The text of a
range of times depends on the session, as do the members of a composite type."""

_MODIFIER: Final = re.compile(r"\(\d+(,\s*-?\d+)?\)")
_ARRAY: Final = "[]"


@lru_cache(maxsize=4096)
def canonical_type(name: str) -> str:
    """Return the one name of a type, without modifiers; that of an array ends with `[]`."""
    name = _MODIFIER.sub("", name).strip().replace('"', "")
    if name.endswith(_ARRAY):
        return canonical_type(name.removesuffix(_ARRAY)).removesuffix(_ARRAY) + _ARRAY
    if name.startswith("_") and (element := _unqualified(name[1:])) in _COMPARABLE:
        return element + _ARRAY
    return _ALIASES.get(name) or _unqualified(name)


def _unqualified(name: str) -> str:
    """Types of extensions are named with the schema they are installed in."""
    last = name.rpartition(".")[2]
    return last if last in _COMPARABLE else name


@lru_cache(maxsize=4096)
def is_comparable(canonical: str) -> bool:
    """Return whether a value of the type is equal in the stream and in a read."""
    return canonical.removesuffix(_ARRAY) in _COMPARABLE


class ColumnTypes:
    """The types of one table's columns: of its description, and of the stream, which is the first
    to show that a type was changed.
    """

    def __init__(self) -> None:
        self.primary_key: tuple[str, ...] = ()
        """As the table's description has it; empty if it is not known."""
        self._described: dict[str, str] = {}
        self._streamed: dict[str, str] = {}
        self._seen: Sequence[Mapping[str, Any]] = ()

    def get(self, column: str) -> str:
        """Return the canonical type of a column; empty if it is not known."""
        return self._streamed.get(column) or self._described.get(column, "")

    def describe(self, types: Mapping[str, str], primary_key: Sequence[str] = ()) -> None:
        """Set the types of the table's description."""
        described = {column: canonical_type(name) for column, name in types.items()}
        for column, name in described.items():
            if column in self._described and self._described[column] != name:
                self._streamed.pop(column, None)
        self._described = described
        self.primary_key = tuple(primary_key)

    def observe(self, columns: Sequence[Mapping[str, Any]]) -> None:
        """Note the `columns` of a change. The name of a domain, an enumeration or a composite type
        does not show what it is: of those the description decides.
        """
        if columns == self._seen:
            return
        self._seen = columns
        for column in columns:
            name = canonical_type(column["type"])
            if is_comparable(name):
                self._streamed[column["name"]] = name
            else:
                self._streamed.pop(column["name"], None)
                self._described.setdefault(column["name"], name)
