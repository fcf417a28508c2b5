"""What an operator who watches the log receives of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from bridge.errors import PositionGoneError
from bridge.log.base import Position
from bridge.log.memory import MemoryEventLog
from bridge.ops.recent_events import SHOWN, SHOWN_BYTES, RecentEvents
from tests.fakes import entry

if TYPE_CHECKING:
    from bridge.log.base import EventLog


def test_look_returns_what_was_added_since_the_last_one() -> None:
    recent = RecentEvents()
    recent.add([entry(1, "TX", price=7)])
    taken = recent.take()
    assert taken is not None
    [event] = taken["events"]
    assert event["position"] == "test-1"
    assert event["envelope"]["data"]["price"] == 7
    assert taken["regions"] == {"TX": 1}
    assert recent.take() is None


def test_look_returns_the_latest_events_and_how_many_there_were() -> None:
    recent = RecentEvents()
    for seq in range(1, 3 * SHOWN + 1):
        recent.add([entry(seq, "TX" if seq % 3 else "CA")])
    taken = recent.take()
    assert taken is not None
    assert [event["position"] for event in taken["events"]] == [
        f"test-{seq}" for seq in range(2 * SHOWN + 1, 3 * SHOWN + 1)
    ]
    assert taken["total"] == 3 * SHOWN
    assert taken["regions"] == {"TX": 2 * SHOWN, "CA": SHOWN}


def test_long_envelope_is_left_out() -> None:
    recent = RecentEvents()
    recent.add([entry(1, "TX", text="x" * SHOWN_BYTES)])
    taken = recent.take()
    assert taken is not None
    assert taken["events"][0]["key"] == "p1"
    assert "envelope" not in taken["events"][0]


class EndlesslyLost:
    """A log of which every history has ended as soon as it is followed."""

    head = Position("lost", 1)

    def follow(self, after: Position) -> Any:
        raise PositionGoneError(str(after))


async def test_log_that_loses_its_histories_does_not_block_the_event_loop() -> None:
    following = asyncio.create_task(RecentEvents().follow(cast("EventLog", EndlesslyLost())))
    await asyncio.sleep(0.01)
    assert not following.done()
    following.cancel()


async def test_log_is_followed_from_its_head() -> None:
    log = MemoryEventLog(10, 60)
    await log.append([entry(1, "TX").event], [])
    recent = RecentEvents()
    following = asyncio.create_task(recent.follow(log))
    await asyncio.sleep(0)
    await log.append([entry(2, "CA").event], [])
    async with asyncio.timeout(20):
        while (taken := recent.take()) is None:
            await asyncio.sleep(0)
    assert taken["regions"] == {"CA": 1}
    await log.close()
    await following
