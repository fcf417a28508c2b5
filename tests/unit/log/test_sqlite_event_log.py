"""The log in a file: restarts, damage, migrations and full disks."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sqlite3
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from bridge.changes import Key
from bridge.clock import ManualClock
from bridge.errors import LogUnusableError, PositionGoneError
from bridge.events import Event
from bridge.log.base import Position, Progress
from bridge.log.sqlite import database as module
from bridge.log.sqlite.database import Database
from bridge.log.sqlite.event_log import MIGRATIONS, SqliteEventLog
from bridge.log.sqlite.session_store import SqliteSessionStore
from bridge.pipeline import diff
from bridge.projection import Projection
from bridge.rooms import user_room
from tests.fakes import AT, row


def restarted(clock: ManualClock) -> ManualClock:
    """Return the clock of the next process: same wall time, monotonic seconds from elsewhere."""
    return ManualClock(wall=clock.wall(), monotonic=clock.wall() % 777)


class File:
    """A log's file, opened by one process after the other."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @asynccontextmanager
    async def open(
        self,
        *,
        shape: str = "a",
        events: int = 100,
        seconds: float = 60,
        clock: ManualClock | None = None,
    ) -> AsyncIterator[SqliteEventLog]:
        log = SqliteEventLog(
            Database(self.path),
            shape=shape,
            events=events,
            seconds=seconds,
            clock=clock or ManualClock(),
        )
        await log.open()
        try:
            yield log
        finally:
            await log.close()


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "log.sqlite3")


def event(key: Key, text: str = "{}") -> Event:
    return Event("property-updated", key, ("everything", f"property:{key}"), text.encode())


async def rows_of(log: SqliteEventLog) -> dict[Key, bytes]:
    return {key: row async for rows in log.rows() for key, row in rows}


async def test_entries_outlive_the_process(file: File) -> None:
    odd = event("ü", '{"text":"a\\u0000\\n\U0001f600 \\"quoted\\""}')
    async with file.open() as log:
        start = log.head
        await log.append([event("a"), odd], [])
        stored, head = list(log.after(start)), log.head
    async with file.open() as log:
        assert log.head == log.locate(head)
        found = log.after(start)
        assert [entry.position for entry in found] == [log.locate(e.position) for e in stored]
        assert [(e.event, e.at) for e in found] == [(e.event, e.at) for e in stored]


async def test_rows_outlive_the_process_in_their_last_state(file: File) -> None:
    keys: list[Key] = ["a", 7, "7", 2**63, 'quo"te', "\U0001f600"]
    async with file.open() as log:
        await log.append([], [(key, b'["\xc3\xbc",1]') for key in keys], Progress(loaded=True))
        await log.append([], [("a", b"[2]"), (7, None)])
    async with file.open() as log:
        rows = await rows_of(log)
    assert rows == {"a": b"[2]"} | dict.fromkeys(keys[2:], b'["\xc3\xbc",1]')


