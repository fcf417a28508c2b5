"""Encoding of rows: numbers that JSON has and orjson rejects."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from bridge.rows import RowStore


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (2**64 - 1, 2**64 - 1),
        (10**300, 1e300),
        (-(10**300), -1e300),
        (10**400, None),
        (-(10**400), None),
        (float("inf"), None),
        ([1, {"a": 10**400}], [1, {"a": None}]),
    ],
)
def test_number_of_any_size_is_stored_as_a_browser_reads_it(value: Any, kept: Any) -> None:
    rows = RowStore(("price",))
    assert orjson.loads(rows.encode({"price": value})) == [kept]
