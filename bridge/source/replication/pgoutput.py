"""Decodes the logical replication messages of `pgoutput`, protocol versions 1 and 2. No I/O.

The message formats are those of the PostgreSQL documentation, "Logical Replication Message
Formats". Insert, Update and Delete refer to their table by OID only; the Relation message that
precedes them describes it, so `PgoutputDecoder` keeps the last Relation of each OID. Column values
stay in Postgres' text format.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from bridge.changes import Op

if TYPE_CHECKING:
    from collections.abc import Sequence


class UnchangedToast(Enum):
    """Type of `UNCHANGED_TOAST`."""

    TOAST = "unchanged"


UNCHANGED_TOAST = UnchangedToast.TOAST
"""Column kind `u`: a TOASTed value that the update left unchanged. It is not in the WAL."""

TupleValue: TypeAlias = str | UnchangedToast | None
"""One column: text (kind `t`), `UNCHANGED_TOAST` (kind `u`), or None for NULL (kind `n`)."""

TupleData: TypeAlias = tuple[TupleValue, ...]
"""One value per column, in the order of `Relation.columns`."""


class MalformedMessageError(ValueError):
    """The bytes are not a complete message of the protocol, or refer to a relation OID that no
    Relation message has described.
    """


@dataclass(frozen=True, slots=True)
class RelationColumn:
    """One column of a Relation message."""

    name: str
    type_oid: int
    type_modifier: int
    """`pg_attribute.atttypmod`; -1 if the type has none."""
    in_replica_identity: bool
    """True for columns that old tuples contain: the key, or all under REPLICA IDENTITY FULL."""


@dataclass(frozen=True, slots=True)
class Relation:
    """Message `R`: a table as it is defined from this message on."""

    oid: int
    schema: str
    table: str
    replica_identity: str
    """`pg_class.relreplident`: `d` default, `n` nothing, `f` full, `i` index."""
    columns: tuple[RelationColumn, ...]


@dataclass(frozen=True, slots=True)
class BeginMessage:
    """Message `B`: start of a transaction."""

    final_lsn: int
    """LSN of the transaction's commit."""
    commit_timestamp: int
    """Microseconds since 2000-01-01 UTC."""
    xid: int


@dataclass(frozen=True, slots=True)
class CommitMessage:
    """Message `C`: end of a transaction."""

    commit_lsn: int
    end_lsn: int
    commit_timestamp: int
    """Microseconds since 2000-01-01 UTC."""


@dataclass(frozen=True, slots=True)
class RowMessage:
    """Message `I`, `U` or `D`: a change of one row.

    `new` is the new tuple, None for a Delete. `old` is the old tuple: None for an Insert, and for
    an Update that kept the replica identity. With `old_is_key` (part `K`) only the columns of the
    replica identity are set in it and the others are None; else (part `O`) all are.
    """

    op: Op
    relation: Relation
    new: TupleData | None
    old: TupleData | None = None
    old_is_key: bool = False


@dataclass(frozen=True, slots=True)
class TruncateMessage:
    """Message `T`."""

    relation_oids: tuple[int, ...]
    cascade: bool
    restart_identity: bool


@dataclass(frozen=True, slots=True)
class StreamStart:
    """Message `S`: the next messages, up to `StreamStop`, belong to a transaction in progress. Each
    of them has the id of its subtransaction after its kind (`in_progress`).
    """

    xid: int


@dataclass(frozen=True, slots=True)
class StreamStop:
    """Message `E`."""


@dataclass(frozen=True, slots=True)
class StreamCommit:
    """Message `c`: a transaction that was sent in progress is committed."""

    xid: int
    commit_lsn: int
    end_lsn: int
    commit_timestamp: int
    """Microseconds since 2000-01-01 UTC."""


@dataclass(frozen=True, slots=True)
class StreamAbort:
    """Message `A`: a subtransaction was rolled back; all of the transaction if both are equal."""

    xid: int
    subxid: int


StreamMessage: TypeAlias = StreamStart | StreamStop | StreamCommit | StreamAbort
"""Of protocol version 2, if it was asked for `streaming`."""

Message: TypeAlias = (
    BeginMessage | CommitMessage | Relation | RowMessage | TruncateMessage | StreamMessage
)

_TEXT, _NULL, _TOAST = b"tnu"
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_size_at = _U32.unpack_from
_TYPE_AND_MOD = struct.Struct(">Ii")
_BEGIN = struct.Struct(">QqI")
_COMMIT = struct.Struct(">BQQq")
_STREAM_COMMIT = struct.Struct(">IBQQq")
_STREAM_ABORT = struct.Struct(">II")


def in_progress(data: bytes) -> tuple[int, bytes]:
    """Return the subtransaction of a message between `StreamStart` and `StreamStop`, and the
    message as outside of them.
    """
    return int.from_bytes(data[1:5], "big"), data[:1] + data[5:]


@dataclass(frozen=True, slots=True)
class WantedColumns:
    """The columns of a relation that are decoded, by their number; the others are None.

    `old`: of old tuples, as far as the new one has all values (`UNCHANGED_TOAST`).
    """

    new: Sequence[bool]
    old: Sequence[bool]


