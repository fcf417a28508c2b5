"""The replication slot of a bridge: its state, and what creates, reads and drops it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql

from bridge.source.replication.faults import fault_of
from bridge.source.replication.lsn import format_lsn, parse_lsn

if TYPE_CHECKING:
    from bridge.projection import Projection
    from bridge.source.replication.connection import ReplicationConnection

log = logging.getLogger(__name__)

PLUGIN: Final = "pgoutput"

FIRST_STREAMING: Final = 140_000
"""First version of PostgreSQL that streams transactions in progress (protocol version 2)."""

FIRST_FAILOVER: Final = 170_000
"""First version of PostgreSQL with logical slots that standbys may continue."""

_SLOT: Final = """
    select plugin::text, slot_type, database::text, active, active_pid,
           confirmed_flush_lsn::text, restart_lsn::text, wal_status,
           pg_catalog.pg_current_wal_lsn()::text,
           pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), restart_lsn)::int8,
           safe_wal_size
    from pg_catalog.pg_replication_slots where slot_name = %s"""


@dataclass(frozen=True, slots=True)
class SlotOptions:
    """Names of the slot and of the publication, and the table."""

    slot: str
    publication: str
    projection: Projection


@dataclass(frozen=True, slots=True)
class SlotState:
    """A slot as PostgreSQL shows it."""

    plugin: str
    database: str | None
    active: bool
    confirmed: int
    """LSN up to which the server need not keep changes."""
    lost: bool
    """Whether the server has removed WAL that the slot needs."""
    current: int
    """LSN of the server."""
    retained: int
    """Bytes of WAL that the server keeps for the slot."""
    safe: int | None
    """Bytes of WAL that may be written before the slot can be lost; None: there is no limit."""


async def slot_state(connection: psycopg.AsyncConnection[Any], name: str) -> SlotState | None:
    """Return the state of a slot; None: it does not exist. Raises `SourceFault`."""
    try:
        cursor = await connection.execute(_SLOT, (name,))
        row = await cursor.fetchone()
    except psycopg.Error as error:
        raise fault_of(error, f"reading the slot {name}") from error
    if row is None:
        return None
    plugin, kind, database, active, _, confirmed, restart, status, current, retained, safe = row
    return SlotState(
        plugin=plugin if kind == "logical" else f"{kind}, without a plugin",
        database=database,
        active=active,
        confirmed=parse_lsn(confirmed) if confirmed else 0,
        lost=status == "lost" or restart is None,
        current=parse_lsn(current),
        retained=retained or 0,
        safe=safe,
    )


async def create_slot(
    connection: ReplicationConnection, name: str, *, version: int
) -> tuple[int, str]:
    """Create the slot, from PostgreSQL 17 on one that standbys may continue after a failover.

    Return its consistent point and the name of its snapshot, which exists until the next command of
    the connection. Raises `SourceFault`.
    """
    options = "(SNAPSHOT 'export', FAILOVER)" if version >= FIRST_FAILOVER else "EXPORT_SNAPSHOT"
    [row] = await connection.command(
        f"CREATE_REPLICATION_SLOT {quoted(name)} LOGICAL {PLUGIN} {options}"
    )
    log.info("created the replication slot %s at %s", name, row[1])
    return parse_lsn(row[1]), row[2]


async def drop_slot(connection: psycopg.AsyncConnection[Any], name: str) -> bool:
    """Drop the slot if it exists. Return whether it did. Raises `SourceFault` if it is in use."""
    try:
        cursor = await connection.execute(
            "select pg_catalog.pg_drop_replication_slot(slot_name) "
            "from pg_catalog.pg_replication_slots where slot_name = %s",
            (name,),
        )
        return await cursor.fetchone() is not None
    except psycopg.Error as error:
        raise fault_of(error, f"dropping the slot {name}") from error


def start_command(options: SlotOptions, lsn: int, *, streaming: bool) -> str:
    """Return the command that begins the stream at `lsn`. `streaming`: long transactions are sent
    before their commit.
    """
    publication = quoted(options.publication).replace("'", "''")
    protocol = "proto_version '2', streaming 'on'" if streaming else "proto_version '1'"
    return (
        f"START_REPLICATION SLOT {quoted(options.slot)} LOGICAL {format_lsn(lsn)} "
        f"({protocol}, publication_names '{publication}')"
    )


def quoted(name: str) -> str:
    return sql.Identifier(name).as_string(None)
