"""Normalizes values, so that a row read from the table equals the same row from the stream.

Realtime and PostgREST serialize some values differently, and such a difference must never be
published as a change.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.changes import Json

_TIMESTAMP = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(\.\d+)?(Z|z|[+-]\d\d(?::?\d\d)?(?::\d\d)?)?"
)
_SHORTEST_TIMESTAMP = len("2023-02-01T00:00:00")
_EXACT_FLOAT = 2.0**53


def normalize(value: Json) -> Json:
    """Return `value` as it is stored, compared and sent.

    - A timestamp becomes RFC 3339 in UTC with `Z`; its fraction is kept as given. One without an
      offset (`timestamp without time zone`) is read as UTC.
    - A float without a fraction becomes an int: `100.0` and `100` are one JSON number.
    - Half of a surrogate pair, which a `json` column may hold as an escape and UTF-8 cannot encode,
      becomes the replacement character.
    - Every other value is unchanged, including strings that contain a timestamp.
    """
    if type(value) is str:
        if not value.isascii():
            return _encodable(value)
        if len(value) >= _SHORTEST_TIMESTAMP and value[4] == "-" and value[10] in "T ":
            return _timestamp(value)
        return value
    if type(value) is float:
        if value.is_integer() and abs(value) < _EXACT_FLOAT:
            return int(value)
        return value
    if type(value) is dict:
        return _nested(value)
    if type(value) is list:
        return [normalize(item) if type(item) is not dict else _nested(item) for item in value]
    return value


def _nested(value: Json) -> Json:
    """Normalize inside `json` and `jsonb`: numbers and surrogates only, since strings there are
    not timestamps of columns.
    """
    if type(value) is str:
        return value if value.isascii() else _encodable(value)
    if type(value) is float:
        return normalize(value)
    if type(value) is dict:
        return {
            key if key.isascii() else _encodable(key): _nested(item) for key, item in value.items()
        }
    if type(value) is list:
        return [_nested(item) for item in value]
    return value


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _timestamp(text: str) -> str:
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        return text
    day, time, fraction, offset = match.groups()
    if offset in (None, "Z", "z", "+00", "+00:00", "-00", "-00:00", "+0000", "+00:00:00"):
        return f"{day}T{time}{fraction or ''}Z"
    try:
        moment = datetime.fromisoformat(f"{day}T{time}{offset}").astimezone(UTC)
    except (ValueError, OverflowError):
        return text
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction or ''}Z"
