"""What `bridge check` reads of a log in Redis, and that it changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from bridge.errors import LogUnusableError
from bridge.log.redis.inspection import inspect_log
from bridge.log.redis.keys import SCHEMA
from bridge.sandbox.redis import RedisServer
from tests.support.redis import event, opened, options, unused_name


async def everything(redis_server: RedisServer, name: str) -> dict[bytes, Any]:
    """Return all keys of a bridge with their contents."""
    async with Redis.from_url(redis_server.url) as client:
        keys = [key async for key in client.scan_iter(match=f"*{name}*")]
        return {key: await client.dump(key) for key in keys}


async def test_new_log_is_inspected_and_not_made(redis_server: RedisServer) -> None:
    name = unused_name()
    found = await inspect_log(options(redis_server.url, name))
    assert (found.head, found.term, found.leader, found.machines) == ("", 0, "", {})
    assert not found.replaced
    assert found.server.eviction == "noeviction"
    assert await everything(redis_server, name) == {}


async def test_inspection_names_leader_machines_and_head(redis_server: RedisServer) -> None:
    name = unused_name()
    async with opened(redis_server.url, name) as one, opened(redis_server.url, name) as other:
        await one.lease.acquired()
        await one.log.append([event(1)], [])
        found = await inspect_log(options(redis_server.url, name))
        assert found.leader == one.log.process
        assert found.machines.keys() == {one.log.process, other.log.process}
        assert all(ago < 10 for ago in found.machines.values())
        assert found.head == str(one.log.head)
        assert found.term == one.lease.term
        # Bridges with the same settings may start.
        assert not found.replaced


async def test_log_that_others_use_with_other_columns_is_refused(
    redis_server: RedisServer,
) -> None:
    name = unused_name()
    async with opened(redis_server.url, name):
        with pytest.raises(LogUnusableError, match=r"1 other bridge with another table.*LOG_NAME"):
            await inspect_log(options(redis_server.url, name, shape="b"))
    before = await everything(redis_server, name)
    found = await inspect_log(options(redis_server.url, name, shape="b"))
    assert found.replaced, "it is used no more"
    assert await everything(redis_server, name) == before


async def test_log_of_a_later_version_is_refused(redis_server: RedisServer) -> None:
    name = unused_name()
    async with opened(redis_server.url, name):
        pass
    async with Redis.from_url(redis_server.url) as client:
        await client.hset(f"{{bridge:{name}}}:meta", "schema", SCHEMA + 1)
    with pytest.raises(LogUnusableError, match=r"later version.*run that version"):
        await inspect_log(options(redis_server.url, name))


async def test_wrong_password_is_refused_and_not_shown(redis_server: RedisServer) -> None:
    url = redis_server.url.replace("//", "//:wrong-password@")
    with pytest.raises(LogUnusableError, match="BRIDGE_LOG") as raised:
        await inspect_log(options(url, unused_name()))
    assert "wrong-password" not in str(raised.value)


async def test_server_that_is_not_there_is_refused(unused_tcp_port: int) -> None:
    with pytest.raises(LogUnusableError, match=r"can't be reached.*Check the address"):
        await inspect_log(options(f"redis://127.0.0.1:{unused_tcp_port}/0", unused_name()))
