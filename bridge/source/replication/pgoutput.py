"""PostgreSQL's `pgoutput` messages, protocol version 1, from bytes to values. Pure.

A message stands alone except that rows name their table by a number, which an earlier `Relation`
message explained; `Decoder` keeps those. Values stay in Postgres's text form.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from bridge.changes import Op


class Unchanged(Enum):
    """A large value that the update did not touch, and that Postgres therefore did not log."""

    TOAST = "unchanged"


UNCHANGED = Unchanged.TOAST

Value: TypeAlias = str | Unchanged | None
Row: TypeAlias = tuple[Value, ...]


class MalformedMessageError(ValueError):
    """The bytes are not a pgoutput message of version 1, or name a table nobody explained."""


@dataclass(frozen=True, slots=True)
class RelationColumn:
    name: str
    type_oid: int
    typmod: int
    in_identity: bool
    """True for the columns that old rows carry: the key, or all under REPLICA IDENTITY FULL."""


@dataclass(frozen=True, slots=True)
class Relation:
    oid: int
    schema: str
    table: str
    identity: str
    """`d` default, `n` nothing, `f` full, `i` an index; as `pg_class.relreplident` has it."""
    columns: tuple[RelationColumn, ...]


@dataclass(frozen=True, slots=True)
class BeginMessage:
    final_lsn: int
    committed_at: int
    """Microseconds since 2000-01-01 UTC."""
    xid: int


@dataclass(frozen=True, slots=True)
class CommitMessage:
    lsn: int
    end_lsn: int
    committed_at: int


@dataclass(frozen=True, slots=True)
class RowMessage:
    """One row of one table. `new` is None for DELETE.

    `old` has one value per column; with `old_is_key` only identity columns are filled. None: the
    update left the identity as it was, or the change is an INSERT.
    """

    op: Op
    relation: Relation
    new: Row | None
    old: Row | None = None
    old_is_key: bool = False


@dataclass(frozen=True, slots=True)
class TruncateMessage:
    relation_oids: tuple[int, ...]
    cascade: bool
    restart_identity: bool


Message: TypeAlias = BeginMessage | CommitMessage | Relation | RowMessage | TruncateMessage

_TEXT, _NULL, _TOAST = b"tnu"
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_TYPE_AND_MOD = struct.Struct(">Ii")
_BEGIN = struct.Struct(">QqI")
_COMMIT = struct.Struct(">BQQq")


class Decoder:
    """Decodes the messages of one slot, in the order in which the slot gave them."""

    def __init__(self) -> None:
        self._relations: dict[int, Relation] = {}

    def decode(self, data: bytes) -> Message | None:
        """The message in `data`; None for kinds that say nothing of rows (Type, Origin, Message).

        Raises `MalformedMessageError`.
        """
        kind = data[:1]
        try:
            match kind:
                case b"I" | b"U" | b"D":
                    return self._row_change(kind, data)
                case b"B":
                    return BeginMessage(*_BEGIN.unpack_from(data, 1))
                case b"C":
                    _, lsn, end_lsn, committed_at = _COMMIT.unpack_from(data, 1)
                    return CommitMessage(lsn, end_lsn, committed_at)
                case b"R":
                    relation = _relation(data)
                    self._relations[relation.oid] = relation
                    return relation
                case b"T":
                    return _truncate(data)
                case b"Y" | b"O" | b"M":
                    return None
        except (struct.error, IndexError, UnicodeDecodeError, ValueError) as error:
            raise MalformedMessageError(
                f"expected a whole pgoutput message {kind!r}, got {len(data)} bytes: {error}"
            ) from error
        raise MalformedMessageError(f"expected one of B C R I U D T Y O M, got {kind!r}")

    def _row_change(self, kind: bytes, data: bytes) -> RowMessage:
        (oid,) = _U32.unpack_from(data, 1)
        relation = self._relations.get(oid)
        if relation is None:
            raise MalformedMessageError(f"a row of relation {oid} came before its Relation message")
        at = 5
        if kind == b"I":
            new, _ = _row(data, at + 1)
            return RowMessage(Op.INSERT, relation, new)
        tag = data[at : at + 1]
        if kind == b"D":
            old, _ = _row(data, at + 1)
            return RowMessage(Op.DELETE, relation, None, old, old_is_key=tag == b"K")
        if tag not in (b"K", b"O"):
            new, _ = _row(data, at + 1)
            return RowMessage(Op.UPDATE, relation, new)
        old, at = _row(data, at + 1)
        new, _ = _row(data, at + 1)
        return RowMessage(Op.UPDATE, relation, new, old, old_is_key=tag == b"K")


def _row(data: bytes, at: int) -> tuple[Row, int]:
    (count,) = _U16.unpack_from(data, at)
    at += 2
    values: list[Value] = []
    for _ in range(count):
        kind = data[at]
        at += 1
        if kind == _TEXT:
            (length,) = _U32.unpack_from(data, at)
            at += 4
            if at + length > len(data):
                raise ValueError("a value ends after the message")
            values.append(data[at : at + length].decode())
            at += length
        elif kind == _NULL:
            values.append(None)
        elif kind == _TOAST:
            values.append(UNCHANGED)
        else:
            raise ValueError(f"expected a value of kind t, n or u, got {kind:#x}")
    return tuple(values), at


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(b"\0", at)
    return data[at:end].decode(), end + 1


def _relation(data: bytes) -> Relation:
    (oid,) = _U32.unpack_from(data, 1)
    schema, at = _text(data, 5)
    table, at = _text(data, at)
    identity = chr(data[at])
    (count,) = _U16.unpack_from(data, at + 1)
    at += 3
    columns: list[RelationColumn] = []
    for _ in range(count):
        flags = data[at]
        name, at = _text(data, at + 1)
        type_oid, typmod = _TYPE_AND_MOD.unpack_from(data, at)
        at += 8
        columns.append(RelationColumn(name, type_oid, typmod, in_identity=bool(flags & 1)))
    # An empty schema is how pgoutput writes pg_catalog.
    return Relation(oid, schema or "pg_catalog", table, identity, tuple(columns))


def _truncate(data: bytes) -> TruncateMessage:
    (count,) = _U32.unpack_from(data, 1)
    options = data[5]
    oids = struct.unpack_from(f">{count}I", data, 6)
    return TruncateMessage(oids, cascade=bool(options & 1), restart_identity=bool(options & 2))