async def test_rows_are_read_in_portions(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.log.sqlite.event_log.ROWS_PER_FETCH", 2)
    async with file.open() as log:
        await log.append([], [(key, b"[]") for key in range(5)], Progress(loaded=True))
        assert [len(rows) async for rows in log.rows()] == [2, 2, 1]


async def test_progress_outlives_the_process(file: File) -> None:
    progress = Progress(loaded=True, watermark="2026-01-01T00:00:00Z")
    async with file.open() as log:
        await log.append([], [], progress)
    async with file.open() as log:
        assert log.progress == progress


async def test_positions_continue_after_a_restart(file: File) -> None:
    async with file.open() as log:
        await log.append([event("a")], [])
        head = log.head
    async with file.open() as log:
        [entry] = (await log.append([event("b")], [])).entries
        assert log.locate(head) == Position(log.head.epoch, head.seq)
    assert entry.position.seq == head.seq + 1


async def test_positions_continue_after_all_entries_have_expired(file: File) -> None:
    clock = ManualClock()
    async with file.open(clock=clock) as log:
        start = log.head
        await log.append([event(n) for n in range(5)], [])
        head = log.head
    clock.advance(3600)
    clock = restarted(clock)
    async with file.open(clock=clock) as log:
        assert log.head == log.locate(head)
        with pytest.raises(PositionGoneError):
            log.after(start)
        [entry] = (await log.append([event("b")], [])).entries
        assert entry.position.seq == head.seq + 1


async def test_entries_age_while_no_process_runs(file: File) -> None:
    clock = ManualClock()
    async with file.open(clock=clock) as log:
        start = log.head
        await log.append([event("a")], [])
        clock.advance(50)
        second = log.head
        await log.append([event("b")], [])
    clock.advance(30)
    clock = restarted(clock)
    async with file.open(clock=clock) as log:
        assert [entry.event.key for entry in log.after(second)] == ["b"]
        with pytest.raises(PositionGoneError):
            log.after(start)


async def test_entries_are_kept_if_the_wall_clock_was_set_back(file: File) -> None:
    clock = ManualClock()
    async with file.open(clock=clock) as log:
        start = log.head
        await log.append([event("a")], [])
    clock.step_wall(-500)
    clock = restarted(clock)
    async with file.open(clock=clock) as log:
        assert len(log.after(start)) == 1


async def test_file_keeps_no_more_entries_than_the_log(file: File) -> None:
    async with file.open(events=3) as log:
        for n in range(10):
            await log.append([event(n)], [])
        await log.append([event(n) for n in range(10)], [])
    with sqlite3.connect(file.path) as connection:
        kept = [seq for (seq,) in connection.execute("SELECT seq FROM entries ORDER BY seq")]
    connection.close()
    assert kept[-1] == 20
    assert len(kept) <= 10
    async with file.open(events=3) as log:
        assert len(log.after(type(log.head)(log.head.epoch, 17))) == 3
        with pytest.raises(PositionGoneError):
            log.after(type(log.head)(log.head.epoch, 16))


async def test_interrupted_initial_load_starts_again(file: File) -> None:
    async with file.open() as log:
        await log.append([], [("a", b"[1]")])
    async with file.open() as log:
        assert await rows_of(log) == {}
        assert not log.progress.loaded


async def test_rows_of_another_shape_begin_a_new_epoch(file: File) -> None:
    async with file.open(shape="a") as log:
        await log.append([event("a")], [("a", b"[1]")], Progress(loaded=True))
        head = log.head
    async with file.open(shape="b") as log:
        assert log.head.epoch != head.epoch
        assert log.head.seq == 0
        assert await rows_of(log) == {}
        assert log.progress == Progress()
        with pytest.raises(PositionGoneError):
            log.after(head)


async def test_file_is_readable_by_its_owner_only(file: File) -> None:
    async with file.open() as log:
        await log.append([event("a")], [])
        modes = {stat.S_IMODE(path.stat().st_mode) for path in file.path.parent.iterdir()}
    assert modes == {0o600}


async def test_second_process_can_not_open_the_file(file: File) -> None:
    async with file.open():
        with pytest.raises(LogUnusableError, match="in use by another process"):
            async with file.open():
                pass


async def test_rejected_second_process_does_not_affect_the_first(file: File) -> None:
    async with file.open() as log:
        with pytest.raises(LogUnusableError):
            async with file.open():
                pass
        assert len((await log.append([event("a")], [])).entries) == 1


async def test_open_names_a_missing_folder(file: File) -> None:
    file.path = file.path.parent / "nowhere" / "log.sqlite3"
    with pytest.raises(
        LogUnusableError, match=r"nowhere/log\.sqlite3 can't be opened: No such file"
    ):
        async with file.open():
            pass


async def test_open_rejects_a_file_that_is_no_database_and_leaves_it_unchanged(file: File) -> None:
    file.path.write_bytes(b"not a database " * 1000)
    with pytest.raises(LogUnusableError, match=r"is damaged, or no SQLite database.*Move it away"):
        async with file.open():
            pass
    assert file.path.read_bytes() == b"not a database " * 1000


async def test_open_rejects_a_foreign_database_and_leaves_it_unchanged(file: File) -> None:
    connection = sqlite3.connect(file.path)
    connection.execute("CREATE TABLE precious (x)")
    connection.close()
    with pytest.raises(LogUnusableError, match="not a log of the bridge"):
        async with file.open():
            pass
    connection = sqlite3.connect(file.path)
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema")]
    connection.close()
    assert tables == ["precious"]


async def test_open_detects_a_damaged_page(file: File) -> None:
    async with file.open() as log:
        rows = [(f"{n:05}", b'"%d"' % n * 20) for n in range(2000)]
        await log.append([], rows, Progress(loaded=True))
    with file.path.open("r+b") as damaged:
        damaged.seek(5 * 4096)
        damaged.write(os.urandom(40960))
    with pytest.raises(LogUnusableError, match=r"is damaged.*Move it away"):
        async with file.open() as log:
            await rows_of(log)


async def test_open_rejects_a_file_of_a_later_version(file: File) -> None:
    async with file.open():
        pass
    connection = sqlite3.connect(file.path)
    connection.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(LogUnusableError, match="from a later version of the bridge"):
        async with file.open():
            pass


async def test_file_of_an_earlier_version_is_migrated_with_its_contents(
    file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with file.open() as log:
        await log.append([event("a")], [("a", b"[1]")], Progress(loaded=True))
        head = log.head
    later = (*MIGRATIONS, "CREATE TABLE more (x); INSERT INTO more VALUES (1)")
    monkeypatch.setattr("bridge.log.sqlite.event_log.MIGRATIONS", later)
    for _ in range(2):
        async with file.open() as log:
            assert log.head == log.locate(head)
            assert await rows_of(log) == {"a": b"[1]"}
    connection = sqlite3.connect(file.path)
    assert connection.execute("SELECT x FROM more").fetchall() == [(1,)]
    connection.close()


async def test_facts_of_stored_events_outlive_the_process(file: File) -> None:
    events = _events_of_every_kind()
    async with file.open() as log:
        start = log.head
        await log.append(events, [])
    async with file.open() as log:
        assert [entry.event for entry in log.after(start)] == events


async def test_facts_of_events_stored_without_them_are_derived(file: File) -> None:
    events = _events_of_every_kind()
    async with file.open() as log:
        start = log.head
        await log.append(events, [])
    connection = sqlite3.connect(file.path)
    connection.execute(
        "UPDATE entries SET route = json_array(json_extract(route, '$[0]'), "
        "json_extract(route, '$[1]'), json_extract(route, '$[2]'))"
    )
    [route] = connection.execute("SELECT route FROM entries WHERE seq = 1").fetchone()
    assert len(json.loads(route)) == 3
    connection.execute("DROP TABLE epochs")
    connection.execute("PRAGMA user_version=2")
    connection.commit()
    connection.close()
    for _ in range(2):
        async with file.open() as log:
            assert [entry.event for entry in log.after(start)] == events


def _events_of_every_kind() -> list[Event]:
    """Creations, updates, moves and deletions in one view and in two, and a notification."""
    first = row("p1", notes="a", city="Austin")
    states = [
        None,
        first,
        {**first, "price": 5, "status": "sold"},
        {**first, "price": 5, "notes": "b"},
        {**first, "notes": "c"},
        {**first, "state": "CA", "city": 'San Diego, "ü"'},
        {**first, "state": None},
        {**first, "state": None, "price": 7},
        None,
        {**first, "state": "region:member/x"},
        None,
    ]
    out = [
        event
        for projection in (
            Projection(region=("state", "city")),
            Projection(region=("state", "city"), member=("notes",)),
        )
        for old, new in pairwise(states)
        for event in diff.events_between(projection, "p1", old, new, AT)
    ]
    assert {event.name for event in out} == {
        f"property-{x}" for x in ("created", "updated", "deleted")
    }
    rooms = (user_room("ann"), user_room("ann", "TX"))
    return [*out, Event("property-notification", "p1", rooms, b"{}")]


async def test_failed_migration_changes_nothing(
    file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with file.open() as log:
        await log.append([event("a")], [("a", b"[1]")], Progress(loaded=True))
    with monkeypatch.context() as patch:
        patch.setattr(
            "bridge.log.sqlite.event_log.MIGRATIONS",
            (*MIGRATIONS, "DELETE FROM rows; CREATE nonsense"),
        )
        with pytest.raises(LogUnusableError, match="syntax error"):
            async with file.open():
                pass
    async with file.open() as log:
        assert await rows_of(log) == {"a": b"[1]"}


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Limit files of this process to `size` bytes: writes fail as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def error_of(log: SqliteEventLog) -> str:
    async with asyncio.timeout(20):
        while (error := log.error) is None:
            await asyncio.sleep(0.001)
    return error


async def test_append_on_a_full_disk_is_stored_once_there_is_space(
    file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(module, "LONGEST_RETRY_SECONDS", 0.02)
    async with file.open() as log:
        await log.append([event("a")], [("a", b"[1]")], Progress(loaded=True))
        head = log.head
        with largest_file(file.path.stat().st_size + 8192):
            big = event("b", '"' + "x" * 300_000 + '"')
            appending = asyncio.create_task(log.append([big], [("b", b"[2]")]))
            assert "can't be written" in await error_of(log)
            assert log.head == head
            assert not appending.done()
        async with asyncio.timeout(20):
            [entry] = (await appending).entries
        assert log.error is None
        assert log.head == entry.position
    async with file.open() as log:
        assert [found.event for found in log.after(head)] == [entry.event]
        assert await rows_of(log) == {"a": b"[1]", "b": b"[2]"}


async def test_log_on_a_full_disk_can_be_closed(file: File) -> None:
    async with file.open() as log:
        with largest_file(file.path.stat().st_size + 8192):
            big = event("b", '"' + "x" * 300_000 + '"')
            appending = asyncio.create_task(log.append([big], []))
            assert "can't be written" in await error_of(log)
            async with asyncio.timeout(20):
                await log.close()
    with pytest.raises(asyncio.CancelledError):
        await appending


async def test_concurrent_writes_share_one_transaction(file: File) -> None:
    database = Database(file.path)
    log = SqliteEventLog(database, shape="", events=10, seconds=60)
    await log.open()
    sessions = SqliteSessionStore(database)
    commits = 0

    def traced(statement: str) -> None:
        nonlocal commits
        commits += statement == "COMMIT"

    await database.read(lambda connection: connection.set_trace_callback(traced))
    await asyncio.gather(
        log.append([event("a")], []), *(sessions.put({str(n): b"{}"}) for n in range(50))
    )
    await log.close()
    assert commits <= 2


async def test_sessions_outlive_the_process(file: File) -> None:
    async with file.open() as log:
        sessions = SqliteSessionStore(log._database)
        await sessions.put({"p": b'{"a":"\xc3\xbc"}', "q": b"{}"})
        await sessions.put({"q": None, "p": b"[1]", "r": b"[]", "s": None})
    async with file.open() as log:
        assert dict(await SqliteSessionStore(log._database).load()) == {"p": b"[1]", "r": b"[]"}


def test_full_disk_is_a_transient_error() -> None:
    assert {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR} <= module.TRANSIENT_ERRORS
    assert not {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB} & module.TRANSIENT_ERRORS
