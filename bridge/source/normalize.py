"""Normalizes values by their PostgreSQL type, so that a row read from the table equals the same row
from the stream.

Realtime and PostgREST serialize some values differently, and such a difference must never be
published as a change. A value's spelling decides nothing: a text that looks like a timestamp is a
text.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from bridge.changes import safe_key
from bridge.source.column_types import canonical_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.changes import Json
_TIMESTAMP = re.compile(
    r"(\d{4,})(-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(\.\d+)?(Z|z|[+-]\d\d(?::?\d\d)?(?::\d\d)?)?( BC)?"
)
_UTC_OFFSETS = (None, "Z", "z", "+00", "+00:00", "-00", "-00:00", "+0000", "+00:00:00")
_EXACT_FLOAT = 2.0**53

CYCLE_YEARS: Final = 400
"""Years after which the Gregorian calendar repeats: a year that `datetime` does not have is
converted as one that it has."""


def normalize(value: Json, type_name: str = "") -> Json:
    """Return `value` of that type as it is stored, compared and sent.

    - A `timestamptz` or `timestamp` becomes RFC 3339 in UTC with `Z`; its fraction is kept as
      given. A `timestamp` is read as UTC.
    - A float without a fraction becomes an int: `100.0` and `100` are one JSON number.
    - NaN and the infinities of number columns become null, which Realtime sends for them.
    - Half of a surrogate pair, which a `json` column may hold as an escape and UTF-8 cannot encode,
      becomes the replacement character.
    - Elements of an array are values of its element type.
    - Every other value is unchanged; so are all texts of a column without a known type.
    """
    return normalizer(type_name)(value)


@lru_cache(maxsize=4096)
def normalizer(type_name: str) -> Callable[[Json], Json]:
    """Return the function that normalizes values of a type, by any of its names."""
    return _NORMALIZERS.get(canonical_type(type_name).removesuffix("[]"), _plain)


def normalize_key(value: Json, type_name: str = "") -> Json:
    """Return the value of a key column, as a string or an integer: an integer that JavaScript can't
    hold becomes its digits, since two keys would be one there; a fraction or a boolean its text.
    Any other value is no key.
    """
    key = normalizer(type_name)(value)
    if type(key) is int:
        return safe_key(key)
    if type(key) is bool:
        return "true" if key else "false"
    return str(key) if type(key) is float and abs(key) < _EXACT_FLOAT else key


def _plain(value: Json) -> Json:
    if type(value) is str:
        return value if value.isascii() else _encodable(value)
    if type(value) is float:
        if value.is_integer() and abs(value) < _EXACT_FLOAT:
            return int(value)
        return value
    if type(value) is dict:
        return {
            key if key.isascii() else _encodable(key): _plain(item) for key, item in value.items()
        }
    if type(value) is list:
        return [_plain(item) for item in value]
    return value


def _number(value: Json) -> Json:
    if type(value) is list:
        return [_number(item) for item in value]
    return None if type(value) is str else _plain(value)


def _float(value: Json) -> Json:
    """PostgREST sends `1e+16`, Realtime all digits."""
    if type(value) is list:
        return [_float(item) for item in value]
    if type(value) is int and abs(value) >= _EXACT_FLOAT:
        return _as_float(value)
    return _number(value)


def _json_text(value: Json) -> Json:
    """A `json` keeps its spelling in PostgREST, and is a `jsonb` in Realtime: `1e16` here, all
    digits there.
    """
    if type(value) is dict:
        return {_plain(key): _json_text(item) for key, item in value.items()}
    if type(value) is list:
        return [_json_text(item) for item in value]
    if type(value) is int and abs(value) >= _EXACT_FLOAT:
        return _as_float(value)
    return _plain(value)


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _timestamp(value: Json) -> Json:
    if type(value) is list:
        return [_timestamp(item) for item in value]
    match = _TIMESTAMP.fullmatch(value) if type(value) is str else None
    if match is None:
        return _plain(value)  # infinity
    year, day, time, fraction, offset, before_christ = match.groups()
    fraction, era = fraction or "", before_christ or ""
    if offset in _UTC_OFFSETS:
        return f"{year}{day}T{time}{fraction}Z{era}"
    number = 1 - int(year) if era else int(year)
    cycles = (number - CYCLE_YEARS) // CYCLE_YEARS  # leaves 400 to 799, clear of both ends
    try:
        moment = datetime.fromisoformat(
            f"{number - cycles * CYCLE_YEARS:04d}{day}T{time}{offset}"
        ).astimezone(UTC)
    except ValueError:
        return value
    number = moment.year + cycles * CYCLE_YEARS
    era = " BC" if number < 1 else ""
    return f"{1 - number if era else number:04d}{moment:-%m-%dT%H:%M:%S}{fraction}Z{era}"


_NORMALIZERS: Final[dict[str, Callable[[Json], Json]]] = {
    "timestamptz": _timestamp,
    "timestamp": _timestamp,
    "float4": _float,
    "float8": _float,
    "numeric": _number,
    "json": _json_text,
}
