"""Reads the catalog entries of a changed table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import AsyncConnection

    from bridge.source.replication import pgoutput

Connection: TypeAlias = "AsyncConnection[tuple[Any, ...]]"


@dataclass(frozen=True, slots=True)
class ReaderRole:
    """Role and claims under which changes are read. Subscriptions with equal readers share the
    queries.
    """

    role: str
    claims: str
    """The JWT's claims as JSON text, for row level security."""


@dataclass(frozen=True, slots=True)
class CatalogTable:
    """The catalog's description of a table at poll time, which may differ from commit time."""

    key: tuple[str, ...]
    """Columns of the primary key, empty if there is none."""
    rls: bool
    type_names: dict[int, str]
    """Type OID -> name in `columns`, `_text` for arrays."""
    casts: dict[int, str]
    """Type OID -> SQL name without a modifier: `character` is char(1) and `bit` is bit(1), which
    is why Realtime truncates such values to their first character."""
    visible: dict[str, frozenset[str]]
    """Role -> columns with SELECT privilege."""


async def describe(
    connection: Connection, relation: pgoutput.Relation, roles: Sequence[str]
) -> CatalogTable:
    """Return the catalog's description of `relation` for `roles`.

    Raises psycopg's error if the table no longer exists; the real server loses its slot then, too.
    """
    name = sql.Identifier(relation.schema, relation.table).as_string(connection)
    cursor = await connection.execute(
        """
        select c.relrowsecurity,
          array(select a.attname::text from pg_index i
                cross join lateral unnest(i.indkey) with ordinality k(attnum, n)
                join pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum
                where i.indrelid = c.oid and i.indisprimary order by k.n),
          (select array_agg(array[t.oid::text, t.typname::text, t.oid::regtype::text])
             from pg_type t where t.oid = any(%(types)s::oid[])),
          (select jsonb_object_agg(r.role, array(
              select a.attname::text from pg_attribute a
              where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                and has_column_privilege(r.role, c.oid, a.attnum, 'SELECT')))
             from unnest(%(roles)s::text[]) r(role))
        from pg_class c where c.oid = %(name)s::regclass
        """,
        {
            "name": name,
            "roles": list(roles),
            "types": sorted({column.type_oid for column in relation.columns}),
        },
    )
    row = await cursor.fetchone()
    assert row is not None, "regclass names an existing row"
    rls, key, types, visible = row
    return CatalogTable(
        key=tuple(key),
        rls=rls,
        type_names={int(oid): name for oid, name, _ in types},
        casts={int(oid): cast for oid, _, cast in types},
        visible={role: frozenset(names) for role, names in visible.items()},
    )
