"""Sessions, revocations and the leader's rows in Redis."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from bridge.errors import LeaseLostError
from bridge.events import Event
from bridge.log.base import Progress
from bridge.log.redis.build import build_rows
from bridge.log.redis.row_log import RedisRowLog
from bridge.sandbox.redis import RedisServer
from tests.support.redis import opened, unused_name


async def test_session_is_taken_by_another_process_and_its_owner_is_refused(
    redis_server: RedisServer,
) -> None:
    name = unused_name()
    async with opened(redis_server.url, name) as a, opened(redis_server.url, name) as b:
        assert await a.sessions.put({"one": b"1", "two": b"2"}) == []
        assert await b.sessions.take("one") == b"1"
        assert await a.sessions.put({"one": b"old", "two": b"new"}) == ["one"]
        assert await a.sessions.put({"one": None}) == ["one"]
        assert await b.sessions.put({"one": b"3"}) == []
        assert await a.sessions.take("one") == b"3"


async def test_session_that_was_deleted_is_not_found(redis_server: RedisServer) -> None:
    async with opened(redis_server.url, unused_name()) as a:
        await a.sessions.put({"one": b"1"})
        await a.sessions.put({"one": None})
        assert await a.sessions.take("one") is None
        assert await a.sessions.take("unknown") is None
        assert await a.sessions.load() == ()


async def test_sessions_that_are_taken_at_the_same_time_are_one_command(
    redis_server: RedisServer,
) -> None:
    name = unused_name()
    async with opened(redis_server.url, name) as a, opened(redis_server.url, name) as b:
        sessions = {f"s{n}": str(n).encode() for n in range(300)}
        await a.sessions.put(sessions)
        await b.sessions.take("s0")  # the server knows the script from now on
        async with Redis.from_url(redis_server.url) as client:
            before = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"]
            taken = await asyncio.gather(*(b.sessions.take(key) for key in sessions))
            after = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"]
        assert taken == list(sessions.values())
        assert after - before <= 3  # one, and perhaps a beat of each process


async def test_many_sessions_are_stored_in_portions(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.log.redis.session_store.SESSIONS_PER_COMMAND", 3)
    name = unused_name()
    async with opened(redis_server.url, name) as a, opened(redis_server.url, name) as b:
        sessions = {f"s{n}": b"x" for n in range(8)}
        await a.sessions.put(sessions)
        assert await asyncio.gather(*(b.sessions.take(key) for key in sessions)) == [b"x"] * 8
        assert await a.sessions.put(dict.fromkeys(sessions, b"y")) == list(sessions)


async def test_sweep_removes_the_sessions_of_processes_that_are_gone(
    redis_server: RedisServer,
) -> None:
    name = unused_name()
    async with opened(redis_server.url, name) as a, opened(redis_server.url, name) as b:
        await a.sessions.put({"a": b"1"})
        await b.sessions.put({"b": b"2"})
        await b.sessions.sweep({b.log.process})
        assert await b.sessions.take("a") is None
        assert await b.sessions.take("b") == b"2"


async def test_session_is_not_found_while_the_server_is_away() -> None:
    async with RedisServer() as server, opened(server.url, unused_name()) as made:
        await made.sessions.put({"a": b"1"})
        await server.kill()
        assert await made.sessions.take("a") is None


async def test_revocations_are_shared_and_outlive_a_history(redis_server: RedisServer) -> None:
    name = unused_name()
    async with opened(redis_server.url, name) as a, opened(redis_server.url, name) as b:
        await a.revocations.put("user", "u:1", 100.5, oldest=0.0)
        await a.revocations.put("session", "s", 200.0, oldest=0.0)
        assert sorted(await b.revocations.load()) == [
            ("session", "s", 200.0),
            ("user", "u:1", 100.5),
        ]
        async with Redis.from_url(redis_server.url) as client:
            await client.unlink(f"{{bridge:{name}}}:meta")
        await b.revocations.put("user", "v", 300.0, oldest=150.0)
        assert sorted(await a.revocations.load()) == [
            ("session", "s", 200.0),
            ("user", "v", 300.0),
        ]


async def test_earlier_revocation_does_not_replace_a_later_one(redis_server: RedisServer) -> None:
    async with opened(redis_server.url, unused_name()) as made:
        await made.revocations.put("user", "u", 200.0, oldest=0.0)
        await made.revocations.put("user", "u", 100.0, oldest=0.0)
        assert await made.revocations.load() == [("user", "u", 200.0)]


async def rows_log(url: str, name: str, shape: str = "a") -> RedisRowLog:
    log = build_rows(url, name, shape)
    await log.open()
    return log


async def rows_of(log: RedisRowLog) -> dict[object, bytes]:
    return {key: row async for rows in log.rows() for key, row in rows}


async def test_next_leader_finds_the_rows_and_the_earlier_one_may_not_write(
    redis_server: RedisServer,
) -> None:
    name = unused_name()
    first = await rows_log(redis_server.url, name)
    progress = Progress(loaded=True, watermark="2026-01-01T00:00:00+00:00")
    await first.append([], [("a", b"[1]"), (2, b"[2]")])
    await first.append([], [("a", None)], progress)
    second = await rows_log(redis_server.url, name)
    assert await rows_of(second) == {2: b"[2]"}
    assert second.progress == progress
    with pytest.raises(LeaseLostError):
        await first.append([], [("b", b"[3]")])
    await second.append([], [("c", b"[4]")])
    assert await rows_of(second) == {2: b"[2]", "c": b"[4]"}
    await first.close()
    await second.close()


async def test_rows_with_other_columns_are_dropped(redis_server: RedisServer) -> None:
    name = unused_name()
    first = await rows_log(redis_server.url, name)
    await first.append([], [("a", b"[1]")], Progress(loaded=True))
    await first.close()
    second = await rows_log(redis_server.url, name, "b")
    assert await rows_of(second) == {}
    assert second.progress == Progress()
    await second.close()


async def test_rows_that_were_evicted_are_loaded_again(redis_server: RedisServer) -> None:
    name = unused_name()
    first = await rows_log(redis_server.url, name)
    await first.append([], [("a", b"[1]")], Progress(loaded=True))
    await first.close()
    async with Redis.from_url(redis_server.url) as client:
        await client.unlink(f"{{bridge:{name}}}:watches-rows")
    second = await rows_log(redis_server.url, name)
    assert second.progress == Progress()
    await second.close()


async def test_rows_log_rejects_events(redis_server: RedisServer) -> None:
    log = await rows_log(redis_server.url, unused_name())
    with pytest.raises(ValueError, match="rows alone"):
        await log.append([Event("property-deleted", 1, (), b"{}")], [])
    await log.close()
