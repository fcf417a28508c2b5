"""The types of a database by OID: what they are called, and how their text becomes JSON.

Types are read from the catalog the first time that they are met; a type that was dropped since is
taken for a text.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bridge.source.column_types import ENUM, canonical_type
from bridge.source.replication import values

if TYPE_CHECKING:
    from collections.abc import Iterable

    import psycopg

    from bridge.source.replication.values import Convert

log = logging.getLogger(__name__)

_LOOK_UP: Final = """
    select t.oid::int8, t.typname, t.typtype, t.typdelim::text, t.typbasetype::int8,
           case when e.typarray = t.oid then e.oid::int8 else 0 end,
           case when t.typtype = 'c' then (
             select array_agg(a.attname::text || ' ' || a.atttypid order by a.attnum)
             from pg_catalog.pg_attribute a
             where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped) end,
           t.oid >= 16384 and exists (
             select from pg_catalog.pg_cast c
             where c.castsource = t.oid and c.casttarget = 'pg_catalog.json'::regtype
               and c.castfunc <> 0)
    from pg_catalog.pg_type t left join pg_catalog.pg_type e on e.oid = t.typelem
    where t.oid = any(%s::oid[])"""


@dataclass(frozen=True, slots=True)
class PgType:
    """One type. `name` is canonical (`column_types`); domains have that of their base type.

    `serialized`: its JSON is made by a cast of the database, so that its text does not have it: it
    has to be read as `to_jsonb(column)`.
    """

    name: str
    convert: Convert
    serialized: bool = False


TEXT: Final = PgType("text", values.text_value)


@dataclass(frozen=True, slots=True)
class _Row:
    """A type of the catalog, by the columns of `_LOOK_UP`."""

    name: str
    kind: str
    delimiter: str
    base: int
    element: int
    fields: tuple[tuple[str, int], ...]
    casts_to_json: bool


class TypeCatalog:
    """Types by OID."""

    def __init__(self) -> None:
        self._rows: dict[int, _Row] = {}
        self._types: dict[int, PgType] = {}

    def __contains__(self, oid: int) -> bool:
        return oid in self._types

    def __getitem__(self, oid: int) -> PgType:
        """Return a type that was loaded; a text if it does not exist any more."""
        return self._types.get(oid, TEXT)

    def forget(self) -> None:
        """Have types read again: their definitions may have changed."""
        self._rows.clear()
        self._types.clear()

    async def load(self, connection: psycopg.AsyncConnection[Any], oids: Iterable[int]) -> None:
        """Read these types and those that they consist of, as far as they are not known."""
        wanted = first = {oid for oid in oids if oid not in self._types}
        while wanted:
            cursor = await connection.execute(_LOOK_UP, (sorted(wanted),))
            for oid, name, kind, delimiter, base, element, fields, casts in await cursor.fetchall():
                split = [field.rpartition(" ") for field in fields or ()]
                self._rows[oid] = _Row(
                    name,
                    kind,
                    delimiter,
                    base,
                    element,
                    tuple((field, int(of)) for field, _, of in split),
                    casts,
                )
            for oid in wanted - self._rows.keys():
                log.warning("the type with OID %d does not exist any more: taken for a text", oid)
                self._rows[oid] = _Row("text", "b", ",", 0, 0, (), casts_to_json=False)
            wanted = {
                part for oid in wanted for part in _parts(self._rows[oid]) if part not in self._rows
            }
        for oid in first:
            self._types[oid] = self._make(oid)

    def _make(self, oid: int, *, in_record: bool = False) -> PgType:
        row = self._rows[oid]
        if row.base:
            return self._make(row.base, in_record=in_record)
        if row.element:
            # The other source does not resolve domains within arrays: as within records.
            of_domain = bool(self._rows[row.element].base)
            element = self._make(row.element, in_record=in_record or of_domain)
            return PgType(
                canonical_type(element.name) + "[]",
                values.array_of(element.convert, row.delimiter),
                element.serialized,
            )
        if row.kind == "e":
            return PgType(ENUM, values.text_value)
        if row.kind == "c":
            made = [(name, self._make(of, in_record=True)) for name, of in row.fields]
            return PgType(
                row.name,
                values.record_of([(name, each.convert) for name, each in made]),
                any(each.serialized for _, each in made),
            )
        convert = values.CONVERTERS.get(row.name, values.text_value)
        if in_record:
            convert = values.IN_RECORDS.get(row.name, convert)
        return PgType(
            canonical_type(row.name),
            convert,
            row.casts_to_json and convert is not values.hstore,
        )


def _parts(row: _Row) -> Iterable[int]:
    return (*filter(None, (row.base, row.element)), *(of for _, of in row.fields))