class PgoutputDecoder:
    """Decodes the messages of one replication slot. Feed them in the order of the slot."""

    def __init__(self) -> None:
        self._relations: dict[int, Relation] = {}
        self._wanted: dict[int, WantedColumns] = {}

    def want(self, relation: int, columns: WantedColumns) -> None:
        """Decode only these columns of a relation, until its next Relation message."""
        self._wanted[relation] = columns

    def decode(self, data: bytes) -> Message | None:
        """Return the message in `data`; None for Type (`Y`), Origin (`O`) and Message (`M`).

        Raises `MalformedMessageError` if `data` is incomplete, has an unknown message or column
        kind, or refers to an unknown relation.
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
                    self._wanted.pop(relation.oid, None)
                    return relation
                case b"T":
                    return _truncate(data)
                case b"Y" | b"O" | b"M":
                    return None
                case b"S":
                    return StreamStart(_U32.unpack_from(data, 1)[0])
                case b"E":
                    return StreamStop()
                case b"c":
                    xid, _, lsn, end_lsn, committed_at = _STREAM_COMMIT.unpack_from(data, 1)
                    return StreamCommit(xid, lsn, end_lsn, committed_at)
                case b"A":
                    return StreamAbort(*_STREAM_ABORT.unpack_from(data, 1))
        except (struct.error, IndexError, UnicodeDecodeError, ValueError) as error:
            raise MalformedMessageError(
                f"expected a complete pgoutput message {kind!r}, got {len(data)} bytes: {error}"
            ) from error
        raise MalformedMessageError(f"expected one of B C R I U D T Y O M S E c A, got {kind!r}")

    def _row_change(self, kind: bytes, data: bytes) -> RowMessage:
        (oid,) = _U32.unpack_from(data, 1)
        relation = self._relations.get(oid)
        if relation is None:
            raise MalformedMessageError(
                f"expected a Relation message of relation {oid} before its first row, got none"
            )
        wanted = self._wanted.get(oid)
        columns = None if wanted is None else wanted.new
        at = 5
        if kind == b"I":
            new, _ = _tuple_data(data, at + 1, columns)
            return RowMessage(Op.INSERT, relation, new)
        tag = data[at : at + 1]
        old_columns = None if wanted is None else wanted.old
        if kind == b"D":
            old, _ = _tuple_data(data, at + 1, old_columns)
            return RowMessage(Op.DELETE, relation, None, old, old_is_key=tag == b"K")
        if tag not in (b"K", b"O"):
            new, _ = _tuple_data(data, at + 1, columns)
            return RowMessage(Op.UPDATE, relation, new)
        old_at = at + 1
        old, at = _tuple_data(data, old_at, old_columns)
        new, _ = _tuple_data(data, at + 1, columns)
        if old_columns is not columns and UNCHANGED_TOAST in new:
            old, _ = _tuple_data(data, old_at, columns)
        return RowMessage(Op.UPDATE, relation, new, old, old_is_key=tag == b"K")


def _tuple_data(data: bytes, at: int, wanted: Sequence[bool] | None) -> tuple[TupleData, int]:
    """Return the values of a tuple and where it ends. This is most of the cost of a message."""
    count = (data[at] << 8) | data[at + 1]
    if wanted is None or len(wanted) != count:
        wanted = (True,) * count
    at += 2
    values: list[TupleValue] = []
    add = values.append
    for want in wanted:
        kind = data[at]
        if kind == _TEXT:
            start = at + 5
            (size,) = _size_at(data, at + 1)
            at = start + size
            add(data[start:at].decode() if want else None)
        elif kind == _NULL:
            at += 1
            add(None)
        elif kind == _TOAST:
            at += 1
            add(UNCHANGED_TOAST)
        else:
            raise ValueError(f"expected a column kind of t, n or u, got {kind:#x}")
    if at > len(data):
        raise ValueError("a column value extends past the end of the message")
    return tuple(values), at


def _string(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(b"\0", at)
    return data[at:end].decode(), end + 1


def _relation(data: bytes) -> Relation:
    (oid,) = _U32.unpack_from(data, 1)
    schema, at = _string(data, 5)
    table, at = _string(data, at)
    identity = chr(data[at])
    (count,) = _U16.unpack_from(data, at + 1)
    at += 3
    columns: list[RelationColumn] = []
    for _ in range(count):
        flags = data[at]
        name, at = _string(data, at + 1)
        type_oid, typmod = _TYPE_AND_MOD.unpack_from(data, at)
        at += 8
        columns.append(RelationColumn(name, type_oid, typmod, in_replica_identity=bool(flags & 1)))
    # The format defines an empty namespace as pg_catalog.
    return Relation(oid, schema or "pg_catalog", table, identity, tuple(columns))


def _truncate(data: bytes) -> TruncateMessage:
    (count,) = _U32.unpack_from(data, 1)
    options = data[5]
    oids = struct.unpack_from(f">{count}I", data, 6)
    return TruncateMessage(oids, cascade=bool(options & 1), restart_identity=bool(options & 2))
