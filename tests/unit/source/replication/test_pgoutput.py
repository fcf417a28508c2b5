"""pgoutput messages, built byte by byte as PostgreSQL documents them."""

from __future__ import annotations

import struct

import pytest

from bridge.changes import Op
from bridge.source.replication import pgoutput
from bridge.source.replication.pgoutput import UNCHANGED_TOAST, RelationColumn

OID = 16_500


def relation(identity: bytes = b"d", *names: str) -> bytes:
    columns = b"".join(
        struct.pack(">B", n == 0) + name.encode() + b"\0" + struct.pack(">Ii", 25, -1)
        for n, name in enumerate(names or ("id", "body"))
    )
    head = b"R" + struct.pack(">I", OID) + b"public\0listings\0" + identity
    return head + struct.pack(">H", len(names or ("id", "body"))) + columns


def row(*values: str | bytes | None) -> bytes:
    """TupleData: str is text, None is NULL, b"u" an unchanged TOASTed value."""
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
def decoder() -> pgoutput.PgoutputDecoder:
    decoder = pgoutput.PgoutputDecoder()
    decoder.decode(relation())
    return decoder


def decoded(decoder: pgoutput.PgoutputDecoder, data: bytes) -> pgoutput.RowMessage:
    message = decoder.decode(data)
    assert isinstance(message, pgoutput.RowMessage)
    return message


def test_begin_has_lsn_timestamp_and_xid() -> None:
    data = b"B" + struct.pack(">QqI", 0x1_6B37_48A8, 817_000_000_000_000, 742)
    assert pgoutput.PgoutputDecoder().decode(data) == pgoutput.BeginMessage(
        0x1_6B37_48A8, 817_000_000_000_000, 742
    )


def test_commit_has_both_lsns_and_the_timestamp() -> None:
    data = b"C" + struct.pack(">BQQq", 0, 10, 20, 30)
    assert pgoutput.PgoutputDecoder().decode(data) == pgoutput.CommitMessage(10, 20, 30)


def test_relation_has_columns_and_replica_identity() -> None:
    assert pgoutput.PgoutputDecoder().decode(relation(b"f")) == pgoutput.Relation(
        OID,
        "public",
        "listings",
        "f",
        (
            RelationColumn("id", 25, -1, in_replica_identity=True),
            RelationColumn("body", 25, -1, in_replica_identity=False),
        ),
    )


def test_empty_namespace_is_pg_catalog() -> None:
    data = b"R" + struct.pack(">I", 1) + b"\0t\0d" + struct.pack(">H", 0)
    message = pgoutput.PgoutputDecoder().decode(data)
    assert isinstance(message, pgoutput.Relation)
    assert message.schema == "pg_catalog"


def test_insert_has_a_new_tuple_only(decoder: pgoutput.PgoutputDecoder) -> None:
    message = decoded(decoder, change(b"I", b"N" + row("7", None)))
    assert (message.op, message.new, message.old) == (Op.INSERT, ("7", None), None)


def test_update_without_key_change_has_no_old_tuple(decoder: pgoutput.PgoutputDecoder) -> None:
    message = decoded(decoder, change(b"U", b"N" + row("7", "x")))
    assert (message.op, message.new, message.old) == (Op.UPDATE, ("7", "x"), None)


def test_update_with_key_change_has_the_old_key(decoder: pgoutput.PgoutputDecoder) -> None:
    message = decoded(decoder, change(b"U", b"K" + row("7", None) + b"N" + row("8", "x")))
    assert (message.old, message.old_is_key, message.new) == (("7", None), True, ("8", "x"))


def test_update_under_full_identity_has_the_whole_old_tuple(
    decoder: pgoutput.PgoutputDecoder,
) -> None:
    message = decoded(decoder, change(b"U", b"O" + row("7", "w") + b"N" + row("7", "x")))
    assert (message.old, message.old_is_key) == (("7", "w"), False)


def test_unchanged_toast_is_neither_null_nor_text(
    decoder: pgoutput.PgoutputDecoder,
) -> None:
    message = decoded(decoder, change(b"U", b"N" + row("7", b"u")))
    assert message.new == ("7", UNCHANGED_TOAST)


def test_delete_has_the_key(decoder: pgoutput.PgoutputDecoder) -> None:
    message = decoded(decoder, change(b"D", b"K" + row("7", None)))
    assert (message.op, message.new, message.old, message.old_is_key) == (
        Op.DELETE,
        None,
        ("7", None),
        True,
    )


def test_delete_under_full_identity_has_the_whole_tuple(decoder: pgoutput.PgoutputDecoder) -> None:
    message = decoded(decoder, change(b"D", b"O" + row("7", "x")))
    assert (message.old, message.old_is_key) == (("7", "x"), False)


def test_text_is_decoded_as_utf_8(decoder: pgoutput.PgoutputDecoder) -> None:
    message = decoded(decoder, change(b"I", b"N" + row("7", "São Tomé 🏠")))
    assert message.new == ("7", "São Tomé 🏠")


def test_relation_replaces_the_earlier_one_of_its_oid(decoder: pgoutput.PgoutputDecoder) -> None:
    decoder.decode(relation(b"d", "id", "body", "zoning"))
    message = decoded(decoder, change(b"I", b"N" + row("7", "x", "R1")))
    assert [column.name for column in message.relation.columns] == ["id", "body", "zoning"]


def test_truncate_lists_relation_oids_and_options() -> None:
    data = b"T" + struct.pack(">IBII", 2, 3, 5, 6)
    assert pgoutput.PgoutputDecoder().decode(data) == pgoutput.TruncateMessage(
        (5, 6), cascade=True, restart_identity=True
    )


@pytest.mark.parametrize("kind", [b"Y", b"O", b"M"], ids=["type", "origin", "message"])
def test_messages_without_rows_decode_to_none(kind: bytes) -> None:
    assert pgoutput.PgoutputDecoder().decode(kind + b"whatever") is None


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
def test_malformed_message_raises(decoder: pgoutput.PgoutputDecoder, data: bytes) -> None:
    with pytest.raises(pgoutput.MalformedMessageError):
        decoder.decode(data)


def test_row_before_its_relation_raises() -> None:
    with pytest.raises(pgoutput.MalformedMessageError, match=r"Relation message.*before its first"):
        pgoutput.PgoutputDecoder().decode(change(b"I", b"N" + row("7")))


def test_columns_that_are_not_wanted_are_not_decoded(decoder: pgoutput.PgoutputDecoder) -> None:
    decoder.want(OID, pgoutput.WantedColumns(new=(True, False), old=(True, False)))
    message = decoded(decoder, change(b"U", b"O" + row("1", "before") + b"N" + row("1", "after")))
    assert (message.old, message.new) == (("1", None), ("1", None))


def test_old_row_is_decoded_for_a_wanted_value_that_the_new_one_lacks(
    decoder: pgoutput.PgoutputDecoder,
) -> None:
    decoder.want(OID, pgoutput.WantedColumns(new=(True, True), old=(True, False)))
    message = decoded(decoder, change(b"U", b"O" + row("1", "large") + b"N" + row("1", b"u")))
    assert (message.old, message.new) == (("1", "large"), ("1", UNCHANGED_TOAST))


def test_relation_message_ends_the_choice_of_columns(decoder: pgoutput.PgoutputDecoder) -> None:
    decoder.want(OID, pgoutput.WantedColumns(new=(True, False), old=(True, False)))
    decoder.decode(relation())
    assert decoded(decoder, change(b"I", b"N" + row("1", "text"))).new == ("1", "text")
