"""The publication of a bridge, and whether its table can be published."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import psycopg

from bridge.source.replication.faults import SourceFault, fault_of
from bridge.source.replication.slot import quoted

if TYPE_CHECKING:
    from bridge.projection import Projection
    from bridge.source.replication.slot import SlotOptions

log = logging.getLogger(__name__)

MADE_BY: Final = "Made by supabase-socketio-bridge"
"""Comment of a publication that the bridge may drop."""

_TABLE: Final = """
    select c.relkind::text, c.relreplident::text,
           array(select a.attname::text from pg_catalog.pg_index i
                 join pg_catalog.pg_attribute a
                   on a.attrelid = i.indrelid and a.attnum = any(i.indkey)
                 where i.indrelid = c.oid and (i.indisprimary and c.relreplident = 'd'
                                               or i.indisreplident and c.relreplident = 'i'))
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = %s and c.relname = %s and c.relkind in ('r', 'p')"""

_PUBLISHED: Final = """
    select p.pubinsert and p.pubupdate and p.pubdelete, p.pubviaroot,
           exists (select from pg_catalog.pg_publication_tables t
                   where t.pubname = p.pubname and t.schemaname = %s and t.tablename = %s)
    from pg_catalog.pg_publication p where p.pubname = %s"""


async def missing_publication(
    connection: psycopg.AsyncConnection[Any], options: SlotOptions
) -> str | None:
    """Return the SQL that makes the publication as it has to be; None: it is.

    Raises `SourceFault` if the table can't be published, or if a publication that exists leaves out
    what the bridge needs.
    """
    projection = options.projection
    schema, table = projection.schema, projection.table
    name = f"{quoted(schema)}.{quoted(table)}"
    publication = quoted(options.publication)
    try:
        partitioned = await _check_table(connection, projection, name)
        cursor = await connection.execute(_PUBLISHED, (schema, table, options.publication))
        row = await cursor.fetchone()
    except psycopg.Error as error:
        raise fault_of(error, f"reading the publication {options.publication}") from error
    if row is None:
        return (
            f"CREATE PUBLICATION {publication} FOR TABLE {name} "
            "WITH (publish_via_partition_root = true)"
        )
    writes, via_root, has_table = row
    if not writes:
        raise _needed(
            f"the publication {options.publication} leaves out inserts, updates or deletes",
            f"ALTER PUBLICATION {publication} SET (publish = 'insert, update, delete, truncate')",
        )
    if partitioned and not via_root:
        raise _needed(
            f"{name} is partitioned, and the publication names its partitions",
            f"ALTER PUBLICATION {publication} SET (publish_via_partition_root = true)",
        )
    return None if has_table else f"ALTER PUBLICATION {publication} ADD TABLE {name}"


async def ensure_publication(
    connection: psycopg.AsyncConnection[Any], options: SlotOptions
) -> bool:
    """Make the publication as it has to be. Return whether that was needed: earlier changes are not
    in the stream of a slot. Raises `SourceFault` with the SQL to run if the role may not.
    """
    statement = await missing_publication(connection, options)
    if statement is None:
        return False
    try:
        await connection.execute(statement.encode())
        if statement.startswith("CREATE"):
            name = quoted(options.publication)
            await connection.execute(f"COMMENT ON PUBLICATION {name} IS '{MADE_BY}'".encode())
    except psycopg.errors.InsufficientPrivilege as error:
        raise _needed(f"the role may not publish the table ({error})", statement) from error
    except psycopg.Error as error:
        raise fault_of(error, statement) from error
    log.info("published the table: %s", statement)
    return True


async def _check_table(
    connection: psycopg.AsyncConnection[Any], projection: Projection, name: str
) -> bool:
    """Return whether the table is partitioned. Raises `SourceFault` if it can't be published."""
    cursor = await connection.execute(_TABLE, (projection.schema, projection.table))
    row = await cursor.fetchone()
    if row is None:
        raise SourceFault(
            f"the table {name} does not exist: correct BRIDGE_TABLE or BRIDGE_WATCHERS, or apply "
            "the migrations",
            needs_operator=True,
        )
    kind, identity, columns = row
    if identity != "f" and projection.key not in columns:
        raise _needed(
            f"the replica identity of {name} does not have the key {projection.key}, so that "
            "updates and deletes do not show their row",
            f"ALTER TABLE {name} REPLICA IDENTITY FULL",
        )
    return bool(kind == "p")


async def drop_publication(connection: psycopg.AsyncConnection[Any], name: str) -> bool | None:
    """Drop the publication if the bridge made it. Return whether it did; None: there is none.
    Raises `SourceFault`.
    """
    try:
        cursor = await connection.execute(
            "select pg_catalog.obj_description(oid, 'pg_publication') "
            "from pg_catalog.pg_publication where pubname = %s",
            (name,),
        )
        row = await cursor.fetchone()
        if row is None:
            return None
        if row[0] != MADE_BY:
            return False
        await connection.execute(f"DROP PUBLICATION {quoted(name)}".encode())
    except psycopg.Error as error:
        raise fault_of(error, f"dropping the publication {name}") from error
    return True


def _needed(fact: str, statement: str) -> SourceFault:
    return SourceFault(f"{fact}; run: {statement}", needs_operator=True)
