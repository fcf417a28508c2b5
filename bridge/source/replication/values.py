"""Converts PostgreSQL's text of a value to the JSON value that Realtime and PostgREST send for it.

No I/O. The session has to have the settings of `connection.SESSION`, on which the text of times,
bytes and floats depends. `normalize` does to the result what it does to that of the other source.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from bridge.source.normalize import normalizer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.changes import Json

    Convert: TypeAlias = Callable[[str], Json]

_HSTORE: Final = re.compile(r'"((?:[^"\\]|\\.)*)"=>(?:"((?:[^"\\]|\\.)*)"|NULL)(?:, |$)', re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_ISO_UTC: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?\+00")


def text_value(text: str) -> Json:
    return text


def _bool(text: str) -> Json:
    return text == "t"


def _numeric(text: str) -> Json:
    if text.isdigit() or text[1:].isdigit():
        try:
            return int(text)
        except ValueError:  # Python converts no integer of more than 4,300 digits
            return float(text)
    return _float(text)


_EXACT: Final = 2.0**53

_normal_json: Final = normalizer("json")
_normal_jsonb: Final = normalizer("jsonb")
_normal_time: Final = normalizer("timestamptz")


def _float(text: str) -> Json:
    value = float(text)
    if value.is_integer() and -_EXACT < value < _EXACT:
        return int(value)
    return None if text in ("NaN", "Infinity", "-Infinity") else value


def _number(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def _json(text: str) -> Json:
    return _normal_json(json.loads(text, parse_int=_number))


def _jsonb(text: str) -> Json:
    return _normal_jsonb(json.loads(text, parse_int=_number))


def _timestamp(text: str) -> Json:
    if len(text) <= 32 and _ISO_UTC.fullmatch(text):  # noqa: PLR2004 - what the pattern matches
        return f"{text[:10]}T{text[11:-3]}Z"
    return _normal_time(text)


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


def hstore(text: str) -> Json:
    """Convert an hstore, which PostgREST and Realtime send as an object."""
    return {
        _unescaped(key): None if raw is None else _unescaped(raw)
        for key, raw in ((m[1], m[2]) for m in _HSTORE.finditer(text))
    }


CONVERTERS: Final[dict[str, Convert]] = {
    "bool": _bool,
    "int2": int,
    "int4": int,
    "int8": int,
    "numeric": _numeric,
    "float4": _float,
    "float8": _float,
    "json": _json,
    "jsonb": _jsonb,
    "timestamp": _timestamp,
    "timestamptz": _timestamp,
    "hstore": hstore,
    "int2vector": lambda text: [*map(int, text.split())],
    "oidvector": lambda text: [*text.split()],
}
"""By the name of the type. All other types are sent as their text."""


def _iso_time(text: str) -> Json:
    """Return a time as PostgreSQL writes it in JSON."""
    day, blank, time = text.partition(" ")
    return f"{day}T{time}:00" if time.endswith("+00") else f"{day}{blank and 'T'}{time}"


def _not_finite(convert: Convert) -> Convert:
    return lambda text: text if text in ("NaN", "Infinity", "-Infinity") else convert(text)


IN_RECORDS: Final[dict[str, Convert]] = {
    "timestamp": _iso_time,
    "timestamptz": _iso_time,
    "numeric": _not_finite(_numeric),
    "float4": _not_finite(_float),
    "float8": _not_finite(_float),
}
"""For members of composite types, which are not normalized: their types are not known to
PostgREST's reader."""


def array_of(convert: Convert, delimiter: str) -> Convert:
    """Return the converter of an array, whose elements `convert` converts."""

    def converted(text: str) -> Json:
        if text.startswith("["):  # lower bounds other than 1
            text = text[text.index("=") + 1 :]
        return _ArrayReader(text, convert, delimiter).read()

    return converted


class _ArrayReader:
    """Reads the text of an array, such as `{{1,NULL},{"a,b",c}}`."""

    def __init__(self, text: str, convert: Convert, delimiter: str) -> None:
        self._text = text
        self._convert = convert
        self._stop = delimiter + "}"
        self._at = 0

    def read(self) -> list[Json]:
        self._at += 1  # the brace
        items: list[Json] = []
        text = self._text
        while text[self._at] != "}":
            mark = text[self._at]
            if mark == "{":
                items.append(self.read())
            elif mark == '"':
                items.append(self._convert(self._quoted()))
            else:
                start = self._at
                while text[self._at] not in self._stop:
                    self._at += 1
                plain = text[start : self._at]
                items.append(None if plain == "NULL" else self._convert(plain))
            if text[self._at] != "}":
                self._at += 1  # the delimiter
        self._at += 1
        return items

    def _quoted(self) -> str:
        start = self._at = self._at + 1
        text = self._text
        while text[self._at] != '"':
            self._at += 2 if text[self._at] == "\\" else 1
        self._at += 1
        return _unescaped(text[start : self._at - 1])


def record_of(fields: Sequence[tuple[str, Convert]]) -> Convert:
    """Return the converter of a composite type with these fields."""

    def converted(text: str) -> Json:
        values = _record_fields(text)
        return {
            name: None if value is None else convert(value)
            for (name, convert), value in zip(fields, values, strict=True)
        }

    return converted


def _record_fields(text: str) -> list[str | None]:
    """Return the fields of the text of a record, such as `(1,,"a b",x)`; quotes are doubled."""
    fields: list[str | None] = []
    at, end = 1, len(text) - 1
    while at <= end:
        parts: list[str] = []
        empty = text[at] in ",)"
        while at < end and text[at] != ",":
            if text[at] == '"':
                at += 1
                while True:
                    if text[at] == '"':
                        if text[at + 1 : at + 2] != '"':
                            at += 1
                            break
                        at += 1  # a doubled quote
                    elif text[at] == "\\":
                        at += 1
                    parts.append(text[at])
                    at += 1
            else:
                if text[at] == "\\":
                    at += 1
                parts.append(text[at])
                at += 1
        fields.append(None if empty else "".join(parts))
        at += 1  # the comma, or the parenthesis
    return fields


def is_plain(convert: Any) -> bool:
    """Return whether a value is its own text."""
    return convert is text_value
