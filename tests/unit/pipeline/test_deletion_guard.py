"""Whether rows that reads do not find are taken for deleted."""

from __future__ import annotations

import pytest

from bridge.clock import ManualClock
from bridge.errors import DeletionUnprovenError
from bridge.pipeline.deletion_guard import FEW_ROWS, PROOF_SECONDS, DeletionGuard
from bridge.pipeline.merger import ChangeMerger
from bridge.pipeline.table_reader import TableReader
from bridge.projection import Projection
from bridge.rows import RowStore
from bridge.source.base import ReadRights
from tests.fakes import FakeTable

HOLD = 60.0
PROJECTION = Projection()
UNKNOWN = ReadRights("service_role")
PROVEN = ReadRights("service_role", filtered=False)
FILTERED = ReadRights("service_role", filtered=True)


class GuardedTable(FakeTable):
    """A table of `counted` rows, under a role with `found` rights."""

    found = UNKNOWN
    counted = 0

    async def rights(self) -> ReadRights:
        return self.found

    async def count(self) -> int:
        return self.counted


class Guarded:
    """A guard of a table of which `known` rows are known."""

    def __init__(self, known: int, found: ReadRights) -> None:
        self.clock = ManualClock()
        rows = RowStore(PROJECTION.known)
        rows.load((f"p{n}", b"[]") for n in range(known))
        self.reader = TableReader(ChangeMerger(PROJECTION, rows), self.clock)
        self.table = GuardedTable()
        self.table.found = found
        self.guard = DeletionGuard(
            "public.t", self.table, rows, reader=self.reader, clock=self.clock, hold=HOLD
        )

    async def confirm(self, missing: int) -> bool:
        return await self.guard.confirm(missing, self.clock.monotonic())

    async def refused(self, missing: int) -> str:
        with pytest.raises(DeletionUnprovenError) as caught:
            await self.confirm(missing)
        return str(caught.value)


async def test_deletion_is_confirmed_by_a_proof_before_and_after_the_read() -> None:
    guarded = Guarded(100, PROVEN)
    assert not await guarded.confirm(100)
    assert await guarded.confirm(100)


async def test_proof_of_long_ago_does_not_count() -> None:
    guarded = Guarded(100, PROVEN)
    await guarded.confirm(100)
    guarded.clock.advance(PROOF_SECONDS + 1)
    assert not await guarded.confirm(100)


async def test_read_after_a_filtered_one_is_made_again() -> None:
    guarded = Guarded(100, PROVEN)
    await guarded.confirm(1)
    guarded.table.found = FILTERED
    await guarded.refused(1)
    guarded.table.found = PROVEN
    assert not await guarded.confirm(1)


@pytest.mark.parametrize("missing", [1, 50, 100])
async def test_any_loss_is_refused_while_reads_are_filtered(missing: int) -> None:
    guarded = Guarded(100, FILTERED)
    assert "alter role service_role bypassrls" in await guarded.refused(missing)
    guarded.clock.advance(HOLD + 1)
    await guarded.refused(missing)


@pytest.mark.parametrize(
    ("known", "missing"), [(100, 100), (100, 50), (5, 5), (2, 2), (FEW_ROWS, FEW_ROWS)]
)
async def test_great_loss_is_held_for_a_time_without_a_proof(known: int, missing: int) -> None:
    guarded = Guarded(known, UNKNOWN)
    guarded.table.counted = known - missing
    assert "bridge_rights" in await guarded.refused(missing)
    guarded.clock.advance(HOLD)
    assert await guarded.confirm(missing)


@pytest.mark.parametrize(("known", "missing"), [(100, 49), (15, FEW_ROWS), (5, 4), (1, 1)])
async def test_small_loss_is_not_held(known: int, missing: int) -> None:
    assert await Guarded(known, UNKNOWN).confirm(missing)


@pytest.mark.parametrize("role", ["anon", "reader", ""])
async def test_great_loss_under_another_role_is_held_for_ever(role: str) -> None:
    guarded = Guarded(100, ReadRights(role))
    await guarded.refused(100)
    guarded.clock.advance(HOLD * 1000)
    assert "never emitted" in await guarded.refused(100)


async def test_loss_that_a_count_contradicts_is_held() -> None:
    guarded = Guarded(100, UNKNOWN)
    guarded.table.counted = 100
    guarded.clock.advance(HOLD)
    assert "100 are counted" in await guarded.refused(100)


async def test_loss_that_is_over_begins_the_time_again() -> None:
    guarded = Guarded(100, UNKNOWN)
    await guarded.refused(100)
    guarded.clock.advance(HOLD)
    guarded.guard.settled()
    assert guarded.reader.unreadable_since is None
    await guarded.refused(100)


async def test_held_loss_makes_the_table_unreadable_since_the_first_refusal() -> None:
    guarded = Guarded(100, FILTERED)
    since = guarded.clock.monotonic()
    await guarded.refused(100)
    guarded.clock.advance(10)
    await guarded.refused(100)
    assert guarded.reader.unreadable_since == since
