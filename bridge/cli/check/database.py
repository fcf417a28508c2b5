"""Reads the catalog over BRIDGE_DATABASE_URL, if it is set, and judges it."""

from __future__ import annotations

import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from bridge.cli.check import catalog
from bridge.cli.check.finding import Finding, ok, warn
from bridge.cli.check.finding import fail as failed
from bridge.errors import BridgeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bridge.cli.check.table import CheckedTable
    from bridge.source.factory import SourceOptions
    from bridge.source.replication.facts import TableFacts

UNCHECKED: Final = (
    "not checked, since neither PostgREST nor Realtime shows them: the kind of the table, the "
    "publication's column list and row filter, the replica identity, policies and timeouts of the "
    "role, the index of updated_at, wal_level, slots and senders"
)


async def read_catalog(
    table: CheckedTable, options: SourceOptions, role: str
) -> tuple[TableFacts | None, Sequence[Finding]]:
    """Return what the catalog has; None: it is not read, for the reason in the findings."""
    if options.database is None:
        return None, [warn("database", UNCHECKED, "set BRIDGE_DATABASE_URL, for this command only")]
    if find_spec("psycopg") is None:
        fix = "pip install 'supabase-socketio-bridge[postgres]'"
        return None, [warn("database", f"psycopg is not installed; {UNCHECKED}", fix)]
    from bridge.source.replication.facts import read_facts  # noqa: PLC0415 - an extra

    try:
        return (
            await read_facts(options.database.url, table.projection, catalog.REALTIME, role),
            (),
        )
    except BridgeError as error:
        text, _, advice = str(error).partition("; ")
        return None, [warn("database", f"{text}; {UNCHECKED}", advice)]


def table_of(table: CheckedTable, facts: TableFacts) -> Iterator[Finding]:
    """What makes all further checks pointless if it fails."""
    yield from catalog.table_findings(table, facts)


def details(table: CheckedTable, facts: TableFacts, role: str) -> Iterator[Finding]:
    """What Realtime and PostgREST need, of a table that exists."""
    assert facts.table is not None, "the table exists"
    yield from catalog.role_findings(table, facts, role)
    yield from catalog.key_findings(table, facts.table)
    yield from catalog.publication_findings(table, facts.table, facts, catalog.REALTIME)
    yield from catalog.index_findings(table, facts.table)
    yield from catalog.server_findings(facts, time.time())


async def slot_findings(options: SourceOptions) -> Sequence[Finding]:
    """Whether a slot was left behind, for which the server would keep its WAL for ever."""
    if options.database is None or find_spec("psycopg") is None:
        return ()
    from bridge.source.replication.inspection import inspect_unused  # noqa: PLC0415 - an extra

    found: list[Finding] = []
    await inspect_unused(options.database.url, options.database.slot, _into(found))
    return found


async def replication_findings(options: SourceOptions) -> Sequence[Finding]:
    """What the source `postgres` needs."""
    from bridge.source.replication.inspection import inspect  # noqa: PLC0415 - an extra
    from bridge.source.replication.slot import SlotOptions  # noqa: PLC0415 - an extra

    database = options.database
    assert database is not None, "the settings of the source postgres have a URL"
    names = SlotOptions(database.slot, database.publication, options.postgrest.projection)
    found: list[Finding] = []
    await inspect(database.url, names, _into(found))
    return found


def _into(found: list[Finding]) -> Callable[[bool, str], bool]:
    """Return what appends the lines of an inspection as findings."""

    def report(fine: bool, line: str) -> bool:
        subject, _, text = line.partition(": ")
        found.append(ok(subject, text) if fine else failed(subject, *_split(text)))
        return fine

    return report


def _split(text: str) -> tuple[str, str]:
    cause, _, fix = text.partition("; ")
    return cause, fix
