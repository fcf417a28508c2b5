"""Real Redis servers for tests, and logs on them."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bridge.clock import Clock
from bridge.log.redis.build import RedisOptions, RedisParts, build
from bridge.sandbox.redis import RedisServer

_names = itertools.count(1)


def unused_name() -> str:
    """Return a name under which no bridge has written to a server."""
    return f"test-{os.getpid()}-{next(_names)}"


def options(url: str, name: str, **overrides: Any) -> RedisOptions:
    values: dict[str, Any] = {
        "shape": "a",
        "events": 100,
        "seconds": 60,
        "lease_seconds": 2.0,
        "session_seconds": 120.0,
        **overrides,
    }
    return RedisOptions(url=url, name=name, **values)


def parts(url: str, name: str, clock: Clock | None = None, **overrides: Any) -> RedisParts:
    """Return the log of one more process, which is not open yet."""
    return build(options(url, name, **overrides), clock=clock)


@asynccontextmanager
async def opened(
    server: RedisServer, name: str, clock: Clock | None = None, **overrides: Any
) -> AsyncIterator[RedisParts]:
    """Open the log of one more process, and close it after the block."""
    made = parts(server.url, name, clock, **overrides)
    await made.log.open()
    try:
        yield made
    finally:
        await made.log.close()
