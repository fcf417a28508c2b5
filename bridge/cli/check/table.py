"""Checks the table as its reader shows it: its columns, keys and regions."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bridge.changes import MAX_SAFE_INTEGER
from bridge.cli.check.finding import Finding, fail, ok, warn
from bridge.errors import TableUnreadableError
from bridge.source.column_types import canonical_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bridge.projection import Projection
    from bridge.source.base import Table

KEY_SAMPLE_ROWS: Final = 1000
"""Rows that are read, to find keys that are not unique."""

DENIED: Final = "42501"
"""PostgreSQL's code of a missing privilege."""

UNFIT_TYPES: Final = frozenset(
    ("float4", "float8", "numeric", "money", "json", "jsonb", "bytea", "bool")
)
"""Of a key: their values differ in the stream, in reads and in JavaScript."""


@dataclass(frozen=True, slots=True)
class CheckedTable:
    """A table with the setting that names it."""

    projection: Projection
    setting: str = "BRIDGE_TABLE"

    @property
    def name(self) -> str:
        return f"{self.projection.schema}.{self.projection.table}"

    @property
    def quoted(self) -> str:
        return f'"{self.projection.schema}"."{self.projection.table}"'

    def setting_of(self, column: str) -> str:
        """Return the setting that names a column; empty for those of watches."""
        projection = self.projection
        if self.setting != "BRIDGE_TABLE":
            return ""
        if column == projection.key:
            return "BRIDGE_KEY"
        if column in projection.region:
            return "BRIDGE_REGION"
        if column == projection.updated_at:
            return "BRIDGE_UPDATED_AT"
        return "BRIDGE_MEMBER_COLUMNS" if column in projection.member else "BRIDGE_COLUMNS"


def missing_table(table: CheckedTable, others: Sequence[str]) -> Finding:
    """`others`: tables that exist, as `schema.table`."""
    name = table.projection.table
    elsewhere = [other for other in others if other.partition(".")[2] == name]
    near = elsewhere or difflib.get_close_matches(table.name, others, n=2)
    text = f"there is no {table.name} that the key's role may see"
    if elsewhere:
        return fail("table", f"{text}, but {elsewhere[0]}", f"set {table.setting}={elsewhere[0]}")
    if near:
        return fail(
            "table", f"{text}; similar: {', '.join(near)}", f"set {table.setting}={near[0]}?"
        )
    return fail(
        "table", text, f"correct {table.setting}, apply the migrations, or grant select on it"
    )


def column_findings(table: CheckedTable, types: Mapping[str, str]) -> Iterator[Finding]:
    """`types`: of each column that exists; with them all missing columns are found at once."""
    projection = table.projection
    for column in projection.selected:
        if column in types:
            continue
        near = difflib.get_close_matches(column, list(types), n=3)
        setting = table.setting_of(column)
        similar = f"; similar: {', '.join(near)}" if near else f"; it has {', '.join(types)}"
        text = f"{table.name} has no column {column}{f' ({setting})' if setting else ''}{similar}"
        fix = f'alter table {table.quoted} add column "{column}" ...'
        yield fail("columns", text, f"correct {setting}, or {fix}" if setting else fix)
    key = canonical_type(types.get(projection.key, ""))
    if key in UNFIT_TYPES or key.endswith("[]"):
        yield fail(
            "key",
            f"{projection.key} has the type {key}, whose values differ in the stream, in reads "
            "and in JavaScript",
            "set BRIDGE_KEY to a unique column of integers, text or uuid",
        )
    for column in projection.region:
        kind = canonical_type(types.get(column, ""))
        if kind in ("json", "jsonb") or kind.endswith("[]"):
            yield warn(
                "region",
                f'{column} has the type {kind}: its text as JSON, such as ["TX"], is the region',
                "set BRIDGE_REGION to a column with one plain value, such as a generated one",
            )


async def absent_finding(table: CheckedTable, reader: Table, others: Sequence[str]) -> Finding:
    """Distinguish a table that is missing from one that the role may not read."""
    try:
        await reader.page(None, 1)
    except TableUnreadableError as error:
        if DENIED in str(error):
            return unreadable(error, table)
    return missing_table(table, others)


async def read_findings(table: CheckedTable, reader: Table) -> Sequence[Finding]:
    """Read some rows."""
    try:
        rows = await reader.page(None, KEY_SAMPLE_ROWS)
    except TableUnreadableError as error:
        return [unreadable(error, table)]
    columns = ", ".join(table.projection.selected)
    found = "readable" if rows else "readable and empty"
    return [ok("table", f"{table.name} is {found}, with columns {columns}")]


def unreadable(error: TableUnreadableError, table: CheckedTable) -> Finding:
    """Split the advice from the reason."""
    text, advice = str(error), ""
    if DENIED in text:
        text = text.partition("; ")[0]
        advice = f"grant select on {table.quoted} to service_role"
    elif error.permanent and "; " in text:
        text, _, advice = text.partition("; ")
    elif "57014" in text:
        advice = (
            "a statement timeout: add an index on the key and on updated_at, or "
            "alter role service_role set statement_timeout = '30s'; notify pgrst, 'reload config'"
        )
    return fail("table", text, advice)


def key_advice(advice: str | None) -> Iterator[Finding]:
    """`advice` of the table's reader."""
    if advice is not None:
        text, _, fix = advice.rpartition("; ")
        yield warn("key", text or advice, fix if text else "")


def long_keys(table: CheckedTable, count: int | None) -> Iterator[Finding]:
    """`count` of the rows whose key JavaScript can't hold as a number."""
    if count:
        yield warn(
            "key",
            f"{count:,} rows have a {table.projection.key} past {MAX_SAFE_INTEGER}, which "
            "JavaScript can't hold as a number: such a property_id is sent as a string",
            "let clients treat property_id as a string, or use smaller keys",
        )


def null_regions(column: str, count: int | None) -> Iterator[Finding]:
    """`count` of the rows in which the column is null; None: not known."""
    if count is None:
        yield warn("region", f"{column}: whether it is null in rows was not checked")
    elif count:
        yield warn(
            "region",
            f"{column} is null in {count:,} rows: they are in no region of it, and clients of a "
            "region do not receive them",
            f"fill {column} in those rows, and alter the column to not null",
        )
