"""Logs of every backend, for the suites that all of them pass."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from bridge.clock import Clock
from bridge.log.base import EventLog
from bridge.log.memory import MemoryEventLog
from bridge.log.sqlite.database import Database
from bridge.log.sqlite.event_log import SqliteEventLog
from bridge.sandbox.redis import RedisServer
from tests.support.redis import parts, unused_name

OpenLog = Callable[..., Coroutine[Any, Any, EventLog]]


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def open_log(
    request: pytest.FixtureRequest, tmp_path: Path, redis_server: RedisServer
) -> AsyncIterator[OpenLog]:
    """Open logs of one backend that this process may write; they are closed at the end.

    `open_log(events=100, seconds=60, clock=None)` sets the limits.
    """
    opened: list[EventLog] = []

    async def make(events: int = 100, seconds: float = 60, clock: Clock | None = None) -> EventLog:
        lease = None
        if request.param == "memory":
            log: EventLog = MemoryEventLog(events, seconds, clock)
        elif request.param == "sqlite":
            database = Database(tmp_path / f"{len(opened)}.sqlite3")
            log = SqliteEventLog(database, shape="", events=events, seconds=seconds, clock=clock)
        else:
            made = parts(redis_server.url, unused_name(), clock, events=events, seconds=seconds)
            log, lease = made.log, made.lease
        opened.append(log)
        await log.open()
        if lease is not None:
            await lease.acquired()
        return log

    yield make
    for log in opened:
        await log.close()
