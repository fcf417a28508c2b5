"""The application over a log in a file: restarts and full disks."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
import socketio

from bridge import create_app
from bridge.log.sqlite import database
from tests.fakes import AT, FakeSource, FakeTable, row, settings
from tests.integration.test_app import site

if TYPE_CHECKING:
    from pathlib import Path

    from bridge import Bridge


def bridged(path: Path, table: FakeTable, **overrides: Any) -> tuple[Bridge, FakeSource]:
    source = FakeSource()
    log = f"sqlite:///{path / 'log.sqlite3'}"
    bridge = create_app(settings(log=log, **overrides), source=source, table=table)
    bridge.on_failure = lambda _error: None
    return bridge, source


async def test_restart_emits_changes_made_meanwhile_relative_to_stored_rows(
    tmp_path: Path,
) -> None:
    table = FakeTable(row("p1"), row("p2"), row("p3"))
    bridge, source = bridged(tmp_path, table)
    async with site(bridge, bridge) as here:
        await here.ready()
        async with here.receiving() as received:
            source.put(table.write(row("p1", price=5)))
            async with asyncio.timeout(20):
                await received.get()
    table.write(row("p1", price=6, updated_at="2026-02-01T00:00:00Z"))
    table.remove("p2")
    table.write(row("p4", updated_at="2026-02-01T00:00:00Z"))
    emitted: list[Any] = []
    bridge, source = bridged(tmp_path, table)
    async with site(bridge, bridge) as here:
        await here.ready()
        _, status = await here.get("/status")
        assert bridge._running is not None
        log = bridge._running.log
        start = type(log.head)(log.head.epoch, 1)
        emitted = [(entry.event.name, entry.event.key) for entry in log.after(start)]
        [changed] = [entry for entry in log.after(start) if entry.event.key == "p1"]
    assert sorted(emitted) == [
        ("property-created", "p4"),
        ("property-deleted", "p2"),
        ("property-updated", "p1"),
    ]
    assert b'"price":{"old":5,"new":6}' in changed.event.envelope
    assert status["pipeline"]["rows"] == 3


async def test_restart_without_changes_emits_no_event(tmp_path: Path) -> None:
    table = FakeTable(row("p1"), row("p2"))
    for _ in range(3):
        bridge, _ = bridged(tmp_path, table)
        async with site(bridge, bridge) as here:
            await here.ready()
            _, status = await here.get("/status")
            assert status["log_head"].endswith("-0")
            assert status["log_server"] is None


class FullDisk:
    """The disk of the log; writes fail while `full` is set."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(database, "FIRST_RETRY_SECONDS", 0.01)
        patch.setattr(database, "LONGEST_RETRY_SECONDS", 0.02)
        self._commit = database.Database._commit
        self.full = False
        disk = self

        def commit(it: database.Database, jobs: Any) -> None:
            if disk.full:
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                error.sqlite_errorname = "SQLITE_FULL"
                raise database._TransientError(database._text(error))
            disk._commit(it, jobs)

        patch.setattr(database.Database, "_commit", commit)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FullDisk:
    return FullDisk(monkeypatch)


async def test_full_disk_stops_events_and_is_reported_everywhere(
    tmp_path: Path, disk: FullDisk
) -> None:
    table = FakeTable(row("p1"))
    bridge, source = bridged(tmp_path, table, stale_after=0.01)
    async with site(bridge, bridge) as here:
        await here.ready()
        states: asyncio.Queue[str] = asyncio.Queue()
        events: asyncio.Queue[Any] = asyncio.Queue()
        client = socketio.AsyncClient(
            reconnection=False, handle_sigint=False, http_session=here.http
        )
        client.on("bridge-status", lambda envelope: states.put_nowait(envelope["data"]["state"]))
        client.on("property-updated", events.put_nowait)
        await client.connect(here.url, transports=["websocket"])
        async with asyncio.timeout(10):
            while await states.get() != "live":
                pass
            disk.full = True
            source.put(table.write(row("p1", price=5)))
            while await states.get() != "stale":
                pass
            code, body = await here.get("/readyz")
            assert code == 503
            assert body["reason"] == "the log can't be written"
            _, status = await here.get("/status")
            assert "disk is full" in status["reason"]
            assert "disk is full" in status["log_error"]
            assert events.empty()
            disk.full = False
            envelope = await events.get()
            while await states.get() != "live":
                pass
        await client.disconnect()
        assert await here.status_of("/readyz") == 200
    assert envelope["data"]["changes"] == {"price": {"old": 1_000_000, "new": 5}}
    assert envelope["data"]["updated_at"] == AT


async def test_bridge_stops_while_the_disk_is_full(tmp_path: Path, disk: FullDisk) -> None:
    table = FakeTable(row("p1"))
    bridge, source = bridged(tmp_path, table)
    async with asyncio.timeout(10):
        async with site(bridge, bridge) as here:
            await here.ready()
            disk.full = True
            source.put(table.write(row("p1", price=5)))
            while (await here.get("/status"))[1]["log_error"] is None:
                await asyncio.sleep(0.01)
        disk.full = False
        # A change that could not be stored was not published: the next start finds it.
        bridge, _ = bridged(tmp_path, table)
        async with site(bridge, bridge) as here:
            await here.ready()
            _, status = await here.get("/status")
    assert status["log_head"].endswith("-1")
