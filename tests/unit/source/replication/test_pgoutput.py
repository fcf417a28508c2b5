"""`pgoutput` messages, byte by byte as PostgreSQL documents them."""

from __future__ import annotations

import struct

import pytest

from bridge.changes import Op
from bridge.source.replication import pgoutput
from bridge.source.replication.pgoutput import UNCHANGED, RelationColumn

OID = 16_500


def relation(identity: bytes = b"d", *names: str) -> bytes:
    columns = b"".join(
        struct.pack(">B", n == 0) + name.encode() + b"\0" + struct.pack(">Ii", 25, -1)
        for n, name in enumerate(names or ("id", "body"))
    )
    head = b"R" + struct.pack(">I", OID) + b"public\0listings\0" + identity
    return head + struct.pack(">H", len(names or ("id", "body"))) + columns


def row(*values: str | bytes | None) -> bytes:
    """A tuple: str is text, None null, b"u" an unchanged large value."""
    parts = []
    for value in values:
        if value is None:
            parts.append(b"n")
        elif isinstance(value, bytes):
            parts.append(value)
        else:
            encoded = value.encode()
            parts.append(b"t" + struct.pack(">I", len(encoded)) + encoded)
    return struct.pack(">H", len(values)) + b"".join(parts)


def change(kind: bytes, rest: bytes) -> bytes:
    return kind + struct.pack(">I", OID) + rest


@pytest.fixture
def decoder() -> pgoutput.Decoder:
    decoder = pgoutput.Decoder()
    decoder.decode(relation())
    return decoder


def decoded(decoder: pgoutput.Decoder, data: bytes) -> pgoutput.RowMessage:
    message = decoder.decode(data)
    assert isinstance(message, pgoutput.RowMessage)
    return message


def test_begin_tells_position_time_and_transaction() -> None:
    data = b"B" + struct.pack(">QqI", 0x1_6B37_48A8, 817_000_000_000_000, 742)
    assert pgoutput.Decoder().decode(data) == pgoutput.BeginMessage(
        0x1_6B37_48A8, 817_000_000_000_000, 742
    )


def test_commit_tells_both_positions_and_the_time() -> None:
    data = b"C" + struct.pack(">BQQq", 0, 10, 20, 30)
    assert pgoutput.Decoder().decode(data) == pgoutput.CommitMessage(10, 20, 30)


def test_a_relation_names_its_columns_and_its_identity() -> None:
    assert pgoutput.Decoder().decode(relation(b"f")) == pgoutput.Relation(
        OID,
        "public",
        "listings",
        "f",
        (
            RelationColumn("id", 25, -1, in_identity=True),
            RelationColumn("body", 25, -1, in_identity=False),
        ),
    )


def test_an_empty_schema_is_pg_catalog() -> None:
    data = b"R" + struct.pack(">I", 1) + b"\0t\0d" + struct.pack(">H", 0)
    message = pgoutput.Decoder().decode(data)
    assert isinstance(message, pgoutput.Relation)
    assert message.schema == "pg_catalog"


def test_an_insert_has_a_new_row_only(decoder: pgoutput.Decoder) -> None:
    message = decoded(decoder, change(b"I", b"N" + row("7", None)))
    assert (message.op, message.new, message.old) == (Op.INSERT, ("7", None), None)


def test_an_update_that_keeps_its_key_has_no_old_row(decoder: pgoutput.Decoder) -> None:
    message = decoded(decoder, change(b"U", b"N" + row("7", "x")))
    assert (message.op, message.new, message.old) == (Op.UPDATE, ("7", "x"), None)


def test_an_update_that_changes_its_key_has_the_old_key(decoder: pgoutput.Decoder) -> None:
    message = decoded(decoder, change(b"U", b"K" + row("7", None) + b"N" + row("8", "x")))
    assert (message.old, message.old_is_key, message.new) == (("7", None), True, ("8", "x"))


def test_an_update_under_full_identity_has_the_whole_old_row(decoder: pgoutput.Decoder) -> None:
    message = decoded(decoder, change(b"U", b"O" + row("7", "w") + b"N" + row("7", "x")))
    assert (message.old, message.old_is_key) == (("7", "w"), False)


def test_a_large_value_that_did_not_change_is_neither_null_nor_text(
    decoder: pgoutput.Decoder,
) -> None:
    message = decoded(decoder, change(b"U", b"N" + row("7", b"u")))
    assert message.new == ("7", UNCHANGED)


def test_a_delete_has_the_key(decoder: pgoutput.Decoder) -> None:
    message = decoded(decoder, change(b"D", b"K" + row("7", None)))
    assert (message.op, message.new, message.old, message.old_is_key) == (
        Op.DELETE,
        None,
        ("7", None),
        True,
    )


def test_a_delete_under_full_identity_has_the_whole_row(decoder: pgoutput.Decoder) -> None:
    message = decoded(decoder, change(b"D", b"O" + row("7", "x")))
    assert (message.old, message.old_is_key) == (("7", "x"), False)


def test_text_is_utf_8(decoder: pgoutput.Decoder) -> None:
    message = decoded(decoder, change(b"I", b"N" + row("7", "São Tomé 🏠")))
    assert message.new == ("7", "São Tomé 🏠")


def test_a_later_relation_message_replaces_the_earlier(decoder: pgoutput.Decoder) -> None:
    decoder.decode(relation(b"d", "id", "body", "zoning"))
    message = decoded(decoder, change(b"I", b"N" + row("7", "x", "R1")))
    assert [column.name for column in message.relation.columns] == ["id", "body", "zoning"]


def test_truncate_names_the_tables() -> None:
    data = b"T" + struct.pack(">IBII", 2, 3, 5, 6)
    assert pgoutput.Decoder().decode(data) == pgoutput.TruncateMessage(
        (5, 6), cascade=True, restart_identity=True
    )


@pytest.mark.parametrize("kind", [b"Y", b"O", b"M"], ids=["type", "origin", "message"])
def test_messages_that_are_not_about_rows_say_nothing(kind: bytes) -> None:
    assert pgoutput.Decoder().decode(kind + b"whatever") is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"Z",
        b"B\0\0",
        change(b"I", b"N" + row("7", None))[:-1],
        change(b"I", b"N" + row("7", "long"))[:-2],
        change(b"I", b"N" + struct.pack(">H", 1) + b"x"),
        change(b"I", b"N" + struct.pack(">H", 1) + b"t" + struct.pack(">I", 1) + b"\xff"),
    ],
    ids=[
        "empty",
        "unknown kind",
        "cut begin",
        "cut row",
        "cut value",
        "unknown value",
        "not UTF-8",
    ],
)
def test_bytes_that_are_no_message_are_refused(decoder: pgoutput.Decoder, data: bytes) -> None:
    with pytest.raises(pgoutput.MalformedMessageError):
        decoder.decode(data)


def test_a_row_of_an_unexplained_table_is_refused() -> None:
    with pytest.raises(pgoutput.MalformedMessageError, match="before its Relation"):
        pgoutput.Decoder().decode(change(b"I", b"N" + row("7")))
