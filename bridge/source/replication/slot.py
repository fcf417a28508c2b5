"""The publication and the slot of a bridge: created if they are missing, and checked."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql

from bridge.source.replication.faults import SourceFault, fault_of
from bridge.source.replication.lsn import format_lsn, parse_lsn

if TYPE_CHECKING:
    from bridge.projection import Projection
    from bridge.source.replication.connection import ReplicationConnection

log = logging.getLogger(__name__)

PLUGIN: Final = "pgoutput"

FIRST_STREAMING: Final = 140_000
"""First version of PostgreSQL that streams transactions in progress (protocol version 2)."""

_TABLE: Final = """
    select c.oid::int8, c.relkind::text, c.relreplident::text,
           array(select a.attname::text from pg_catalog.pg_index i
                 join pg_catalog.pg_attribute a
                   on a.attrelid = i.indrelid and a.attnum = any(i.indkey)
                 where i.indrelid = c.oid and (i.indisprimary and c.relreplident = 'd'
                                               or i.indisreplident and c.relreplident = 'i'))
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = %s and c.relname = %s and c.relkind in ('r', 'p')"""

_PUBLISHED: Final = """
    select p.puballtables, p.pubinsert and p.pubupdate and p.pubdelete, p.pubtruncate,
           p.pubviaroot,
           exists (select from pg_catalog.pg_publication_tables t
                   where t.pubname = p.pubname and t.schemaname = %s and t.tablename = %s)
    from pg_catalog.pg_publication p where p.pubname = %s"""

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


async def ensure_publication(
    connection: psycopg.AsyncConnection[Any], options: SlotOptions
) -> bool:
    """Create the publication if it is missing, add the table if it is not in it. Return whether
    either was done: changes before it are not in the stream of a slot. Raises `SourceFault` with
    the SQL to run if the role may not, or if the table can't be published.
    """
    projection = options.projection
    schema, table = projection.schema, projection.table
    name = f"{_quoted(schema)}.{_quoted(table)}"
    publication = _quoted(options.publication)
    doing = f"publishing {schema}.{table}"
    try:
        await _check_table(connection, projection, name)
        cursor = await connection.execute(_PUBLISHED, (schema, table, options.publication))
        row = await cursor.fetchone()
        if row is None:
            await _run(
                connection,
                f"CREATE PUBLICATION {publication} FOR TABLE {name} "
                "WITH (publish_via_partition_root = true)",
            )
            log.info("created the publication %s for %s", options.publication, name)
            return True
        _, writes, _, via_root, has_table = row
        if not writes:
            raise _needed(
                f"the publication {options.publication} leaves out inserts, updates or deletes",
                f"ALTER PUBLICATION {publication} SET "
                "(publish = 'insert, update, delete, truncate')",
            )
        kind = await _kind(connection, projection)
        if kind == "p" and not via_root:
            raise _needed(
                f"{name} is partitioned, and the publication names its partitions",
                f"ALTER PUBLICATION {publication} SET (publish_via_partition_root = true)",
            )
        if not has_table:
            await _run(connection, f"ALTER PUBLICATION {publication} ADD TABLE {name}")
            log.info("added %s to the publication %s", name, options.publication)
            return True
    except psycopg.Error as error:
        raise fault_of(error, doing) from error
    return False


async def _kind(connection: psycopg.AsyncConnection[Any], projection: Projection) -> str:
    cursor = await connection.execute(_TABLE, (projection.schema, projection.table))
    row = await cursor.fetchone()
    return "" if row is None else str(row[1])


async def _check_table(
    connection: psycopg.AsyncConnection[Any], projection: Projection, name: str
) -> None:
    cursor = await connection.execute(_TABLE, (projection.schema, projection.table))
    row = await cursor.fetchone()
    if row is None:
        raise SourceFault(
            f"the table {name} does not exist: correct BRIDGE_TABLE or BRIDGE_WATCHERS, or apply "
            "the migrations",
            needs_operator=True,
        )
    _, _, identity, columns = row
    if identity != "f" and projection.key not in columns:
        raise _needed(
            f"the replica identity of {name} does not have the key {projection.key}, so that "
            "updates and deletes do not show their row",
            f"ALTER TABLE {name} REPLICA IDENTITY FULL",
        )


async def _run(connection: psycopg.AsyncConnection[Any], statement: str) -> None:
    try:
        await connection.execute(statement.encode())
    except psycopg.errors.InsufficientPrivilege as error:
        raise _needed(f"the role may not publish the table ({error})", statement) from error


def _needed(fact: str, statement: str) -> SourceFault:
    return SourceFault(f"{fact}; run: {statement}", needs_operator=True)


async def create_slot(connection: ReplicationConnection, name: str) -> tuple[int, str]:
    """Create the slot. Return its consistent point and the name of its snapshot, which exists until
    the next command of the connection. Raises `SourceFault`.
    """
    [row] = await connection.command(
        f"CREATE_REPLICATION_SLOT {_quoted(name)} LOGICAL {PLUGIN} EXPORT_SNAPSHOT"
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


def start_command(options: SlotOptions, lsn: int) -> str:
    """Return the command that begins the stream at `lsn`."""
    publication = _quoted(options.publication).replace("'", "''")
    return (
        f"START_REPLICATION SLOT {_quoted(options.slot)} LOGICAL {format_lsn(lsn)} "
        f"(proto_version '1', publication_names '{publication}')"
    )


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string(None)
