"""The vocabulary that every stage speaks: what a source may say of a table.

A source yields `Change`s, in commit order, and `Gap`s. A `Gap` says that something before it may be
missing. Nothing here knows where a change came from.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Json: TypeAlias = Any
"""A JSON value as `json.loads` gives it: None, bool, int, float, str, list or dict."""

Key: TypeAlias = str | int
"""The value of a row's key column, as JSON gives it."""

Record: TypeAlias = "Mapping[str, Json]"
"""Column name -> value. A column that is absent is unknown, which is not the same as null."""


def json_equal(a: Json, b: Json) -> bool:
    """JSON equality. Unlike Python's, it keeps `true` and `1` apart."""
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
    """Why something may be missing; the word that logs and `/status` show."""

    SUBSCRIBED = "subscribed"  # a subscription went live; what came before it is unknown
    RESUBSCRIBED = "resubscribed"  # the server rebuilt the subscription and said so
    OVERFLOW = "overflow"  # changes came faster than the pipeline took them
    UNREADABLE = "unreadable"  # a change arrived that could not be decoded
    POST_SUBSCRIBE = "settled"  # a little after SUBSCRIBED: what fell between `ok` and the slot
    MISSED_CHANGES = "lost"  # many rows are not what the stream told, though it goes on


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to one row.

    `record` is the row after the change, limited to the columns that the bridge knows (see
    `projection.Projection`), values normalised; empty for DELETE. A column absent from it was not
    sent because it did not change (a large TOASTed value).

    `old` is the whole row before the change where the source had it (REPLICA IDENTITY FULL), else
    None. `old_key` is set where an UPDATE changed the key.

    `truncated`: the source cut values off (Realtime's error 413, `char(n)`), so the row must be
    read from the table.
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
    """Something before this may be missing; the table has to be compared with what is known."""

    reason: GapReason
    detail: str = ""


Item: TypeAlias = Change | Gap
