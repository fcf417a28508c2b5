"""Logs of every backend, for the suites that all of them pass."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from bridge.log.base import EventLog
from bridge.log.memory import MemoryEventLog
from bridge.log.sqlite.database import Database
from bridge.log.sqlite.event_log import SqliteEventLog

OpenLog = Callable[[], Coroutine[Any, Any, EventLog]]


@pytest.fixture(params=["memory", "sqlite"])
async def open_log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenLog]:
    """Open logs of one backend; they are closed at the end."""
    opened: list[EventLog] = []

    async def make() -> EventLog:
        if request.param == "memory":
            log: EventLog = MemoryEventLog(100, 60)
        else:
            database = Database(tmp_path / f"{len(opened)}.sqlite3")
            log = SqliteEventLog(database, shape="", events=100, seconds=60)
        opened.append(log)
        await log.open()
        return log

    yield make
    for log in opened:
        await log.close()
