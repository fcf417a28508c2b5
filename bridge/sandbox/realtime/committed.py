"""A committed row change between decoding and delivery. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import orjson

from bridge.source.replication import pgoutput

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.sandbox.realtime import pg_catalog

RECORD_LIMIT = 1_048_576
"""Maximum size in bytes of one row's WAL as JSON; above it, long values are removed."""

MAX_ESCAPED_BYTES = 6
"""Maximum number of JSON bytes for one byte of text."""
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(eq=False, slots=True)
class CommittedChange:
    """A row change with its commit time in the format of messages."""

    change: pgoutput.RowMessage
    timestamp: str
    too_large: bool = False
    visible_to: dict[pg_catalog.ReaderRole, bool] = field(default_factory=dict)
    """Whether row level security shows the row, per reader; set by `evaluate_visibility`."""


def timestamp(microseconds: int) -> str:
    """Return `microseconds` since 2000-01-01 as ISO 8601 UTC, truncated to milliseconds."""
    moment = EPOCH + timedelta(microseconds=microseconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def is_too_large(change: pgoutput.RowMessage) -> bool:
    """Return whether the row's WAL as JSON exceeds `RECORD_LIMIT`. Unchanged TOASTed values do not
    count: they are filled in after this check.
    """
    values = [
        (column, value)
        for row in (change.new, change.old)
        if row is not None
        for column, value in zip(change.relation.columns, row, strict=True)
        if isinstance(value, str)
    ]
    raw = sum(len(value) for _, value in values)
    if raw * MAX_ESCAPED_BYTES < RECORD_LIMIT:
        return False
    named = sum(len(column.name) + len('{"name":"","type":"text","typeoid":25,"value":},')
                for column, _ in values)  # fmt: skip
    return named + sum(len(orjson.dumps(value)) for _, value in values) > RECORD_LIMIT


def column_indexes(relation: pgoutput.Relation, names: Iterable[str]) -> list[int]:
    """Return the positions of columns by name. Raises KeyError if one does not exist."""
    at = {column.name: index for index, column in enumerate(relation.columns)}
    return [at[name] for name in names]


def value_of(committed: CommittedChange, index: int) -> pgoutput.TupleValue:
    """Return a column of the new tuple, of the old tuple for DELETE. An unchanged TOASTed value is
    taken from the old tuple if that is complete.
    """
    change = committed.change
    if change.new is None:
        return change.old[index] if change.old is not None else None
    value = change.new[index]
    if value is pgoutput.UNCHANGED_TOAST and change.old is not None and not change.old_is_key:
        return change.old[index]
    return value


def is_known_null(committed: CommittedChange, index: int) -> bool:
    """Return whether the value is NULL, as opposed to absent from the message."""
    change = committed.change
    if change.new is None and change.old_is_key:
        return change.relation.columns[index].in_replica_identity
    return value_of(committed, index) is None
