"""Conformance of `EventLog.follow`: every backend delivers commits in order and without a gap."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from bridge.errors import LogUnusableError, PositionGoneError
from bridge.events import Event
from bridge.log import commit_feed
from bridge.log.base import Commit, Position, Progress
from bridge.log.sqlite.database import Database
from bridge.log.sqlite.event_log import SqliteEventLog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bridge.log.base import EventLog
    from tests.unit.log.conftest import OpenLog


def event(number: int) -> Event:
    return Event("property-deleted", number, ("everything",), b"{}")


async def take(commits: AsyncIterator[Commit], count: int) -> list[Commit]:
    async with asyncio.timeout(20):
        return [await anext(commits) for _ in range(count)]


async def nothing_more(commits: AsyncIterator[Commit]) -> bool:
    waiting = asyncio.ensure_future(anext(commits))
    for _ in range(5):
        await asyncio.sleep(0)
    if waiting.done():
        return False
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    return True


def keys(commits: list[Commit]) -> list[list[object]]:
    return [[entry.event.key for entry in commit.entries] for commit in commits]


@pytest.fixture
async def log(open_log: OpenLog) -> EventLog:
    return await open_log()


async def test_follower_from_the_head_receives_what_append_returns(log: EventLog) -> None:
    commits = log.follow(log.head)
    first = await log.append([event(1), event(2)], [("a", b"[1]")])
    second = await log.append([], [("a", None)], Progress(loaded=True))
    third = await log.append([event(3)], [])
    assert await take(commits, 3) == [first, second, third]
    assert second == Commit(2, [], [("a", None)], Progress(loaded=True))
    assert await nothing_more(commits)


async def test_follower_that_waits_receives_the_next_commit(log: EventLog) -> None:
    waiting = asyncio.ensure_future(take(log.follow(log.head), 1))
    await asyncio.sleep(0)
    commit = await log.append([event(1)], [])
    assert await waiting == [commit]


async def test_follower_from_the_middle_receives_the_commits_after_its_position(
    log: EventLog,
) -> None:
    await log.append([event(1)], [("a", b"[1]")])
    middle = log.head
    await log.append([], [("b", b"[2]")])
    await log.append([event(2)], [("c", b"[3]")])
    commits = log.follow(middle)
    found = await take(commits, 2)
    assert keys(found) == [[], [2]]
    assert [commit.rows for commit in found] == [[("b", b"[2]")], [("c", b"[3]")]]
    assert await nothing_more(commits)


async def test_follower_from_within_a_commit_receives_its_later_entries(log: EventLog) -> None:
    entries = (await log.append([event(n) for n in range(4)], [("a", b"[1]")])).entries
    await log.append([event(4)], [])
    found = await take(log.follow(entries[1].position), 2)
    assert keys(found) == [[2, 3], [4]]
    assert found[0].rows == [("a", b"[1]")]


async def test_follower_from_the_start_receives_all_commits(log: EventLog) -> None:
    start = log.head
    for number in range(20):
        await log.append([event(number)], [])
    assert keys(await take(log.follow(start), 20)) == [[number] for number in range(20)]


@pytest.mark.parametrize("limit", ["MAX_KEPT_COMMITS", "MAX_KEPT_ROWS"])
async def test_follow_raises_if_commits_after_the_position_are_not_kept(
    log: EventLog, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(commit_feed, limit, 2)
    positions = [log.head]
    for number in range(4):
        await log.append([event(number)], [(number, b"[]")])
        positions.append(log.head)
    for position in positions[:2]:
        with pytest.raises(PositionGoneError, match="no longer kept"):
            log.follow(position)
    assert keys(await take(log.follow(positions[2]), 2)) == [[2], [3]]


async def test_log_keeps_the_newest_commit_whatever_its_size(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit_feed, "MAX_KEPT_ROWS", 2)
    commits = log.follow(log.head)
    commit = await log.append([], [(number, b"[]") for number in range(5)])
    assert await take(commits, 1) == [commit]


async def test_follower_that_falls_behind_raises_and_others_go_on(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit_feed, "MAX_KEPT_COMMITS", 3)
    slow, fast = log.follow(log.head), log.follow(log.head)
    for number in range(3):
        await log.append([event(number)], [])
        assert keys(await take(fast, 1)) == [[number]]
    assert keys(await take(slow, 1)) == [[0]]
    for number in range(3, 6):
        await log.append([event(number)], [])
        assert keys(await take(fast, 1)) == [[number]]
    with pytest.raises(PositionGoneError, match="5 commits behind, the log keeps 3"):
        await anext(slow)
    assert await nothing_more(fast)


async def test_follow_raises_for_a_position_of_another_epoch(log: EventLog) -> None:
    with pytest.raises(PositionGoneError, match="epoch"):
        log.follow(Position("other", 0))


async def test_follow_raises_for_a_position_past_the_head(log: EventLog) -> None:
    with pytest.raises(PositionGoneError):
        log.follow(Position(log.head.epoch, log.head.seq + 1))


async def test_concurrent_followers_receive_the_same_commits(log: EventLog) -> None:
    start = log.head
    following = [asyncio.ensure_future(take(log.follow(start), 30)) for _ in range(5)]
    appended = []
    for number in range(30):
        appended.append(await log.append([event(number)], [(number, b"[]")]))
        if number % 7 == 0:
            await asyncio.sleep(0)
    for received in await asyncio.gather(*following):
        assert received == appended


async def test_cancelled_follower_can_go_on_without_a_gap(log: EventLog) -> None:
    commits = log.follow(log.head)
    received = []
    for number in range(10):
        waiting = asyncio.ensure_future(anext(commits))
        await asyncio.sleep(0)
        appending = asyncio.ensure_future(log.append([event(number)], []))
        for _ in range(number % 4):
            await asyncio.sleep(0)
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            received.append(await waiting)
        await appending
    received += await take(commits, 10 - len(received))
    assert keys(received) == [[number] for number in range(10)]


async def test_close_ends_followers_after_the_commits_that_they_have_not_taken(
    open_log: OpenLog,
) -> None:
    log = await open_log()
    behind, waiting = log.follow(log.head), log.follow(log.head)
    await log.append([event(1)], [])
    await take(waiting, 1)
    ended = asyncio.ensure_future(anext(waiting, None))
    await asyncio.sleep(0)
    await log.close()
    assert await ended is None
    assert keys([commit async for commit in behind]) == [[1]]


# -- a log that is stored


def stored(path: Path) -> SqliteEventLog:
    return SqliteEventLog(Database(path), shape="", events=100, seconds=60)


async def test_follower_receives_a_commit_whose_append_was_cancelled(tmp_path: Path) -> None:
    log = stored(tmp_path / "log.sqlite3")
    await log.open()
    try:
        commits = log.follow(log.head)
        cancelled = asyncio.ensure_future(log.append([event(1)], [("a", b"[1]")]))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await log.append([event(2)], [])
        found = await take(commits, 2)
        assert keys(found) == [[1], [2]]
        assert found[0].rows == [("a", b"[1]")]
        assert [entry.position.seq for commit in found for entry in commit.entries] == [1, 2]
        assert log.head.seq == 2
    finally:
        await log.close()
    again = stored(tmp_path / "log.sqlite3")
    await again.open()
    try:
        assert [e.event.key for e in again.after(Position(again.head.epoch, 0))] == [1, 2]
    finally:
        await again.close()


async def test_follower_receives_nothing_of_an_append_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = stored(tmp_path / "log.sqlite3")
    await log.open()
    try:
        commits, head = log.follow(log.head), log.head

        def fail(_self: Database, _jobs: object) -> None:
            raise LogUnusableError("made to fail")

        with monkeypatch.context() as patched:
            patched.setattr(Database, "_commit", fail)
            with pytest.raises(LogUnusableError):
                await log.append([event(1)], [("a", b"[1]")])
        assert log.head == head
        assert await nothing_more(commits)
        await log.append([event(2)], [])
        assert keys(await take(commits, 1)) == [[2]]
        assert log.head.seq == head.seq + 1
    finally:
        await log.close()


async def test_follow_raises_for_a_position_before_the_log_was_opened(tmp_path: Path) -> None:
    log = stored(tmp_path / "log.sqlite3")
    await log.open()
    start = log.head
    await log.append([event(1)], [])
    await log.close()
    again = stored(tmp_path / "log.sqlite3")
    await again.open()
    try:
        assert [entry.event.key for entry in again.after(start)] == [1]
        with pytest.raises(PositionGoneError, match="no longer kept"):
            again.follow(start)
        commits = again.follow(again.head)
        await again.append([event(2)], [])
        assert keys(await take(commits, 1)) == [[2]]
    finally:
        await again.close()
