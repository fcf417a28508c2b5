"""The reader of a server that does not block, and the sessions of machines that are gone."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

import pytest
from redis.asyncio import Redis

from bridge.log.redis import machines, reader
from bridge.sandbox.redis import RedisServer
from tests.support.redis import crash, opened, parts, unused_name


class Unblocking:
    """Answers XREAD at once, as some hosts do."""

    def __init__(self) -> None:
        self.blocks: list[int | None] = []

    async def xread(self, _streams: object, *, count: int, block: int | None) -> Any:
        self.blocks.append(block)
        if len(self.blocks) < 6:
            return []
        return [(b"stream", [(b"0-2", {b"k": b"b"})])]


async def test_server_that_does_not_block_is_polled_and_reported_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reader, "POLL_SECONDS", 0.001)
    made = parts("redis://127.0.0.1:1/0", unused_name())
    client = Unblocking()
    with caplog.at_level(logging.WARNING):
        entries = await made.log._reader._next(cast("Redis", client))
    assert [entry_id for entry_id, _ in entries] == [b"0-2"]
    assert client.blocks == [5000, 5000, 5000, None, None, None]
    [record] = [r for r in caplog.records if "does not wait in XREAD BLOCK" in r.getMessage()]
    assert "127.0.0.1:1" in record.getMessage()


async def test_leader_removes_the_sessions_of_a_process_that_died(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(machines, "BEATS_PER_SWEEP", 2)
    monkeypatch.setattr(machines, "MIN_FORGET_SECONDS", 0.5)
    name = unused_name()
    async with opened(redis_server.url, name, session_seconds=0.5) as a:
        await a.lease.acquired()
        await a.sessions.put({"mine": b"1"})
        b = parts(redis_server.url, name, session_seconds=0.5)
        await b.log.open()
        await b.sessions.put({"theirs": b"2"})
        await crash(b)
        async with Redis.from_url(redis_server.url) as client:
            key = f"{{bridge:{name}}}:sessions"
            assert await client.hlen(key) == 2
            async with asyncio.timeout(10):
                while await client.hkeys(key) != [b"mine"]:
                    await asyncio.sleep(0.02)
