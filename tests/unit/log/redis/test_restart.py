"""Processes that start on the history that others have left."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from bridge.changes import Key
from bridge.errors import PositionGoneError
from bridge.log.base import Position, Progress
from bridge.log.redis import loader
from bridge.sandbox.redis import RedisServer
from tests.support.redis import crash, event, numbers, opened, rows_of, unused_name


async def test_next_process_has_the_entries_rows_and_progress(redis_server: RedisServer) -> None:
    name = unused_name()
    progress = Progress(loaded=True, watermark="2026-01-01T00:00:00Z", stream="0/1")
    async with opened(redis_server.url, name) as made:
        await made.lease.acquired()
        start = made.log.head
        await made.log.append([event(1), event(2)], [("a", b"[1]"), (2**70, b"[2]")], progress)
        await made.log.append([event(3)], [("a", None)])
        stored, head = list(made.log.after(start)), made.log.head
    async with opened(redis_server.url, name) as made:
        assert made.log.head == made.log.locate(head)
        found = made.log.after(start)
        assert [(e.event, e.at) for e in found] == [(e.event, e.at) for e in stored]
        assert {e.position.epoch for e in found} == {made.log.head.epoch}
        assert await rows_of(made) == {2**70: b"[2]"}
        assert made.log.progress == progress
        await made.lease.acquired()
        assert numbers((await made.log.append([event(4)], [])).entries) == [4]
        assert made.log.head.seq == 4


async def test_process_that_starts_beside_others_continues_their_epoch(
    redis_server: RedisServer,
) -> None:
    name = unused_name()
    async with opened(redis_server.url, name) as a:
        await a.lease.acquired()
        await a.log.append([event(1)], [])
        async with opened(redis_server.url, name) as b:
            assert b.log.head == a.log.head


async def test_start_without_others_begins_another_epoch_of_the_same_history(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Redis lost while no process ran is not known; a position of it must not be valid."""
    name = unused_name()
    async with opened(redis_server.url, name) as made:
        await made.lease.acquired()
        await made.log.append([event(1), event(2)], [], Progress(loaded=True))
        kept = made.log.head
        await crash(made)
    lost = Position(kept.epoch, kept.seq + 1)
    monkeypatch.setattr(loader, "ALIVE_SECONDS", 0.0)
    async with opened(redis_server.url, name) as made:
        await made.lease.acquired()
        await made.log.append([event(30), event(40)], [])
        assert made.log.head.epoch != kept.epoch
        assert made.log.locate(lost) is None
        with pytest.raises(PositionGoneError):
            made.log.after(lost)
        assert numbers(made.log.after(kept)) == [30, 40]


async def test_stream_keeps_no_more_events_than_the_log(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.log.redis.scripts.MIN_STREAM_ENTRIES", 200)
    name = unused_name()
    async with (
        opened(redis_server.url, name, events=200) as made,
        Redis.from_url(redis_server.url) as client,
    ):
        await made.lease.acquired()
        start = made.log.head
        for number in range(250):
            await made.log.append([event(2 * number), event(2 * number + 1)], [])
        length = await client.xlen(f"{{bridge:{name}}}:stream")
        assert 100 <= length < 250
        with pytest.raises(PositionGoneError):
            made.log.after(start)
        middle = Position(start.epoch, 300)
        async with opened(redis_server.url, name, events=200) as other:
            assert numbers(other.log.after(middle)) == numbers(made.log.after(middle))
            assert len(other.log.after(middle)) == 200


async def test_rows_that_change_while_they_are_read_are_those_of_the_head(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.log.redis.event_log.ROWS_PER_READ", 10)
    name = unused_name()
    async with opened(redis_server.url, name) as a, opened(redis_server.url, name) as b:
        await a.lease.acquired()
        await a.log.append([], [(n, b"[0]") for n in range(1_000)])
        commits = b.log.follow(b.log.head)
        known: dict[Key, bytes] = {}
        async for rows in b.log.rows():
            known.update(rows)
            number = len(known) % 1_000
            await a.log.append([event(number)], [(number, b"[1]"), (number + 1, None)])
        newest = b.log.head
        assert newest.seq > 0
        while True:
            commit = await anext(commits)
            for key, row in commit.rows:
                known.pop(key, None)
                if row is not None:
                    known[key] = row
            if commit.entries and commit.entries[-1].position == newest:
                break
        assert a.log.head == newest
        assert known == await rows_of(a)
