"""Items of a source: changes of one table in commit order, and gaps.

They are the same for every kind of source.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Json: TypeAlias = Any
"""A JSON value as `json.loads` returns it: None, bool, int, float, str, list or dict."""

Key: TypeAlias = str | int
"""The value of a row's key column, as decoded from JSON; see `safe_key`."""

MAX_SAFE_INTEGER: Final = 2**53 - 1
"""The greatest integer that a number of JavaScript holds exactly, with all below it."""

Record: TypeAlias = "Mapping[str, Json]"
"""Column name -> value. An absent column is unknown, which differs from null."""


def safe_key(key: int) -> Key:
    """Return an integer key as it is stored and sent: its digits if it is past `MAX_SAFE_INTEGER`,
    where two keys would be one in JavaScript.
    """
    return key if -MAX_SAFE_INTEGER <= key <= MAX_SAFE_INTEGER else str(key)


def json_equal(a: Json, b: Json) -> bool:
    """Return whether two JSON values are equal. Unlike in Python, `true` and `1` are not."""
    if type(a) is not type(b):
        return type(a) in (int, float) and type(b) in (int, float) and bool(a == b)
    if type(a) is dict:
        return a.keys() == b.keys() and all(json_equal(a[key], b[key]) for key in a)
    if type(a) is list:
        return len(a) == len(b) and all(map(json_equal, a, b))
    return bool(a == b)


class Op(StrEnum):
    INSERT = "INSERT"
    UPDATE = "UPDATE"
    DELETE = "DELETE"


class GapReason(StrEnum):
    """Why changes may be missing, as shown in logs and `/status`."""

    SUBSCRIBED = "subscribed"  # a subscription is live; earlier changes are unknown
    RESUBSCRIBED = "resubscribed"  # the server reported that it rebuilt the subscription
    OVERFLOW = "overflow"  # changes arrived faster than the pipeline merged them
    UNREADABLE = "unreadable"  # a change arrived that could not be decoded
    POST_SUBSCRIBE = "settled"  # shortly after SUBSCRIBED: changes between `ok` and the slot
    MISSED_CHANGES = "lost"  # many rows differ from the stream, which is still live
    TAKEOVER = "taken over"  # another machine led before; no subscription is live yet
    FIRST_SLOT = "first slot"  # a replication slot was created, and the log continues no stream
    SLOT_LOST = "slot lost"  # the slot no longer has all changes that the log lacks
    TABLE_ALTERED = "table altered"  # the table's definition changed, which may change its rows


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one row.

    - `record`: the row after the change, limited to the known columns (`Projection.known`), values
      normalised; empty for DELETE. A column is absent if it was not sent because it did not change
      (a large TOASTed value).
    - `committed_at`: RFC 3339.
    - `old`: the full row before the change if the source had it (REPLICA IDENTITY FULL), else None.
    - `old_key`: set if an UPDATE changed the key.
    - `truncated`: the source truncated values (Realtime's error 413, `char(n)`), so the row has to
      be re-read from the table.
    - `lsn`: the WAL position of the commit. A source that sets it delivers every change in commit
      order, and a `Checkpoint` at the end of each transaction.
    """

    op: Op
    key: Key
    record: Record
    committed_at: str
    old: Record | None = None
    old_key: Key | None = None
    truncated: bool = False
    lsn: int | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """Changes before this may be missing; the table has to be compared with the known rows."""

    reason: GapReason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Truncate:
    """All rows were deleted at once; `lsn` as in `Change`."""

    committed_at: str
    lsn: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The end of a transaction, or of a part of a long one: nothing before it is incomplete.

    `position`: where the source resumes once the changes before this are stored; opaque.
    """

    position: str


@dataclass(frozen=True, slots=True)
class SnapshotBegin:
    """All rows of the table follow, as of one point of the stream, in pages. `reason`: why the
    stream can't be continued from the known rows.
    """

    reason: GapReason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SnapshotPage:
    """Some rows of the snapshot, as a read has them."""

    records: Sequence[Record]


@dataclass(frozen=True, slots=True)
class SnapshotEnd:
    """The snapshot is complete. The changes after it are those after `position`."""

    position: str


Item: TypeAlias = Change | Gap | Truncate | Checkpoint | SnapshotBegin | SnapshotPage | SnapshotEnd
