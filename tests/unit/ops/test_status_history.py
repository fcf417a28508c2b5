"""Samples of the last hour."""

from __future__ import annotations

from dataclasses import replace

from bridge.ops import status_history
from bridge.ops.readiness import Readiness, not_ready
from bridge.ops.status_history import Sample, StatusHistory, sample
from tests.unit.ops.test_metrics import REPORT


def test_sample_has_the_state_and_the_totals() -> None:
    counts = {"changes": 9, "property-created": 1, "property-updated": 6, "gaps": 2, "repaired": 4}
    report = replace(REPORT, pipeline=replace(REPORT.pipeline, counts=counts))
    taken = sample(report, Readiness(ready=True), 50.0)
    assert (taken.at, taken.ready, taken.state) == (50.0, True, "live")
    assert (taken.changes, taken.events, taken.gaps, taken.repaired) == (9, 7, 2, 4)


def test_sample_of_a_bridge_that_does_not_run_has_the_reason() -> None:
    stopped = not_ready("the disk is full", "the disk is full")
    taken = sample(stopped, stopped, 50.0)
    assert (taken.state, taken.ready, taken.reason) == ("stopped", False, "the disk is full")


def test_history_keeps_an_hour() -> None:
    history = StatusHistory()
    for second in range(status_history.SAMPLES + 10):
        history.add(Sample(float(second), ready=True, state="live", reason=None))
    assert [body["at"] for body in history.bodies()][:1] == [10.0]
    assert len(history.bodies()) == status_history.SAMPLES
