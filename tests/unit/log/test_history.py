"""A log that went back to an earlier state: what it lost is never taken for its history."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import PositionGoneError
from bridge.events import Event
from bridge.log.base import Position, Progress
from bridge.log.sqlite import event_log as module
from bridge.log.sqlite.database import Database
from bridge.log.sqlite.event_log import SqliteEventLog
from bridge.log.sqlite.revocation_store import SqliteRevocationStore


def event(number: int) -> Event:
    return Event("property-updated", number, ("everything",), b"{}")


async def opened(path: Path, shape: str = "") -> SqliteEventLog:
    log = SqliteEventLog(Database(path), shape=shape, events=100, seconds=900)
    await log.open()
    return log


async def append(log: SqliteEventLog, count: int) -> list[Position]:
    """Append entries one by one. Return their positions."""
    out = []
    for number in range(count):
        commit = await log.append([event(number)], [(number, b"[1]")], Progress(loaded=True))
        out += [entry.position for entry in commit.entries]
    return out


async def copy_while_open(log: SqliteEventLog, path: Path, to: Path) -> None:
    """Copy the files of an open log between two writes, as a volume snapshot does."""

    def copy(_: Any) -> None:
        to.mkdir(exist_ok=True)
        for name in (path.name, f"{path.name}-wal"):
            if (path.parent / name).exists():
                shutil.copy(path.parent / name, to / name)

    await log._database.read(copy)


async def test_position_lost_with_an_older_copy_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = await opened(path)
    kept = await append(log, 3)
    await copy_while_open(log, path, tmp_path / "old")
    lost = await append(log, 3)
    await log.close()
    log = await opened(tmp_path / "old" / "log")
    again = await append(log, 6)
    assert [log.locate(position) for position in lost] == [None] * 3
    for position in lost:
        with pytest.raises(PositionGoneError):
            log.after(position)
    assert not set(map(str, again)) & set(map(str, (*kept, *lost)))
    await log.close()


async def test_position_before_the_copy_was_made_stays_in_the_history(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = await opened(path)
    kept = await append(log, 3)
    await copy_while_open(log, path, tmp_path / "old")
    await append(log, 3)
    await log.close()
    log = await opened(tmp_path / "old" / "log")
    again = await append(log, 2)
    assert [entry.position for entry in log.after(kept[-1])] == again
    await log.close()


async def test_position_of_a_process_that_the_copy_does_not_know_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = await opened(path)
    await append(log, 3)
    await copy_while_open(log, path, tmp_path / "old")
    await log.close()
    log = await opened(path)
    at_start = log.head
    lost = [at_start, *await append(log, 2)]
    await log.close()
    log = await opened(tmp_path / "old" / "log")
    await append(log, 6)
    assert [log.locate(position) for position in lost] == [None] * 3
    await log.close()


async def test_two_starts_from_one_copy_have_no_position_in_common(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = await opened(path)
    await append(log, 3)
    await copy_while_open(log, path, tmp_path / "old")
    await log.close()
    seen: list[Position] = []
    for name in ("one", "two"):
        shutil.copytree(tmp_path / "old", tmp_path / name)
        log = await opened(tmp_path / name / "log")
        seen += [log.head, *await append(log, 2)]
        await log.close()
    assert len(set(map(str, seen))) == len(seen)


async def test_flipped_byte_of_the_wal_never_makes_a_lost_position_valid(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = await opened(path)
    positions = await append(log, 8)
    await copy_while_open(log, path, tmp_path / "killed")
    await log.close()
    size = (tmp_path / "killed" / "log-wal").stat().st_size
    went_back = 0
    for step, place in enumerate(range(0, size, size // 23)):
        folder = tmp_path / str(step)
        shutil.copytree(tmp_path / "killed", folder)
        with (folder / "log-wal").open("r+b") as wal:
            wal.seek(place)
            byte = wal.read(1)
            wal.seek(place)
            wal.write(bytes([byte[0] ^ 0xFF]))
        log = await opened(folder / "log")
        head = log.head.seq
        went_back += head < len(positions)
        again = await append(log, len(positions))
        located = [log.locate(position) for position in positions]
        assert all(found is None for found in located[head:])
        assert not set(map(str, again)) & set(map(str, positions))
        await log.close()
    assert went_back


async def test_positions_of_many_earlier_processes_stay_in_the_history(tmp_path: Path) -> None:
    heads = []
    for _ in range(5):
        log = await opened(tmp_path / "log")
        await append(log, 2)
        heads.append(log.head)
        await log.close()
    log = await opened(tmp_path / "log")
    assert [len(log.after(head)) for head in heads] == [8, 6, 4, 2, 0]
    assert len({head.epoch for head in (*heads, log.head)}) == 6
    await log.close()


async def test_position_past_the_last_one_of_an_earlier_process_is_gone(tmp_path: Path) -> None:
    log = await opened(tmp_path / "log")
    await append(log, 2)
    head = log.head
    await log.close()
    log = await opened(tmp_path / "log")
    await append(log, 2)
    assert log.locate(Position(head.epoch, head.seq + 1)) is None
    await log.close()


async def test_start_without_a_write_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = await opened(path)
    await append(log, 2)
    await log.close()
    before = path.read_bytes()
    log = await opened(path)
    await log.close()
    assert path.read_bytes() == before


async def test_any_write_stores_the_new_epoch_with_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = await opened(path)
    await append(log, 2)
    before = log.head
    await log.close()
    log = await opened(path)
    await SqliteRevocationStore(log._database).put("user", "u", 1.0, oldest=0.0)
    head = log.head
    await log.close()
    log = await opened(path)
    assert log.locate(head) == log.locate(before) == log.head
    await log.close()


async def test_epochs_that_are_kept_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_EPOCHS", 2)
    heads = []
    for _ in range(4):
        log = await opened(tmp_path / "log")
        await append(log, 1)
        heads.append(log.head)
        await log.close()
    log = await opened(tmp_path / "log")
    assert [log.locate(head) is not None for head in heads] == [False, True, True, True]
    await log.close()


async def test_other_columns_end_the_history_for_good(tmp_path: Path) -> None:
    heads = []
    for shape in "aab":
        log = await opened(tmp_path / "log", shape)
        heads.append(log.head)
        await append(log, 1)
        await log.close()
    log = await opened(tmp_path / "log", "b")
    assert [log.locate(head) is not None for head in heads] == [False, False, True]
    await log.close()


async def test_file_of_a_version_without_epochs_keeps_its_history(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = await opened(path)
    await append(log, 3)
    await log.close()
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE epochs")
    connection.execute("UPDATE facts SET value = 'abc' WHERE name = 'epoch'")
    connection.execute("PRAGMA user_version=3")
    connection.commit()
    connection.close()
    log = await opened(path)
    assert [entry.position.seq for entry in log.after(Position("abc", 1))] == [2, 3]
    assert log.head.epoch != "abc"
    assert log.locate(Position("abc", 4)) is None
    await log.close()


async def test_positions_before_an_initial_load_that_was_lost_are_gone(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = await opened(path)
    await log.append([], [(0, b"[1]")])  # a load that is interrupted
    await copy_while_open(log, path, tmp_path / "old")
    during = log.head
    await log.append([], [(1, b"[1]")], Progress(loaded=True))
    assert log.head == during  # a client that has received all rows has this position
    await log.close()
    log = await opened(tmp_path / "old" / "log")
    assert log.locate(during) is None
    assert [rows async for rows in log.rows()] == []
    await log.append([], [(0, b"[2]")], Progress(loaded=True))
    loaded = log.head
    await log.close()
    log = await opened(tmp_path / "old" / "log")
    assert log.locate(during) is None
    assert log.locate(loaded) is not None
    await log.close()
