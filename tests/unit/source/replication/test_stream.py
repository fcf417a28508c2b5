"""`TransactionAssembler`: messages of a slot become whole transactions, and resume in them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from bridge.changes import Change, Checkpoint, Gap, GapReason, Truncate
from bridge.projection import Projection
from bridge.source.replication import stream
from bridge.source.replication.lsn import StreamPosition, format_lsn, parse_lsn
from bridge.source.replication.stream import TransactionAssembler, commit_time
from bridge.source.replication.types import TypeCatalog
from tests.unit.source.replication.test_pgoutput import OID, change, relation, row

if TYPE_CHECKING:
    from bridge.changes import Item

PROJECTION = Projection(published=("body",), region=("body",), updated_at=None, table="listings")
SYSTEM = "7000"


def assembler(position: StreamPosition | None = None) -> TransactionAssembler:
    return TransactionAssembler(PROJECTION, TypeCatalog(), position or StreamPosition(SYSTEM, 0))


def begin(lsn: int, at: int = 0) -> bytes:
    return b"B" + struct.pack(">QqI", lsn, at, 7)


def commit(lsn: int, end: int) -> bytes:
    return b"C" + struct.pack(">BQQq", 0, lsn, end, 0)


def insert(key: str) -> bytes:
    return change(b"I", b"N" + row(key, "text"))


def fed(assembler: TransactionAssembler, *messages: bytes) -> list[list[Item]]:
    return [list(items) for message in messages for items in assembler.feed(message)]


def keys(portions: list[list[Item]]) -> list[list[object]]:
    return [[item.key for item in items if isinstance(item, Change)] for items in portions]


def position(items: list[Item]) -> StreamPosition:
    checkpoint = items[-1]
    assert isinstance(checkpoint, Checkpoint)
    parsed = StreamPosition.parse(checkpoint.position)
    assert parsed is not None
    return parsed


def test_lsn_is_written_as_postgresql_does() -> None:
    assert parse_lsn("16/B374D848") == 0x16_B374D848
    assert format_lsn(0x16_B374D848) == "16/B374D848"


@pytest.mark.parametrize(
    "stored",
    [StreamPosition("7000", 0x16_B374D848), StreamPosition("7000", 5, partial=9, changes=3)],
)
def test_position_is_read_as_it_is_written(stored: StreamPosition) -> None:
    assert StreamPosition.parse(str(stored)) == stored


@pytest.mark.parametrize("text", [None, "", "7000", "7000:xyz", "7000:1+2", "x:1"])
def test_text_that_is_no_position_is_not_parsed(text: str | None) -> None:
    assert StreamPosition.parse(text) is None


def test_commit_time_is_rfc_3339() -> None:
    assert commit_time(0) == "2000-01-01T00:00:00Z"
    assert commit_time(1_500_000) == "2000-01-01T00:00:01.500000Z"


def test_transaction_is_returned_whole_at_its_commit() -> None:
    assembled = assembler()
    assert fed(assembled, begin(10), relation(), insert("a"), insert("b")) == []
    assert assembled.inside
    [items] = fed(assembled, commit(10, 20))
    assert keys([items]) == [["a", "b"]]
    assert position(items) == StreamPosition(SYSTEM, 20)
    assert not assembled.inside


def test_transaction_of_another_table_is_passed_over() -> None:
    other = relation().replace(b"listings", b"watchers")
    assembled = assembler()
    assert fed(assembled, begin(10), other, insert("a"), commit(10, 20)) == []
    assert assembled.end == 20


def test_transaction_that_the_log_holds_is_dropped() -> None:
    assembled = assembler(StreamPosition(SYSTEM, 20))
    assert fed(assembled, begin(10), relation(), insert("a"), commit(10, 20)) == []
    assert keys(fed(assembled, begin(20), insert("b"), commit(20, 30))) == [["b"]]


def test_long_transaction_is_divided_with_the_number_of_changes_so_far(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "MAX_CHANGES", 2)
    portions = fed(assembler(), begin(10), relation(), *map(insert, "abcde"), commit(10, 20))
    assert keys(portions) == [["a", "b"], ["c", "d"], ["e"]]
    assert [position(items) for items in portions] == [
        StreamPosition(SYSTEM, 0, partial=10, changes=2),
        StreamPosition(SYSTEM, 0, partial=10, changes=4),
        StreamPosition(SYSTEM, 20),
    ]


def test_transaction_that_the_log_holds_in_part_continues_there() -> None:
    resumed = assembler(StreamPosition(SYSTEM, 5, partial=10, changes=3))
    portions = fed(resumed, begin(10), relation(), *map(insert, "abcde"), commit(10, 20))
    assert keys(portions) == [["d", "e"]]
    assert keys(fed(resumed, begin(20), insert("f"), commit(20, 30))) == [["f"]]


def test_transaction_whose_changes_the_log_holds_all_still_moves_the_position() -> None:
    resumed = assembler(StreamPosition(SYSTEM, 5, partial=10, changes=1))
    [items] = fed(resumed, begin(10), relation(), insert("a"), commit(10, 20))
    assert keys([items]) == [[]]
    assert position(items) == StreamPosition(SYSTEM, 20)


def test_idle_position_is_returned_outside_of_transactions_only() -> None:
    assembled = assembler()
    assert position(list(assembled.idle(15))) == StreamPosition(SYSTEM, 15)
    assert not assembled.idle(15)
    fed(assembled, begin(20))
    assert not assembled.idle(30)


def test_truncate_of_the_table_is_an_item() -> None:
    truncate = b"T" + struct.pack(">IBI", 1, 0, OID)
    [items] = fed(assembler(), begin(10), relation(), truncate, commit(10, 20))
    assert isinstance(items[0], Truncate)


def test_row_without_its_key_is_a_gap() -> None:
    delete = change(b"D", b"K" + row(None, None))
    [items] = fed(assembler(), begin(10), relation(), delete, commit(10, 20))
    assert isinstance(items[0], Gap)
    assert items[0].reason is GapReason.UNREADABLE
    assert "REPLICA IDENTITY FULL" in items[0].detail


def test_retyped_column_is_a_gap_and_an_added_one_is_not() -> None:
    retyped = relation().replace(struct.pack(">Ii", 25, -1), struct.pack(">Ii", 20, -1))
    added = relation(b"d", "id", "body", "more")
    for described, reasons in ((retyped, [GapReason.TABLE_ALTERED]), (relation(), []), (added, [])):
        assembled = assembler()
        fed(assembled, begin(10), relation(), insert("a"), commit(10, 20))
        values = (b"t" + struct.pack(">I", 1) + b"1",) * (3 if described is added else 2)
        written = change(b"I", b"N" + row(*values))
        [items] = fed(assembled, begin(20), described, written, commit(20, 30))
        assert [item.reason for item in items if isinstance(item, Gap)] == reasons


# -- transactions in progress -----------------------------------------------------------------


def start(xid: int) -> bytes:
    return b"S" + struct.pack(">IB", xid, 1)


def inside(xid: int, message: bytes) -> bytes:
    return message[:1] + struct.pack(">I", xid) + message[1:]


def stream_commit(xid: int, lsn: int, end: int) -> bytes:
    return b"c" + struct.pack(">IBQQq", xid, 0, lsn, end, 0)


def test_transaction_in_progress_is_returned_at_its_commit_without_what_was_taken_back() -> None:
    assembled = assembler()
    abort = b"A" + struct.pack(">II", 7, 8)
    assert (
        fed(
            assembled,
            start(7),
            inside(7, relation()),
            inside(7, insert("a")),
            inside(8, insert("taken back")),
            b"E",
            begin(10),
            relation(),
            insert("other"),
        )
        == []
    )
    assert keys(fed(assembled, commit(10, 20))) == [["other"]]
    assert fed(assembled, start(7), inside(7, insert("b")), b"E", abort) == []
    [items] = fed(assembled, stream_commit(7, 30, 40))
    assert keys([items]) == [["a", "b"]]
    assert position(items) == StreamPosition(SYSTEM, 40)


def test_transaction_in_progress_that_is_rolled_back_is_dropped() -> None:
    assembled = assembler()
    messages = (start(7), inside(7, relation()), inside(7, insert("a")), b"E")
    assert fed(assembled, *messages, b"A" + struct.pack(">II", 7, 7)) == []
    assert fed(assembled, stream_commit(7, 30, 40)) == []
    assert len(assembled._in_progress) == 0


def test_transaction_in_progress_that_the_log_holds_in_part_continues_there() -> None:
    resumed = assembler(StreamPosition(SYSTEM, 5, partial=30, changes=1))
    messages = (start(7), inside(7, relation()), inside(7, insert("a")), inside(7, insert("b")))
    [items] = fed(resumed, *messages, b"E", stream_commit(7, 30, 40))
    assert keys([items]) == [["b"]]
