"""Samples of the last hour."""

from __future__ import annotations

from dataclasses import replace

from bridge.gateway.hub import HubCounts
from bridge.ops import status_history
from bridge.ops.endpoints import OpsEndpoints
from bridge.ops.readiness import Readiness, not_ready
from bridge.ops.status import StatusReport
from bridge.ops.status_history import Sample, StatusHistory, sample
from bridge.security.admin_auth import AdminAuth
from bridge.security.client_ip import ClientAddress
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


async def test_sample_has_the_counts_of_all_processes() -> None:
    async def combine(report: StatusReport) -> StatusReport:
        return replace(report, hub=HubCounts(clients=report.hub.clients + 40, rooms=2))

    endpoints = OpsEndpoints(
        lambda: REPORT,
        combine=combine,
        admin_auth=AdminAuth(None, ClientAddress()),
        stale_after=30,
        clock=lambda: 100.0,
    )
    assert sample(*await endpoints.evaluated(), 50.0).clients == REPORT.hub.clients + 40


def test_history_keeps_an_hour() -> None:
    history = StatusHistory()
    for second in range(status_history.SAMPLES + 10):
        history.add(Sample(float(second), ready=True, state="live", reason=None))
    assert [body["at"] for body in history.bodies()][:1] == [10.0]
    assert len(history.bodies()) == status_history.SAMPLES
