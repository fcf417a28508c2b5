"""Revocations of users and sessions of users. They outlive a history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

    from bridge.log.redis.connection import Connection
    from bridge.log.redis.keys import Keys


class RedisRevocationStore:
    """Implements `log.base.RevocationStore`: a sorted set by time."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._key = keys("revocations")

    async def load(self) -> Sequence[tuple[str, str, float]]:
        found: Any = await self._connection.until_done(
            lambda redis: redis.zrange(self._key, 0, -1, withscores=True), lambda _: None
        )
        out = []
        for member, at in found:
            kind, _, name = member.decode().partition(":")
            out.append((kind, name, float(at)))
        return out

    async def put(self, kind: str, name: str, at: float, *, oldest: float) -> None:
        async def store(redis: Redis) -> None:
            async with redis.pipeline(transaction=True) as pipeline:
                pipeline.zadd(self._key, {f"{kind}:{name}": at}, gt=True)
                pipeline.zremrangebyscore(self._key, "-inf", f"({oldest!r}")
                await pipeline.execute()

        await self._connection.until_done(store, lambda _: None)
