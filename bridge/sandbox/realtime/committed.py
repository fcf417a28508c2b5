"""A committed row change, as the stages after decoding pass it on. Pure."""

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
"""Bytes of one row's WAL as JSON; above it values are cut."""

MAX_ESCAPED_BYTES = 6
"""Bytes of JSON that one byte of text can become."""
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(eq=False, slots=True)
class CommittedChange:
    """A row change and its commit time as messages show it."""

    change: pgoutput.RowMessage
    timestamp: str
    too_large: bool = False
    visible_to: dict[pg_catalog.ReaderRole, bool] = field(default_factory=dict)


def timestamp(microseconds: int) -> str:
    """UTC with milliseconds, cut and not rounded."""
    moment = EPOCH + timedelta(microseconds=microseconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def is_too_large(change: pgoutput.RowMessage) -> bool:
    """Whether the row's WAL, written as JSON, passes the limit. Unchanged large values that are
    only in the table do not count: they are filled in after this test.
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
    """Where columns of these names stand in a row. Raises KeyError for one that is not there."""
    at = {column.name: place for place, column in enumerate(relation.columns)}
    return [at[name] for name in names]


def value_of(committed: CommittedChange, place: int) -> pgoutput.TupleValue:
    """Of the new row, for DELETE of what the old row carries; an unchanged large value is filled in
    from the old row where that is whole.
    """
    change = committed.change
    if change.new is None:
        return change.old[place] if change.old is not None else None
    value = change.new[place]
    if value is pgoutput.UNCHANGED_TOAST and change.old is not None and not change.old_is_key:
        return change.old[place]
    return value


def is_known_null(committed: CommittedChange, place: int) -> bool:
    """Whether the value is null, as opposed to not told."""
    change = committed.change
    if change.new is None and change.old_is_key:
        return change.relation.columns[place].in_replica_identity
    return value_of(committed, place) is None
