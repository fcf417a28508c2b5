"""Scans of a large table."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bridge import create_app
from bridge.pipeline import scan_runner, watermark
from tests.fakes import FakeSource, FakeTable, row, settings
from tests.integration.test_app import site

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest

    from bridge.changes import Key, Record


class UnreadableKeys(FakeTable):
    """A table with keys that can't be read until `readable` is set."""

    def __init__(self, *rows: Record) -> None:
        super().__init__(*(dict(record) for record in rows))
        self.readable = asyncio.Event()
        self.readable.set()

    async def keys(self, after: Key | None, limit: int) -> Sequence[Key]:
        await self.readable.wait()
        return await super().keys(after, limit)


async def test_restart_is_ready_before_the_key_scan_is_complete(tmp_path: Path) -> None:
    table = UnreadableKeys(row("p1"), row("p2"))
    large = settings(log=f"sqlite:///{tmp_path / 'log.sqlite3'}", pass_rows=1)
    bridge = create_app(large, source=FakeSource(), table=table)
    async with site(bridge, bridge) as here:
        await here.ready()
    table.readable.clear()
    table.remove("p2")
    table.write(row("p1", price=5, updated_at="2031-01-01T00:00:00Z"))
    bridge = create_app(large, source=FakeSource(), table=table)
    async with site(bridge, bridge) as here:
        await here.ready()
        _, status = await here.get("/status")
        assert status["pipeline"]["counts"]["property-updated"] == 1
        assert status["pipeline"]["passing"] is True
        assert len((await here.get("/properties"))[1]) == 2
        async with here.receiving() as received:
            table.readable.set()
            async with asyncio.timeout(20):
                assert (await received.get())["event"] == "property-deleted"


class CountingTable(FakeTable):
    """Sets `nothing` when a recent scan begins past all rows."""

    def __init__(self, *rows: Record) -> None:
        super().__init__(*(dict(record) for record in rows))
        self.nothing = asyncio.Event()
        self.recent_reads: list[int] = []

    async def recent(self, since: str, after: Key | None, limit: int) -> Sequence[Record]:
        found = await super().recent(since, after, limit)
        self.recent_reads.append(len(found))
        if not found and after is None:
            self.nothing.set()
        return found


async def test_watermark_passes_many_rows_with_one_updated_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watermark, "OVERLAP_SECONDS", 0.2)
    monkeypatch.setattr(scan_runner, "MAX_RECENT_ROWS", 2)
    table = CountingTable(*(row(f"p{n}") for n in range(9)))
    source = FakeSource()
    hurried = settings(page_rows=2, watch_interval=0.05, watch_grace=0.1)
    bridge = create_app(hurried, source=source, table=table)
    async with site(bridge, bridge) as here:
        await here.ready()
        async with asyncio.timeout(10):
            await table.nothing.wait()
        assert 2 in table.recent_reads  # they are read again until the watermark has passed them
        async with here.receiving() as received:
            source.put(table.write(row("p1", price=5, updated_at="2031-01-01T00:00:00Z")))
            async with asyncio.timeout(20):
                assert (await received.get())["data"]["changes"]["price"]["new"] == 5


async def test_recent_scan_does_not_read_the_table_again_if_a_row_is_dated_at_infinity(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watermark, "OVERLAP_SECONDS", 0.2)
    rows = [row(f"p{n}", updated_at=f"2026-01-05T09:{n:02d}:00Z") for n in range(20)]
    table = CountingTable(*rows, row("p99", updated_at="infinity"))
    hurried = settings(watch_interval=0.02, watch_grace=0.1)
    bridge = create_app(hurried, source=FakeSource(), table=table)
    async with site(bridge, bridge) as here:
        await here.ready()
        async with asyncio.timeout(10):
            while len(table.recent_reads) < 9:
                await asyncio.sleep(0.02)
    # The row of infinity and those within the overlap of the newest other one.
    assert max(table.recent_reads[-6:]) == 2, table.recent_reads
