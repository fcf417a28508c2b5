"""Texts of PostgreSQL become JSON; the types of a real server are in `test_replication_values`."""

from __future__ import annotations

import pytest

from bridge.source.replication import values
from bridge.source.replication.faults import advice_on
from bridge.source.replication.snapshot import fields


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"1\ttext\t\n", ["1", "text", ""]),
        (b"\\N\t\\\\N\n", [None, "\\N"]),
        (b"a\\tb\\nc\\\\d\n", ["a\tb\nc\\d"]),
    ],
)
def test_row_of_copy_is_split_into_its_fields(line: bytes, expected: list[str | None]) -> None:
    assert fields(line) == expected


def test_record_has_the_fields_of_its_type() -> None:
    convert = values.record_of([("a", int), ("b", values.text_value), ("c", values.text_value)])
    assert convert('(1,"x ""y"", \\\\",)') == {"a": 1, "b": 'x "y", \\', "c": None}
    assert convert('(,"",)') == {"a": None, "b": "", "c": None}


def test_hstore_is_an_object() -> None:
    text = '"a"=>"1", "b \\"c\\""=>NULL, "d"=>"x, y"'
    assert values.hstore(text) == {"a": "1", 'b "c"': None, "d": "x, y"}


def test_number_of_thousands_of_digits_is_infinite() -> None:
    assert values.CONVERTERS["numeric"]("9" * 5000) == float("inf")


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ('FATAL: unsupported startup parameter: "replication"', "pooler"),
        ('replication slot "bridge" is active for PID 7', "BRIDGE_SLOT"),
        ("password authentication failed for user", "PGPASSFILE"),
        ("cannot execute CREATE PUBLICATION in a read-only transaction", "standby"),
        ("something else", None),
    ],
)
def test_error_has_advice(message: str, advice: str | None) -> None:
    found = advice_on(message)
    assert (advice is None) == (found is None)
    assert advice is None or (found is not None and advice in found)
