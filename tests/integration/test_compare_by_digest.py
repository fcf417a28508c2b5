"""A full comparison reads the ranges of keys whose digest has changed, and no others."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from bridge.pipeline import scan_scheduler
from bridge.source.postgrest import PostgrestTable
from bridge.source.realtime import source as realtime
from tests.integration.pipeline_rig import PipelineRig
from tests.integration.test_source_errors import settings_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge.sandbox import Sandbox

ROWS = 60
PAGE = 15
RANGES = ROWS // (PAGE - 1) + 1
FUNCTION = "public.bridge_digest(text, text, text, text, text)"


@pytest.fixture(autouse=True)
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The numbers of pages read and of digests."""
    monkeypatch.setattr(realtime, "TICK_SECONDS", 0.05)
    monkeypatch.setattr(scan_scheduler, "BACKGROUND_SHARE", 0.9)
    counts: Counter[str] = Counter()
    page, digest = PostgrestTable.page, PostgrestTable.digest

    async def counted_page(self: PostgrestTable, *args: Any) -> Any:
        counts["pages"] += 1
        return await page(self, *args)

    async def counted_digest(self: PostgrestTable, *args: Any) -> Any:
        counts["digests"] += 1
        return await digest(self, *args)

    monkeypatch.setattr(PostgrestTable, "page", counted_page)
    monkeypatch.setattr(PostgrestTable, "digest", counted_digest)
    return counts


@pytest.fixture
async def stock(sandbox: Sandbox) -> AsyncIterator[Sandbox]:
    """The sandbox, with a table whose `updated_at` no trigger moves."""
    await sandbox.execute(
        "create table stock (id text primary key, state text, price int, "
        "updated_at timestamptz default now());"
        "alter publication supabase_realtime add table stock;"
        "grant select on stock to service_role;"
        "insert into stock select 'k' || n, 'TX', n, now() - n * interval '1 hour' "
        f"from generate_series(1, {ROWS}) n"
    )
    yield sandbox
    await sandbox.execute("drop table stock")


@asynccontextmanager
async def comparing(sandbox: Sandbox, **overrides: Any) -> AsyncIterator[PipelineRig]:
    settings = settings_of(
        sandbox,
        **{
            "table": "stock",
            "columns": ("state", "price"),
            "page_rows": PAGE,
            "sweep_interval": 0.2,
            "compare_interval": 0.2,
            **overrides,
        },
    )
    async with PipelineRig.open(settings) as rig:
        await rig.begin()
        yield rig


async def passes(rig: PipelineRig, reads: Counter[str], count: int = 2) -> None:
    """Wait for full comparisons that take the digest of every range."""
    digests = reads["digests"]
    await rig.until(lambda: reads["digests"] >= digests + count * RANGES, 40)


async def ends_reading_pages(rig: PipelineRig, reads: Counter[str]) -> bool:
    """Return whether comparisons come to read no page. The mute stream is noticed meanwhile, and
    what follows from that reads the table as well.
    """
    for _ in range(5):
        pages = reads["pages"]
        await passes(rig, reads)
        if reads["pages"] == pages:
            return True
    return False


async def test_full_comparison_reads_only_ranges_whose_digest_changed(
    stock: Sandbox, reads: Counter[str]
) -> None:
    async with comparing(stock) as rig:
        await passes(rig, reads, 3)
        pages = reads["pages"]
        await passes(rig, reads)
        assert reads["pages"] == pages
        stock.faults.mute()
        await stock.execute("update stock set price = -1 where id in ('k50', 'k7')")
        await rig.until(lambda: rig.client.rows["k50"]["price"] == -1, 30)
        await rig.until(lambda: rig.client.rows["k7"]["price"] == -1, 30)
        assert reads["pages"] <= pages + 4


async def test_range_of_inserted_and_deleted_rows_is_read_again(
    stock: Sandbox, reads: Counter[str]
) -> None:
    async with comparing(stock) as rig:
        await passes(rig, reads, 3)
        stock.faults.mute()
        await stock.execute(
            "insert into stock select 'k5-' || n, 'CA', n, now() - n * interval '1 hour' "
            f"from generate_series(1, {3 * PAGE}) n"
        )
        await stock.execute("delete from stock where id = 'k50'")
        await rig.until(lambda: len(rig.client.rows) == ROWS + 3 * PAGE - 1, 30)
        await passes(rig, reads, 3)
        assert await ends_reading_pages(rig, reads)


async def test_column_replaced_by_another_one_is_compared(
    stock: Sandbox, reads: Counter[str]
) -> None:
    async with comparing(stock) as rig:
        await passes(rig, reads, 3)
        await stock.execute(
            "alter table stock drop column price; alter table stock add column price int default 3"
        )
        await rig.until(lambda: {row["price"] for row in rig.client.rows.values()} == {3}, 30)


async def test_full_comparison_reads_all_rows_without_the_function(
    stock: Sandbox, reads: Counter[str]
) -> None:
    await stock.execute(f"alter function {FUNCTION} rename to hidden_digest")
    try:
        async with comparing(stock) as rig:
            await rig.until(lambda: reads["digests"] >= RANGES)
            pages = reads["pages"]
            stock.faults.mute()
            await stock.execute("update stock set price = -1 where id = 'k50'")
            await rig.until(lambda: rig.client.rows["k50"]["price"] == -1, 30)
            assert reads["pages"] > pages
    finally:
        await stock.execute(
            "alter function hidden_digest(text, text, text, text, text) rename to bridge_digest"
        )


async def test_two_rows_of_one_key_on_two_pages_are_found(stock: Sandbox) -> None:
    await stock.execute("create table halves (id text, state text, price int)")
    await stock.execute(
        "grant select on halves to service_role; alter table halves replica identity full;"
        "alter publication supabase_realtime add table halves;"
        "insert into halves values ('a', 'TX', 1), ('b', 'TX', 2), ('b', 'CA', 3), ('c', 'TX', 4)"
    )
    try:
        settings = settings_of(
            stock, table="halves", columns=("state", "price"), page_rows=2, updated_at=""
        )
        async with PipelineRig.open(settings) as rig:
            await rig.until(
                lambda: "the key 'b' in several rows" in (rig.pipeline.status().error or ""), 15
            )
            assert not rig.pipeline.status().reconciled
    finally:
        await stock.execute("drop table halves")
