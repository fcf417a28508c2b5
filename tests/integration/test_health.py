"""A bridge that can't observe its table reports it, and a failing part does not block the rest."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bridge import create_app
from bridge.errors import TableUnreadableError
from bridge.pipeline import scan_runner
from bridge.source.base import ReadRights
from tests.fakes import FakeSource, FakeTable, row, settings
from tests.integration.test_app import site

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bridge.changes import Key, Record

KINDS = ("page", "keys", "rows", "recent", "newest")
HURRIED = {"watch_interval": 0.05, "watch_grace": 0.02, "sweep_interval": 0.05}


class FailingTable(FakeTable):
    """A table of which the kinds of reads in `failing` fail."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        super().__init__(*rows)
        self.failing: set[str] = set()
        self.newest_reads = 0

    def _check(self, kind: str) -> None:
        if kind in self.failing:
            raise TableUnreadableError(f"57014 reading {kind}")

    async def page(self, after: Key | None, limit: int, up_to: Any = None) -> Sequence[Record]:
        self._check("page")
        keys = await FakeTable.keys(self, after, limit)
        return [self.contents[key] for key in keys if up_to is None or key <= up_to]

    async def keys(self, after: Key | None, limit: int) -> Sequence[Key]:
        self._check("keys")
        return await super().keys(after, limit)

    async def rows(self, keys: Sequence[Key]) -> Sequence[Record]:
        self._check("rows")
        return await super().rows(keys)

    async def recent(self, since: str, after: Key | None, limit: int) -> Sequence[Record]:
        self._check("recent")
        return await super().recent(since, after, limit)

    async def newest(self) -> Record | None:
        self.newest_reads += 1
        self._check("newest")
        return await super().newest()


async def until_ready_is(here: Any, status: int) -> None:
    async with asyncio.timeout(10):
        while await here.status_of("/readyz") != status:
            await asyncio.sleep(0.02)


async def test_bridge_with_an_unreadable_table_is_not_ready_with_the_cause() -> None:
    table = FailingTable(row("p1"))
    bridge = create_app(settings(stale_after=0.2, **HURRIED), source=FakeSource(), table=table)
    async with site(bridge, bridge) as here:
        await here.ready()
        table.failing = {"page", "recent", "rows"}
        await until_ready_is(here, 503)
        _, body = await here.get("/readyz")
        assert body["reason"] == "the table can't be read"
        _, status = await here.get("/status")
        assert "57014 reading" in status["reason"]
        assert bridge._running is not None
        gateway = bridge._running.gateway
        async with asyncio.timeout(20):
            while gateway.upstream_status.state != "stale":
                await asyncio.sleep(0.02)
        table.failing = set()
        await until_ready_is(here, 200)


@pytest.mark.parametrize("kind", ["recent", "keys", "newest", "page"])
async def test_lost_change_and_truncate_are_repaired_while_one_kind_of_read_fails(
    kind: str,
) -> None:
    table = FailingTable(row("p1"), row("p2"))
    bridge = create_app(settings(**HURRIED), source=FakeSource(), table=table)
    async with site(bridge, bridge) as here:
        await here.ready()
        async with here.receiving() as received:
            table.failing = {kind}
            table.write(row("p1", price=5, updated_at="2031-01-01T00:00:00Z"))
            async with asyncio.timeout(10):
                assert (await received.get())["event"] == "property-updated"
            table.contents.clear()
            async with asyncio.timeout(10):
                names = {(await received.get())["event"] for _ in range(2)}
            assert names == {"property-deleted"}
        assert await here.status_of("/readyz") == 200


@pytest.mark.parametrize("kind", ["recent", "keys", "newest", "page"])
async def test_restart_with_a_large_table_is_ready_while_one_kind_of_read_fails(
    kind: str, tmp_path: Path
) -> None:
    table = FailingTable(row("p1"), row("p2"))
    large = settings(log=f"sqlite:///{tmp_path / 'log.sqlite3'}", pass_rows=1)
    bridge = create_app(large, source=FakeSource(), table=table)
    async with site(bridge, bridge) as here:
        await here.ready()
    table.failing = {kind}
    bridge = create_app(large, source=FakeSource(), table=table)
    async with site(bridge, bridge) as here:
        await here.ready()
        assert len((await here.get("/properties"))[1]) == 2


