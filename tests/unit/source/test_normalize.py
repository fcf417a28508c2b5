"""Normalization of values from the stream and from table reads."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.source.normalize import normalize


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
        (100.0, 100),
        (0.5, 0.5),
        ([1.0, "2023-02-01T00:00:00+00:00"], [1, "2023-02-01T00:00:00Z"]),
        (
            {"n": 2.0, "at": "2023-02-01T00:00:00+00:00"},
            {"n": 2, "at": "2023-02-01T00:00:00+00:00"},
        ),
    ],
)
def test_value_is_normalized(given_: object, expected: object) -> None:
    assert normalize(given_) == expected
    assert type(normalize(given_)) is type(expected)


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
    assert normalize(value) == value
    assert type(normalize(value)) is type(value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_normalization_is_idempotent(value: object) -> None:
    assert normalize(normalize(value)) == normalize(value)


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
