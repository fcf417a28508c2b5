"""Beats of the leader show a follower that another history has begun."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from bridge.log.redis import lease
from bridge.sandbox.redis import RedisServer
from tests.support.redis import crash, opened, parts, until, unused_name


async def test_follower_notices_a_new_history_that_begins_before_what_it_has_read(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.1)
    name = unused_name()
    async with opened(redis_server.url, name) as follower:
        leader = parts(redis_server.url, name, lease_seconds=0.3)
        await leader.log.open()
        await leader.lease.acquired()
        await until(lambda: int(follower.log._history.last_id.partition("-")[2]) > 5)
        await crash(leader)
        async with Redis.from_url(redis_server.url) as client:
            keys = [key async for key in client.scan_iter(f"{{bridge:{name}}}:*")]
            await client.unlink(*keys)
        async with opened(redis_server.url, name, lease_seconds=0.3) as other:
            await other.lease.acquired()
            await until(lambda: follower.log.head == other.log.head, seconds=5)
