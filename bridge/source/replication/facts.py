"""What the catalog has about a table, its publication, its readers and the server: for
`bridge check`, without any write.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg

from bridge.source.replication import connection as connections
from bridge.source.replication.faults import fault_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bridge.projection import Projection

_TABLES: Final = """
    select n.nspname || '.' || c.relname
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname not like 'pg\\_%%'
      and n.nspname <> 'information_schema'"""

_TABLE: Final = """
    select c.relkind::text as kind, c.relrowsecurity as row_security,
      c.relreplident::text as identity, c.relispartition as partition,
      (select i.inhparent::regclass::text from pg_catalog.pg_inherits i
       where i.inhrelid = c.oid and c.relispartition limit 1) as parent,
      array(select a.attname::text from pg_catalog.pg_index i join pg_catalog.pg_attribute a
            on a.attrelid = i.indrelid and a.attnum = any(i.indkey)
            where i.indrelid = c.oid and (i.indisprimary and c.relreplident = 'd'
                                          or i.indisreplident and c.relreplident = 'i'))
        as identity_columns,
      (select coalesce(jsonb_object_agg(a.attname, format_type(
                coalesce(nullif(t.typbasetype, 0), t.oid), null)), '{}')
       from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid
       where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns,
      array(select a.attname::text from pg_catalog.pg_index i join pg_catalog.pg_attribute a
            on a.attrelid = i.indrelid and a.attnum = any(i.indkey)
            where i.indrelid = c.oid and i.indisprimary) as primary_key,
      exists (select from pg_catalog.pg_index i join pg_catalog.pg_attribute a
              on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
              where i.indrelid = c.oid and i.indisunique and i.indisvalid and i.indnkeyatts = 1
                and i.indpred is null and a.attname = %(key)s) as unique_key,
      exists (select from pg_catalog.pg_index i join pg_catalog.pg_attribute a
              on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
              where i.indrelid = c.oid and i.indisvalid and i.indpred is null
                and a.attname = %(updated_at)s) as updated_at_index,
      c.reltuples::int8 as rows
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = %(schema)s and c.relname = %(table)s"""

_PUBLICATION: Final = """
    select p.pubinsert as inserts, p.pubupdate as updates, p.pubdelete as deletes,
      p.pubviaroot as via_root, t.tablename is not null as has_table,
      t.attnames::text[] as columns, t.rowfilter as row_filter
    from pg_catalog.pg_publication p
    left join pg_catalog.pg_publication_tables t
      on t.pubname = p.pubname and t.schemaname = %(schema)s and t.tablename = %(table)s
    where p.pubname = %(publication)s"""

_ROLE: Final = """
    select r.rolbypassrls or r.rolsuper as bypasses,
      array(select a.attname::text from pg_catalog.pg_attribute a
            where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
              and not has_column_privilege(r.oid, c.oid, a.attnum, 'select')) as hidden,
      has_schema_privilege(r.oid, n.oid, 'usage') as usage,
      array(select p.polname::text from pg_catalog.pg_policy p
            where p.polrelid = c.oid and p.polcmd in ('r', '*')
              and (p.polroles = '{0}' or exists (select from unnest(p.polroles) of
                   where pg_has_role(r.oid, of, 'usage')))) as policies,
      array(select split_part(each, '=', 2) from unnest(r.rolconfig) each
            where each like 'statement_timeout=%%') as timeouts
    from pg_catalog.pg_roles r, pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where r.rolname = %(role)s and n.nspname = %(schema)s and c.relname = %(table)s"""

_SERVER: Final = """
    select current_setting('server_version') as version, current_setting('wal_level') as wal_level,
      current_setting('max_replication_slots')::int as slots,
      (select count(*) from pg_catalog.pg_replication_slots)::int as slots_used,
      current_setting('max_wal_senders')::int as senders,
      (select count(*) from pg_catalog.pg_stat_replication)::int as senders_used,
      array(select slot_name::text from pg_catalog.pg_replication_slots
            where not active and not temporary) as inactive_slots,
      current_setting('output_plugin_libraries', true) as plugins,
      extract(epoch from clock_timestamp())::float8 as clock"""


@dataclass(frozen=True, slots=True)
class TableFacts:
    """Rows of the catalog by column; None: there is no such row."""

    tables: Sequence[str]
    """All tables and views, as `schema.table`."""
    table: Mapping[str, Any] | None
    publication: Mapping[str, Any] | None
    role: Mapping[str, Any] | None
    server: Mapping[str, Any]


async def read_facts(url: str, projection: Projection, publication: str, role: str) -> TableFacts:
    """Raises `SourceFault`."""
    names = {
        "schema": projection.schema,
        "table": projection.table,
        "key": projection.key,
        "updated_at": projection.updated_at or "",
        "publication": publication,
        "role": role,
    }
    connection = await connections.connect(url)
    try:
        connection.row_factory = psycopg.rows.dict_row
        found = [
            await (await connection.execute(query, names)).fetchone()
            for query in (_TABLE, _PUBLICATION, _ROLE, _SERVER)
        ]
        cursor = connection.cursor(row_factory=psycopg.rows.tuple_row)
        await cursor.execute(_TABLES, names)
        tables = sorted(row[0] for row in await cursor.fetchall())
    except psycopg.Error as error:
        raise fault_of(error, "reading the catalog") from error
    finally:
        await connection.close()
    table, published, reader, server = found
    return TableFacts(tables, table, published, reader, server or {})
