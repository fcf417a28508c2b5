"""One spelling per value, so that a row read from the table equals the same row from the stream.

The two surfaces of Supabase write some values differently, and a difference in spelling must never
be told as a change.
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
    """`value` as it is remembered, compared and sent.

    - A timestamp becomes RFC 3339 in UTC with `Z`; its fraction is kept as given. One without an
      offset (`timestamp without time zone`) is taken as UTC.
    - A float without a fraction becomes an int: `100.0` and `100` are one JSON number.
    - Half of a surrogate pair, which a `json` column may hold as an escape and UTF-8 can't spell,
      becomes the replacement character.
    - Everything else stays. Strings that merely contain a timestamp stay.
    """
    if type(value) is str:
        if not value.isascii():
            return _sound(value)
        if len(value) >= _SHORTEST_TIMESTAMP and value[4] == "-" and value[10] in "T ":
            return _timestamp(value)
        return value
    if type(value) is float:
        if value.is_integer() and abs(value) < _EXACT_FLOAT:
            return int(value)
        return value
    if type(value) is dict:
        return _number(value)
    if type(value) is list:
        return [normalize(item) if type(item) is not dict else _number(item) for item in value]
    return value


def _number(value: Json) -> Json:
    """Inside `json` and `jsonb` only numbers are respelled: their strings are the user's own, as
    far as they can be spelled at all.
    """
    if type(value) is str:
        return value if value.isascii() else _sound(value)
    if type(value) is float:
        return normalize(value)
    if type(value) is dict:
        return {key if key.isascii() else _sound(key): _number(item) for key, item in value.items()}
    if type(value) is list:
        return [_number(item) for item in value]
    return value


def _sound(text: str) -> str:
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
