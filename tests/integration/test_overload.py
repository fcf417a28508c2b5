"""Bursts of changes: clients check each event against those before it and equal the table at the
end. `python -m tests.bench overload` is the long form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bench.overload import TIMEOUT_SECONDS, Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.timeout(2 * TIMEOUT_SECONDS)
"""A stage reports what differs after its own timeout, which has to end first."""

ROWS = 1000
HURRIED = {
    "BRIDGE_SETTLE": "0.2",
    "BRIDGE_WATCH_INTERVAL": "0.5",
    "BRIDGE_SWEEP_INTERVAL": "1",
    "BRIDGE_PASS_ROWS": "500",
    "BRIDGE_QUEUE_CHANGES": "500",
}
"""A table over the limit of a full scan, and a small queue that overflows."""


@pytest.fixture(scope="module")
async def stage() -> AsyncIterator[Stage]:
    async with Stage.open(ROWS, 2, pace=0.05, **HURRIED) as stage:
        yield stage


async def test_transaction_over_all_rows_is_emitted_in_order_and_once(stage: Stage) -> None:
    figures = await stage.transaction(ROWS)
    assert figures["wrong"] == []
    assert figures["changes"] == ROWS
    assert figures["events of a client"] == ROWS


async def test_long_burst_is_emitted_in_order_and_once(stage: Stage) -> None:
    figures = await stage.steady(300, 2)
    assert figures["wrong"] == []
    assert 0 < figures["events of a client"] <= figures["changes"]


async def test_changes_dropped_by_a_rate_limit_are_repaired(stage: Stage) -> None:
    figures = await stage.limited(300, 2, 0)
    assert figures["wrong"] == []
    assert figures["dropped by Realtime"] > 0
    assert figures["repaired"] > 0