async def test_lost_change_that_updated_at_does_not_show_is_found_by_a_full_comparison() -> None:
    old = [row(f"p{n}", updated_at=f"2026-01-05T{n:02d}:00:00Z") for n in range(20)]
    table = FakeTable(*old)
    bridge = create_app(settings(compare_interval=0.1, **HURRIED), source=FakeSource(), table=table)
    async with site(bridge, bridge) as here:
        await here.ready()
        async with here.receiving() as received:
            table.write({**old[3], "price": 99})
            async with asyncio.timeout(10):
                assert (await received.get())["data"]["changes"]["price"]["new"] == 99


class FilteredTable(FakeTable):
    """A table whose rows row level security hides from the role of the reads."""

    async def rights(self) -> ReadRights:
        return ReadRights("service_role", filtered=True)


async def test_bridge_whose_rows_are_hidden_is_not_ready_and_stale_with_the_remedy() -> None:
    table = FilteredTable(row("p1"), row("p2"))
    bridge = create_app(settings(stale_after=0.2, **HURRIED), source=FakeSource(), table=table)
    async with site(bridge, bridge) as here:
        await here.ready()
        shown = dict(table.contents)
        table.contents.clear()
        await until_ready_is(here, 503)
        _, status = await here.get("/status")
        assert "alter role service_role bypassrls" in status["reason"]
        assert status["pipeline"]["rows"] == 2
        assert bridge._running is not None
        gateway = bridge._running.gateway
        async with asyncio.timeout(20):
            while gateway.upstream_status.state != "stale":
                await asyncio.sleep(0.02)
        table.contents.update(shown)
        await until_ready_is(here, 200)


async def test_status_counts_updates_that_left_updated_at_unchanged() -> None:
    table, source = FakeTable(row("p1")), FakeSource()
    bridge = create_app(settings(), source=source, table=table)
    async with site(bridge, bridge) as here:
        await here.ready()
        change = table.write(row("p1", price=5))
        async with here.receiving() as received:
            source.put(replace(change, committed_at="2026-01-05T10:00:00Z"))
            async with asyncio.timeout(10):
                await received.get()
        _, status = await here.get("/status")
        assert status["pipeline"]["counts"]["updated_at_unchanged"] == 1


class HeavyTable(FakeTable):
    """A table of which a page of more than `most` rows takes longer than the statement timeout."""

    most = 1000

    async def page(self, after: Key | None, limit: int, up_to: Any = None) -> Sequence[Record]:
        if limit > self.most:
            raise TableUnreadableError("57014 canceling statement", refused=True)
        keys = await FakeTable.keys(self, after, limit)
        return [self.contents[key] for key in keys if up_to is None or key <= up_to]


async def test_pages_that_are_refused_are_halved_until_the_table_can_be_compared() -> None:
    old = [row(f"p{n:03}", updated_at=f"2026-01-05T0{n % 9}:00:00Z") for n in range(200)]
    table = HeavyTable(*old)
    bridge = create_app(settings(compare_interval=0.1, **HURRIED), source=FakeSource(), table=table)
    async with site(bridge, bridge) as here:
        await here.ready()
        async with here.receiving() as received:
            table.most = 40
            table.write({**old[199], "price": 99})
            async with asyncio.timeout(20):
                assert (await received.get())["data"]["changes"]["price"]["new"] == 99


async def test_lost_changes_are_repaired_by_scans_while_single_rows_can_not_be_read() -> None:
    table = FailingTable(row("p1"), row("p2"))
    bridge = create_app(settings(compare_interval=0.1, **HURRIED), source=FakeSource(), table=table)
    async with site(bridge, bridge) as here:
        await here.ready()
        async with here.receiving() as received:
            table.failing = {"rows"}
            for price in (5, 6):
                table.write(row("p1", price=price, updated_at="2026-01-01T00:00:00Z"))
                async with asyncio.timeout(10):
                    event = await received.get()
                assert event["data"]["changes"]["price"]["new"] == price


@pytest.mark.parametrize(("slow_seconds", "again"), [(0.0, False), (5.0, True)])
async def test_newest_row_is_not_read_again_at_once_after_a_slow_failure(
    slow_seconds: float, *, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_runner, "SLOW_FAILURE_SECONDS", slow_seconds)
    table = FailingTable(row("p1"))
    bridge = create_app(settings(**HURRIED), source=FakeSource(), table=table)
    async with site(bridge, bridge) as here:
        await here.ready()
        async with here.receiving() as received:
            table.failing, table.newest_reads = {"newest"}, 0
            for price in range(10):
                table.write(row("p1", price=price, updated_at=f"2031-01-01T00:00:{price:02}Z"))
                async with asyncio.timeout(10):
                    assert (await received.get())["event"] == "property-updated"
        assert (table.newest_reads > 1) is again
