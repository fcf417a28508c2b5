"""Since when something does not work, whatever looks at it and how often."""

from __future__ import annotations

from dataclasses import replace

from bridge.clock import ManualClock
from bridge.ops.health import Health
from bridge.pipeline.pipeline import PipelineStatus
from bridge.source.base import SourceState, SourceStatus

PIPELINE = PipelineStatus(
    reconciled=True,
    scanning=False,
    rows=1,
    pending_rereads=0,
    counts={},
    activity="following changes",
    error=None,
)
STALE_AFTER = 30.0


def live(clock: ManualClock, *, proof_seconds_ago: float = 0.0) -> SourceStatus:
    return SourceStatus(SourceState.LIVE, 0.0, clock.monotonic() - proof_seconds_ago)


def test_live_source_without_a_sign_of_life_for_long_leaves_the_bridge_blind() -> None:
    clock = ManualClock()
    health = Health(STALE_AFTER, clock)
    assert not health.update(live(clock, proof_seconds_ago=29), PIPELINE, None)
    assert health.update(live(clock, proof_seconds_ago=31), PIPELINE, None)


def test_table_unreadable_for_long_leaves_the_bridge_blind_until_it_is_read() -> None:
    clock = ManualClock()
    health = Health(STALE_AFTER, clock)
    unreadable = replace(PIPELINE, unreadable_since=clock.monotonic(), error="42703")
    assert not health.update(live(clock), unreadable, None)
    clock.advance(31)
    assert health.update(live(clock), unreadable, None)
    assert not health.update(live(clock), PIPELINE, None)


def test_log_that_fails_is_dated_by_its_first_failure() -> None:
    clock = ManualClock()
    health = Health(STALE_AFTER, clock)
    began = clock.monotonic()
    for _ in range(3):
        health.update(live(clock), PIPELINE, "disk full")
        clock.advance(5)
    assert health.log_error_since == began
    health.update(live(clock), PIPELINE, None)
    assert health.log_error_since is None
