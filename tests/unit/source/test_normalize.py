"""Normalization of values from the stream and from table reads."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.source.normalize import normalize, normalize_key


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("2023-02-01T00:00:00+00:00", "2023-02-01T00:00:00Z"),
        ("2023-02-01T00:00:00.120+00:00", "2023-02-01T00:00:00.120Z"),
        ("2023-02-01T01:00:00.5+01:00", "2023-02-01T00:00:00.5Z"),
        ("2023-02-01T00:30:00-05:30", "2023-02-01T06:00:00Z"),
        ("2023-02-01T00:00:00", "2023-02-01T00:00:00Z"),
        ("2023-02-01 00:00:00+00", "2023-02-01T00:00:00Z"),
        ("2023-02-01T00:00:00Z", "2023-02-01T00:00:00Z"),
        ("0001-01-01T00:30:00+01:00", "0001-12-31T23:30:00Z BC"),
        ("0001-12-31T23:30:00-01:00 BC", "0001-01-01T00:30:00Z"),
        ("0001-01-01T00:00:00+00:00", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:30:00-01:00", "10000-01-01T00:30:00Z"),
        ("294276-12-31T23:00:00+05:30", "294276-12-31T17:30:00Z"),
        (["2023-02-01T00:00:00+00:00", None], ["2023-02-01T00:00:00Z", None]),
    ],
)
@pytest.mark.parametrize("type_", ["timestamptz", "timestamp with time zone", "timestamp(3)"])
def test_timestamp_is_utc(given_: object, expected: object, type_: str) -> None:
    assert normalize(given_, type_) == expected


@pytest.mark.parametrize(
    "type_", ["text", "jsonb", "text[]", "_text", "varchar(40)", "", "public.x"]
)
@pytest.mark.parametrize(
    "value", ["2024-01-01T00:00:00+02:00", "2024-99-99 00:00:00", ["2024-01-01 00:00:00"]]
)
def test_text_spelled_like_a_timestamp_is_unchanged(value: object, type_: str) -> None:
    assert normalize(value, type_) == value


@pytest.mark.parametrize(
    ("given_", "type_", "expected"),
    [
        (100.0, "numeric", 100),
        (0.5, "numeric", 0.5),
        ("NaN", "numeric", None),
        ("Infinity", "double precision", None),
        (10**16, "float8", 1e16),
        ([10**16, [10**16]], "_float8", [1e16, [1e16]]),
        (10**16, "int8", 10**16),
        ({"n": 2.0, "big": [10**16]}, "json", {"n": 2, "big": [1e16]}),
        ({"n": 2.0, "big": [10**16]}, "jsonb", {"n": 2, "big": [10**16]}),
        (10**400, "json", float("inf")),
    ],
)
def test_number_is_normalized(given_: object, type_: str, expected: object) -> None:
    assert normalize(given_, type_) == expected
    assert type(normalize(given_, type_)) is type(expected)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (2**53 - 1, 2**53 - 1),
        (2**53, "9007199254740992"),
        (-(2**53) + 1, -(2**53) + 1),
        (-(2**53), "-9007199254740992"),
        (10**30, "1" + "0" * 30),
        ("9007199254740993", "9007199254740993"),
    ],
)
def test_key_that_javascript_cannot_hold_is_a_string(key: object, expected: object) -> None:
    assert normalize_key(key, "int8") == expected


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        "infinity",
        "0044-03-15 BC",
        "Oak View, since 2023-02-01T00:00:00+00:00",
        "2023-02-01",
        "9999-99-99T99:99:99+99:99",
        9007199254740993,
        1e300,
        12345678901234567890,
    ],
)
def test_other_values_are_unchanged(value: object) -> None:
    for type_ in ("timestamptz", ""):
        assert normalize(value, type_) == value
        assert type(normalize(value, type_)) is type(value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.sampled_from(["", "timestamptz", "float8", "numeric", "json", "jsonb", "text"]),
)
def test_normalization_is_idempotent(value: object, type_: str) -> None:
    assert normalize(normalize(value, type_), type_) == normalize(value, type_)


@pytest.mark.parametrize(
    ("value", "sound"),
    [
        ("a\ud800b", "a\ufffdb"),
        ("\udfff", "\ufffd"),
        ("\ud83d\udca5", "\U0001f4a5"),  # both halves, each escaped
        ({"\ud800": ["\ud800", {"a": "\udc00"}]}, {"\ufffd": ["\ufffd", {"a": "\ufffd"}]}),
        (["\ud800"], ["\ufffd"]),
        ("é\U0001f4a5", "é\U0001f4a5"),
    ],
)
def test_lone_surrogate_is_replaced(value: Any, sound: Any) -> None:
    assert normalize(value) == sound
    orjson.dumps(normalize(value))
