"""A running installation that is switched from Realtime to replication and back, with its log."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from bridge.app import create_app
from tests.integration.replication_rig import drop_replication, replication_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from bridge.app import Bridge
    from bridge.log.base import EventLog, Position
    from bridge.sandbox import Sandbox
    from bridge.settings import Settings


@pytest.fixture
async def settings(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Settings]:
    yield replication_settings(sandbox, tmp_path, slot="bridge_switch", publication="bridge_switch")
    await drop_replication(sandbox, "bridge_switch")


@asynccontextmanager
async def running(settings: Settings, source: str) -> AsyncIterator[Bridge]:
    bridge = create_app(settings.model_copy(update={"source": source}))
    async with bridge.lifespan():
        await until(lambda: bridge.operations.readiness().ready)
        yield bridge


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not reached():
            await asyncio.sleep(0.01)


def log_of(bridge: Bridge) -> EventLog:
    assert bridge._running is not None
    return bridge._running.log


def prices(log: EventLog, start: Position) -> list[tuple[Any, Any]]:
    """Return old and new price of each event after a position."""
    located = log.locate(start)
    assert located is not None
    events = [orjson.loads(entry.event.envelope) for entry in log.after(located)]
    assert {each["event"] for each in events} <= {"property-updated"}
    changed = [each["data"]["changes"]["price"] for each in events]
    return [(each["old"], each["new"]) for each in changed]


async def reaches(log: EventLog, start: Position, last: int) -> None:
    """Wait for the event of price `last`; check that there is one for each price before it."""
    await until(lambda: len(prices(log, start)) >= last)
    assert prices(log, start) == [(n, n + 1) for n in range(last)]


async def test_switch_to_replication_and_back_loses_and_repeats_nothing(
    sandbox: Sandbox, settings: Settings
) -> None:
    [row] = await sandbox.execute("select id::text from properties order by id limit 1")

    async def write(price: int) -> None:
        await sandbox.execute("update properties set price = %s where id = %s", (price, row["id"]))

    await write(0)
    written = 0
    start: Position | None = None
    for source in ("realtime", "postgres", "realtime", "postgres", "postgres"):
        async with running(settings, source) as bridge:
            log = log_of(bridge)
            start = start or log.head
            await reaches(log, start, written)
            for _ in range(2):
                written += 1
                await write(written)
                await reaches(log, start, written)
        written += 1
        await write(written)  # while the bridge is down


async def test_position_of_replication_is_forgotten_by_the_other_source(
    sandbox: Sandbox, settings: Settings
) -> None:
    async with running(settings, "postgres") as bridge:
        await until(lambda: log_of(bridge).progress.stream is not None)
    async with running(settings, "realtime") as bridge:
        assert log_of(bridge).progress.stream is None
