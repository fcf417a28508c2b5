"""The keys of a bridge with other settings or of another version."""

from __future__ import annotations

import re

import pytest
from redis.asyncio import Redis

from bridge.errors import LogUnusableError
from bridge.log.base import Progress
from bridge.log.redis import loader
from bridge.sandbox.redis import RedisServer
from tests.support.redis import crash, event, opened, parts, unused_name


async def refusal(url: str, name: str, shape: str) -> str:
    made = parts(url, name, shape=shape)
    with pytest.raises(LogUnusableError) as raised:
        await made.log.open()
    return str(raised.value)


async def test_other_settings_are_refused_while_a_bridge_uses_the_log(
    redis_server: RedisServer,
) -> None:
    name = unused_name()
    async with opened(redis_server.url, name, shape="a") as made:
        await made.lease.acquired()
        await made.log.append([event(1)], [])
        text = await refusal(redis_server.url, name, "b")
        assert made.lease.leading
        await made.log.append([event(2)], [])
    assert re.search(r"used by 1 other bridge with another table, key, columns or region", text)
    assert "BRIDGE_LOG_NAME" in text


async def test_other_settings_begin_a_new_history_when_no_bridge_uses_the_log(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = unused_name()
    async with opened(redis_server.url, name, shape="a") as made:
        await made.lease.acquired()
        await made.log.append([event(1)], [("a", b"[1]")], Progress(loaded=True))
        before = made.log.head
        await crash(made)
    monkeypatch.setattr(loader, "ALIVE_SECONDS", 0.0)
    async with opened(redis_server.url, name, shape="b") as made:
        assert made.log.locate(before) is None
        assert made.log.progress == Progress()
        assert [rows async for rows in made.log.rows()] == []


async def test_other_settings_are_accepted_as_soon_as_the_other_bridge_has_stopped(
    redis_server: RedisServer,
) -> None:
    name = unused_name()
    async with opened(redis_server.url, name, shape="a") as made:
        before = made.log.head
    async with opened(redis_server.url, name, shape="b") as made:
        assert made.log.locate(before) is None


async def test_later_version_is_refused_and_its_keys_are_left_unchanged(
    redis_server: RedisServer,
) -> None:
    name = unused_name()
    async with opened(redis_server.url, name) as made:
        await made.lease.acquired()
        await made.log.append([event(1)], [])
    meta = f"{{bridge:{name}}}:meta"
    async with Redis.from_url(redis_server.url) as client:
        await client.hset(meta, "schema", "2")
        before = await client.hmget(meta, "schema", "epoch", "head", "rows")
        text = await refusal(redis_server.url, name, "a")
        assert await client.hmget(meta, "schema", "epoch", "head", "rows") == before
    assert "from a later version of the bridge (its keys are version 2, this one knows 1)" in text


async def test_earlier_version_is_refused_while_it_runs(redis_server: RedisServer) -> None:
    name = unused_name()
    async with opened(redis_server.url, name):
        async with Redis.from_url(redis_server.url) as client:
            await client.hset(f"{{bridge:{name}}}:meta", "schema", "0")
        text = await refusal(redis_server.url, name, "a")
    assert "is used by 1 other bridge of an earlier version" in text


async def test_bridges_of_two_names_do_not_meet(redis_server: RedisServer) -> None:
    one, two = unused_name(), unused_name()
    async with opened(redis_server.url, one) as a, opened(redis_server.url, two, shape="b") as b:
        await a.lease.acquired()
        await b.lease.acquired()
        await a.log.append([event(1)], [])
        assert b.log.head.seq == 0


async def test_key_of_another_program_is_refused(redis_server: RedisServer) -> None:
    name = unused_name()
    async with Redis.from_url(redis_server.url) as client:
        await client.set(f"{{bridge:{name}}}:meta", "mine")
        text = await refusal(redis_server.url, name, "a")
        assert await client.get(f"{{bridge:{name}}}:meta") == b"mine"
    assert "can't be used" in text
    assert "WRONGTYPE" in text
