"""Decodes the payload of a `postgres_changes` message to a `Change`. No I/O.

The payload is `data` of Realtime's message, as the `realtime` package passes it to callbacks. A
payload that Realtime is known to truncate is marked as `truncated`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bridge.changes import Change, Op
from bridge.source.column_types import ColumnTypes, is_comparable
from bridge.source.normalize import normalize, normalize_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.changes import Json, Key
    from bridge.projection import Projection

_TRUNCATED_TYPES = frozenset({"bpchar", "bit", "_bpchar", "_bit"})
"""Types of which Realtime sends only the first character (`char(2)` 'TX' is sent as 'T')."""


class UnreadableChangeError(ValueError):
    """A payload without the key of a row: the change is lost. `updated_at`: that of the row, where
    it can be read; it shows how far the stream is.
    """

    updated_at: Json = None


def decode(
    data: Mapping[str, Any], projection: Projection, known_types: ColumnTypes | None = None
) -> Change | None:
    """Return the change of a payload; None if it is a change of another table. `known_types` are
    those of the table, which the types of the payload are added to.

    Raises `UnreadableChangeError` if the key of the row cannot be decoded.
    """
    try:
        return _change(data, projection, known_types or ColumnTypes())
    except UnreadableChangeError as error:
        record, column = data.get("record"), projection.updated_at
        if isinstance(record, dict) and column is not None:
            error.updated_at = normalize(record.get(column), "timestamptz")
        raise
    except (KeyError, TypeError, AttributeError) as error:
        # Without the payload, which may hold a row.
        raise UnreadableChangeError(
            f"expected a change in Realtime's format, got another one ({type(error).__name__})"
        ) from None


def _change(
    data: Mapping[str, Any], projection: Projection, known_types: ColumnTypes
) -> Change | None:
    if data.get("schema") != projection.schema or data.get("table") != projection.table:
        return None
    op = _op(data.get("type"))
    columns = data.get("columns") or ()
    if columns:
        known_types.observe(columns)
    types = {column["name"]: column["type"] for column in columns}
    errors = data.get("errors")
    unreliable = _unreliable_columns(types, known_types, projection)
    record = _known_columns(data.get("record") or {}, types, known_types, projection)
    raw_old = data.get("old_record") or {}
    if types.get(projection.key) in _TRUNCATED_TYPES:
        raise UnreadableChangeError(f"the key {projection.key} has a type that Realtime truncates")
    key_type = known_types.get(projection.key)
    key = _key(
        raw_old if op is Op.DELETE else data.get("record") or {}, key_type, projection, errors
    )
    old_key = None
    if op is Op.UPDATE and raw_old.get(projection.key) is not None:
        old_key = _key(raw_old, key_type, projection, errors)
    committed_at = data.get("commit_timestamp")
    old = _known_columns(raw_old, types, known_types, projection)
    return Change(
        op=op,
        key=key,
        record={} if op is Op.DELETE else record,
        committed_at=normalize(committed_at, "timestamptz")
        if isinstance(committed_at, str)
        else "",
        old=old if len(old) == len(projection.known) and not errors else None,
        old_key=old_key if old_key != key else None,
        truncated=op is not Op.DELETE and (bool(errors) or bool(unreliable)),
    )


def _op(value: Any) -> Op:
    try:
        return Op(getattr(value, "value", value))
    except ValueError:
        raise UnreadableChangeError(f"expected INSERT, UPDATE or DELETE, got {value!r}") from None


def _key(record: Mapping[str, Json], key_type: str, projection: Projection, errors: Any) -> Key:
    key = normalize_key(_as_read(record.get(projection.key), key_type), key_type)
    if isinstance(key, str | int) and not isinstance(key, bool):
        return key
    raise UnreadableChangeError(
        f"expected the row's {projection.key}, got {type(key).__name__} "
        f"(columns {sorted(record)}, errors {errors})"
    )


def _known_columns(
    record: Mapping[str, Json],
    types: Mapping[str, str],
    known_types: ColumnTypes,
    projection: Projection,
) -> dict[str, Json]:
    known = {}
    for column in projection.known:
        if column not in record or types.get(column) in _TRUNCATED_TYPES:
            continue
        type_name = known_types.get(column)
        known[column] = normalize(_as_read(record[column], type_name), type_name)
    return known


def _as_read(value: Json, type_name: str) -> Json:
    """Return a value of the stream as PostgREST serializes it."""
    return "\\x" + value if type_name == "bytea" and isinstance(value, str) else value


def _unreliable_columns(
    types: Mapping[str, str], known_types: ColumnTypes, projection: Projection
) -> list[str]:
    """Return the columns whose values a read shows differently, or whole."""
    return [
        column
        for column in projection.known
        if column in types
        and (types[column] in _TRUNCATED_TYPES or not is_comparable(known_types.get(column)))
    ]
