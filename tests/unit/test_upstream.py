"""Reports of the leader, as followers use them."""

from __future__ import annotations

from dataclasses import replace

import orjson

from bridge.clock import ManualClock
from bridge.log.memory import MemoryEventLog
from bridge.members import SILENT_SECONDS
from bridge.notifications.notifier import NotifierCounts
from bridge.notifications.watch_sync import WatchSyncStatus
from bridge.ops.health import Health
from bridge.ops.redaction import Redactor
from bridge.pipeline.pipeline import PipelineStatus
from bridge.source.base import SourceState, SourceStatus
from bridge.upstream import Upstream, UpstreamReport

SECRET = "sb_secret_of_the_tests"


class Leading:
    def __init__(self, report: UpstreamReport) -> None:
        self._report = report

    def report(self) -> UpstreamReport:
        return self._report


def process(clock: ManualClock, *, epoch: str = "e1") -> Upstream:
    return Upstream(
        MemoryEventLog(10, 60),
        Health(30, clock),
        clock,
        rows=lambda: 3,
        epoch=lambda: epoch,
        redact=Redactor([SECRET]).text,
    )


def report(now: float, *, error: str | None = None) -> UpstreamReport:
    source = SourceStatus(SourceState.LIVE, now - 50, now - 1, 2, error, None)
    pipeline = PipelineStatus(
        reconciled=True,
        scanning=False,
        rows=7,
        pending_rereads=1,
        counts={"changes": 5},
        activity="following changes",
        error=None,
        unreadable_since=now - 2,
    )
    counts = NotifierCounts(1, 2, 3)
    return UpstreamReport(source, pipeline, WatchSyncStatus(4, None, source, pipeline, counts))


def leader(clock: ManualClock, *, epoch: str = "e1", **options: str) -> Upstream:
    upstream = process(clock, epoch=epoch)
    upstream.own = Leading(report(clock.monotonic(), **options))
    return upstream


def test_follower_has_the_leaders_report_in_its_own_time() -> None:
    sender, here = ManualClock(monotonic=500), ManualClock(monotonic=90_000)
    follower = process(here)
    follower.receive(leader(sender).encode(1))
    assert follower.report() == report(90_000)
    state = follower.state()
    assert (state.live, state.reconciled, state.scanning, state.blind) == (True, True, False, False)


def test_follower_without_a_report_is_not_live() -> None:
    follower = process(ManualClock())
    assert not follower.state().live
    assert not follower.state().reconciled
    assert follower.report().pipeline.rows == 3


def test_report_on_a_history_that_is_lost_is_ignored() -> None:
    """Its rows are not those that the follower has now, maybe none."""
    clock = ManualClock()
    follower = process(clock, epoch="e2")
    follower.receive(leader(clock, epoch="e1").encode(7))
    assert not follower.state().live
    assert not follower.state().reconciled
    follower.receive(leader(clock, epoch="e2").encode(1))
    assert follower.state().reconciled


def test_report_of_an_earlier_version_has_no_epoch_and_is_used() -> None:
    clock = ManualClock()
    follower = process(clock)
    note = orjson.loads(leader(clock).encode(1))
    del note["epoch"]
    follower.receive(orjson.dumps(note))
    assert follower.state().reconciled


def test_follower_of_a_silent_leader_is_not_live_until_the_next_report() -> None:
    clock = ManualClock()
    follower = process(clock)
    follower.receive(leader(clock).encode(1))
    clock.advance(SILENT_SECONDS)
    assert follower.state().live
    clock.advance(1)
    assert not follower.state().live
    assert follower.report().source.state is SourceState.DOWN
    follower.receive(leader(clock).encode(1))
    assert follower.state().live


def test_report_of_an_earlier_leader_is_ignored() -> None:
    clock = ManualClock()
    follower = process(clock)
    before, after = leader(clock), leader(clock)
    down = replace(report(clock.monotonic()).source, state=SourceState.DOWN)
    after.own = Leading(replace(report(clock.monotonic()), source=down))
    follower.receive(after.encode(2))
    follower.receive(before.encode(1))
    assert not follower.state().live
    follower.forget()
    follower.receive(before.encode(1))
    assert follower.state().live


def test_secrets_of_errors_are_not_sent() -> None:
    clock = ManualClock()
    assert SECRET.encode() not in leader(clock, error=f"HTTP 401 for {SECRET}").encode(1)
