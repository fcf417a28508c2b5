"""Whether a Redis or Valkey server can hold the log, and what an operator should know about it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

from bridge.errors import LogUnusableError
from bridge.log.base import LogServer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis.asyncio import Redis

OLDEST_VERSION: Final = (6, 2)
"""XTRIM MINID and exclusive ranges of streams came with it."""

CLOCK_SECONDS: Final = 5.0
"""A larger difference between the clocks is reported: entries are kept by their time."""

MEMORY_SHARE: Final = 0.9
"""Of `maxmemory`; a fuller server is reported, before it refuses writes."""


async def inspect(client: Redis, server: str) -> LogServer:
    """Return the facts of the server. Raises `LogUnusableError` if it can't hold a log."""
    info: Mapping[str, Any] = await client.info()
    asked = time.time()
    seconds, micros = await client.time()
    return facts_of(
        info,
        server,
        saves=await _saves(client),
        clock=seconds + micros / 1e6 - (asked + time.time()) / 2,
    )


def facts_of(info: Mapping[str, Any], server: str, *, saves: str | None, clock: float) -> LogServer:
    """Return the facts of a server from its INFO. `saves`: its setting `save`, None: not known.
    `clock`: seconds that its clock is ahead. Raises `LogUnusableError`.
    """
    version = str(info.get("redis_version", "0"))
    valkey = info.get("valkey_version")
    name = f"Valkey {valkey}" if valkey else f"Redis {version}"
    parts = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if parts < OLDEST_VERSION:
        raise LogUnusableError(
            f"expected Redis 6.2 or later, or Valkey, at {server}; found {name}. Upgrade the "
            "server, or name another one in BRIDGE_LOG"
        )
    if info.get("cluster_enabled") in (1, "1"):
        raise LogUnusableError(
            f"the server at {server} is a node of a cluster, which spreads keys over its nodes; "
            "expected one server, with replicas if you like. Name one in BRIDGE_LOG"
        )
    role = str(info.get("role", "master"))
    if role != "master":
        raise LogUnusableError(
            f"the server at {server} is a replica of {info.get('master_host', 'another server')}, "
            "which takes no writes. Name the primary in BRIDGE_LOG"
        )
    policy = str(info.get("maxmemory_policy", "noeviction"))
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    aof = info.get("aof_enabled") in (1, "1")
    persistence = "AOF" if aof else "off" if saves == "" else "RDB" if saves else "unknown"
    warnings = []
    if policy.startswith("allkeys"):
        warnings.append(
            f"it may evict the log (maxmemory-policy {policy}): each time, all clients load a new "
            "snapshot. Set noeviction or volatile-lru"
        )
    if limit and used > limit * MEMORY_SHARE:
        warnings.append(
            f"its memory is nearly full ({_mb(used)} of {_mb(limit)}): without room no change is "
            "published. Raise maxmemory, or lower BRIDGE_LOG_EVENTS or BRIDGE_LOG_SECONDS"
        )
    if persistence in ("off", "RDB"):
        warnings.append(
            "its restart loses "
            + ("the log" if persistence == "off" else "what was stored since the last snapshot")
            + f" (persistence: {persistence}): all clients then load a new snapshot. Set "
            "appendonly yes"
        )
    if abs(clock) > CLOCK_SECONDS:
        warnings.append(
            f"its clock is {abs(clock):.0f} s {'ahead of' if clock > 0 else 'behind'} this "
            "machine's: synchronise both"
        )
    return LogServer(
        version=name,
        role=role,
        eviction=policy,
        persistence=persistence,
        memory=f"{_mb(used)} of {_mb(limit) if limit else 'no limit'}",
        warnings=tuple(warnings),
    )


async def _saves(client: Redis) -> str | None:
    """Return the setting `save`; None if the server hides it, as hosts' often do."""
    try:
        found: Any = await client.config_get("save")
    except ResponseError:
        return None
    save: str | None = found.get("save")
    return save


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
