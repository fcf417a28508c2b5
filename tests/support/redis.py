"""Real Redis servers for tests, and logs on them."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from bridge.changes import Key
from bridge.clock import Clock
from bridge.events import Event
from bridge.log.base import Entry
from bridge.log.redis.build import RedisOptions, RedisParts, build
from bridge.log.redis.connection import end

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
async def opened(url: str, name: str, **overrides: Any) -> AsyncIterator[RedisParts]:
    """Open the log of one more process, and close it after the block."""
    made = parts(url, name, **overrides)
    await made.log.open()
    try:
        yield made
    finally:
        await made.log.close()


async def crash(made: RedisParts) -> None:
    """End a process as SIGKILL does: its connections are closed, and nothing is released."""
    made.lease._not_before = float("inf")
    tasks = [task for task in (*made.log._tasks, made.lease._renewing) if task is not None]
    await end(*tasks)
    await made.log._appender.close()
    await made.log._connection.close()


def event(number: int, text: str = "{}") -> Event:
    return Event("property-updated", number, ("everything",), text.encode())


def numbers(entries: Iterable[Entry]) -> list[object]:
    """Return the keys of the events of entries."""
    return [entry.event.key for entry in entries]


async def rows_of(made: RedisParts) -> dict[Key, bytes]:
    """Return the stored rows."""
    return {key: row async for rows in made.log.rows() for key, row in rows}


async def until(reached: Callable[[], object], seconds: float = 10) -> None:
    """Wait until a condition of the running log holds."""
    async with asyncio.timeout(seconds):
        while not reached():
            await asyncio.sleep(0.005)
