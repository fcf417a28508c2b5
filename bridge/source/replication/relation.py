"""Decodes the rows of one relation, as its last Relation message describes it. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bridge.changes import Change, Op
from bridge.source.normalize import normalize_key
from bridge.source.replication.pgoutput import UNCHANGED_TOAST, WantedColumns
from bridge.source.replication.values import is_plain

if TYPE_CHECKING:
    from bridge.changes import Json, Key
    from bridge.projection import Projection
    from bridge.source.replication.pgoutput import Relation, RowMessage, TupleData
    from bridge.source.replication.types import PgType, TypeCatalog
    from bridge.source.replication.values import Convert


class UnreadableRowError(ValueError):
    """A message without the key of its row: the change is lost."""


@dataclass(frozen=True, slots=True)
class _Column:
    index: int
    name: str
    convert: Convert
    plain: bool


class RelationDecoder:
    """Makes changes of the row messages of one relation."""

    def __init__(self, relation: Relation, projection: Projection, types: TypeCatalog) -> None:
        """`types` holds those of the relation's columns. Raises `UnreadableRowError` if it has no
        column for the key.
        """
        self.relation = relation
        by_name = {column.name: n for n, column in enumerate(relation.columns)}
        found: list[tuple[int, str, PgType]] = [
            (by_name[name], name, types[relation.columns[by_name[name]].type_oid])
            for name in projection.known
            if name in by_name
        ]
        self._columns = [
            _Column(index, name, each.convert, is_plain(each.convert))
            for index, name, each in found
            if not each.serialized
        ]
        self._truncated = any(each.serialized for _, _, each in found)
        self.missing = [name for name in projection.selected if name not in by_name]
        """Columns that the stream does not have."""
        if projection.key not in by_name:
            raise UnreadableRowError(
                f"the stream has no column {projection.key} of {relation.schema}.{relation.table}: "
                "the column was dropped or renamed, or the publication's column list omits it"
            )
        wanted = [column.name in projection.selected for column in relation.columns]
        is_key = [column.name == projection.key for column in relation.columns]
        self.wanted = WantedColumns(wanted, is_key)
        self._key_index = by_name[projection.key]
        self._key_type = types[relation.columns[self._key_index].type_oid]
        self._key_name = projection.key

    def change(self, message: RowMessage, committed_at: str, lsn: int) -> Change:
        """Return the change of a message. Raises `UnreadableRowError` if it has no key."""
        try:
            return self._change(message, committed_at, lsn)
        except (ValueError, LookupError) as error:
            if isinstance(error, UnreadableRowError):
                raise
            relation = self.relation
            raise UnreadableRowError(
                f"a value of {relation.schema}.{relation.table} is not of its column's type "
                f"({type(error).__name__})"
            ) from None

    def _change(self, message: RowMessage, committed_at: str, lsn: int) -> Change:
        old, new = message.old, message.new
        index = self._key_index
        if new is None:
            key = self._key(None if old is None else old[index])
            return Change(Op.DELETE, key, {}, committed_at, lsn=lsn)
        raw = new[index]
        if raw is UNCHANGED_TOAST and old is not None:
            raw = old[index]
        key = self._key(raw)
        old_key = None
        if old is not None and (before := old[index]) is not None and before != raw:
            old_key = self._key(before)
        return Change(
            message.op,
            key,
            self._record(new, old),
            committed_at,
            old_key=old_key,
            truncated=self._truncated,
            lsn=lsn,
        )

    def _record(self, new: TupleData, old: TupleData | None) -> dict[str, Json]:
        record: dict[str, Json] = {}
        for column in self._columns:
            value = new[column.index]
            if value is UNCHANGED_TOAST:
                # The old row has it under REPLICA IDENTITY FULL only; else the known value stays.
                value = None if old is None else old[column.index]
                if value is None or value is UNCHANGED_TOAST:
                    continue
            record[column.name] = value if column.plain or value is None else column.convert(value)
        return record

    def _key(self, value: Any) -> Key:
        if not isinstance(value, str):
            raise UnreadableRowError(
                f"a change of {self.relation.schema}.{self.relation.table} has no value of "
                f"{self._key_name}: expected it in the table's replica identity; run ALTER TABLE "
                f"{self.relation.schema}.{self.relation.table} REPLICA IDENTITY FULL"
            )
        if is_plain(self._key_type.convert):
            return value
        key: Key = normalize_key(self._key_type.convert(value), self._key_type.name)
        return key
