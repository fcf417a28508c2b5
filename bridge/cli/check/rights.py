"""Checks which rows the reads show, and whether `updated_at` shows every change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bridge.cli.check.finding import Finding, fail, ok, warn
from bridge.errors import TableUnreadableError
from bridge.pipeline.updated_at_check import trigger_sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bridge.cli.check.table import CheckedTable
    from bridge.source.base import ReadRights, TableConnection

FUNCTIONS: Final = "deploy/supabase/migrations/20260119090000_bridge_functions.sql"


async def rights_findings(table: CheckedTable, reader: TableConnection) -> Sequence[Finding]:
    """Ask the database, over the reader."""
    column = table.projection.updated_at
    try:
        rights = await reader.rights()
        updates = None if column is None else await reader.unusual_updates()
    except TableUnreadableError as error:
        return [fail("rights", str(error))]
    return [_rights(table, rights), *_updated_at(table, rights, updates)]


def _rights(table: CheckedTable, rights: ReadRights) -> Finding:
    role = rights.role or "the key's role"
    if rights.filtered is None:
        return warn(
            "rights",
            f"whether {role} sees all rows can't be known, so deletes that empty or halve "
            "the table wait for BRIDGE_DELETE_HOLD unless the stream reports them",
            f"apply {FUNCTIONS}",
        )
    if rights.filtered:
        return fail(
            "rights",
            f"row level security filters what {role} reads of {table.name}; expected a role that "
            "sees all rows",
            f"alter role {role} bypassrls; or: create policy bridge on {table.quoted} "
            f"for select to {role} using (true)",
        )
    return ok("rights", f"{role} sees all rows")


def _updated_at(
    table: CheckedTable, rights: ReadRights, updates: tuple[int, int] | None
) -> Iterator[Finding]:
    column = table.projection.updated_at
    if column is None or updates is None:
        yield warn(
            "updated_at",
            "none; what the stream loses is found by full comparisons only",
            "add one with a trigger, and name it in BRIDGE_UPDATED_AT",
        )
        return
    nulls, future = updates
    if nulls:
        yield warn(
            "updated_at",
            f"{column} is null in {nulls:,} rows; their changes that the stream loses are found by "
            "full comparisons only (BRIDGE_COMPARE_INTERVAL)",
            f'update {table.quoted} set "{column}" = now() '  # noqa: S608 - for an operator
            f'where "{column}" is null; alter table {table.quoted} '
            f'alter "{column}" set default now(), '
            f'alter "{column}" set not null',
        )
    if future:
        yield warn(
            "updated_at",
            f"{column} is in the future in {future:,} rows; their changes that the stream loses "
            "are found by full comparisons only",
            f'update {table.quoted} set "{column}" = now() '  # noqa: S608 - for an operator
            f'where "{column}" > now()',
        )
    if rights.update_triggers == ():
        yield warn(
            "updated_at",
            f"{column} is set by no trigger; a change that does not set it, and that the stream "
            "loses, is found by full comparisons only (BRIDGE_COMPARE_INTERVAL)",
            trigger_sql(table.projection),
        )
    elif not nulls and not future:
        kept = (
            "whether a trigger keeps it was not checked: the function bridge_rights is absent"
            if rights.update_triggers is None
            else f"triggers: {', '.join(rights.update_triggers)}"
        )
        yield ok("updated_at", f"{column} is set in all rows; {kept}")
