"""The metrics of a status report."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client import REGISTRY
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from bridge import clock as clocks
from bridge.changes import GapReason
from bridge.clock import ManualClock
from bridge.gateway.hub import HubCounts
from bridge.histogram import Histogram
from bridge.notifications.notifier import NotifierCounts
from bridge.notifications.watch_sync import WatchSyncStatus
from bridge.ops.metric_catalog import CATALOG
from bridge.ops.metrics import accepts_openmetrics, exposition
from bridge.ops.status import StatusReport
from bridge.ops.traffic import Traffic
from bridge.pipeline.meters import PipelineMeters
from bridge.pipeline.pipeline import PipelineStatus
from bridge.rows import RowChange
from bridge.source.base import SlotStatus, SourceState, SourceStatus

REPORT = StatusReport(
    source=SourceStatus(SourceState.LIVE, since=90.0, last_activity_at=99.0, attempts=2),
    pipeline=PipelineStatus(
        reconciled=True,
        scanning=False,
        rows=7,
        pending_rereads=1,
        counts={"changes": 5, "property-updated": 4},
        activity="watching",
        error="not for metrics",
    ),
    hub=HubCounts(clients=3, rooms=2),
    connections=4,
    rejections={"rate_limited": 6},
    slow_clients_closed=1,
    recoveries={"recovered": 8, "away": 9},
    head="epoch-1",
    log_error=None,
    started_at=40.0,
)


def samples(report: StatusReport | None, *, ready: bool = True) -> dict[tuple[str, ...], float]:
    text = exposition(report, ready=ready, now=100.0).decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_have_the_counts_of_the_status() -> None:
    assert (
        samples(REPORT).items()
        >= {
            ("bridge_ready",): 1,
            ("bridge_uptime_seconds",): 60,
            ("bridge_source_state", "live"): 1,
            ("bridge_source_state", "down"): 0,
            ("bridge_source_proof_age_seconds",): 1,
            ("bridge_source_attempts",): 2,
            ("bridge_rows",): 7,
            ("bridge_doubts",): 1,
            ("bridge_reconciled",): 1,
            ("bridge_pipeline_total", "changes"): 5,
            ("bridge_pipeline_total", "property-updated"): 4,
            ("bridge_clients",): 3,
            ("bridge_rooms",): 2,
            ("bridge_connections",): 4,
            ("bridge_clients_cut_off_total",): 1,
            ("bridge_recoveries_total", "recovered"): 8,
            ("bridge_clients_away",): 9,
            ("bridge_refusals_total", "rate_limited"): 6,
            ("bridge_log_unwritable",): 0,
        }.items()
    )


def test_bridge_that_does_not_run_has_only_the_metric_ready() -> None:
    assert samples(None, ready=False) == {("bridge_ready",): 0}


def test_error_texts_are_not_in_the_metrics() -> None:
    error = "not for metrics"
    source = replace(REPORT.source, state=SourceState.DOWN, error=error)
    pipeline = replace(REPORT.pipeline, activity=error, error=error)
    watchers = WatchSyncStatus(
        watches=3,
        error=error,
        source=source,
        pipeline=pipeline,
        counts=NotifierCounts(notified=0, cut_short=0, failed=0),
    )
    report = replace(REPORT, source=source, pipeline=pipeline, log_error=error, watchers=watchers)
    assert samples(report)["bridge_log_unwritable",] == 1
    assert error.encode() not in exposition(report, ready=True, now=100.0)


def test_global_registry_is_unchanged() -> None:
    before = list(REGISTRY.collect())
    exposition(REPORT, ready=True, now=100.0)
    assert [family.name for family in REGISTRY.collect()] == [family.name for family in before]
    assert not any(family.name.startswith("bridge") for family in before)


def test_watches_have_metrics_while_notifications_are_on() -> None:
    watchers = WatchSyncStatus(
        watches=3,
        error="not for metrics",
        source=None,
        pipeline=None,
        counts=NotifierCounts(notified=5, cut_short=1, failed=2),
    )
    expected = {
        ("bridge_watches",): 3,
        ("bridge_watchers_unfollowed",): 1,
        ("bridge_users_notified_total",): 5,
        ("bridge_notifications_cut_short_total",): 1,
        ("bridge_notifications_failed_total",): 2,
    }
    assert samples(replace(REPORT, watchers=watchers)).items() >= expected.items()
    assert not expected.keys() & samples(REPORT).keys()
    assert b"not for metrics" not in exposition(
        replace(REPORT, watchers=watchers), ready=True, now=100.0
    )


AT = "2026-01-01T00:00:00+00:00"


def followed() -> PipelineMeters:
    clock = ManualClock()
    clock.step_wall(clocks.unix(AT) + 0.04 - clock.wall())  # type: ignore[operator]
    meters = PipelineMeters(clock)
    meters.received(AT)
    meters.published([RowChange(1, None, b"{}", AT), RowChange(2, b"{}", None, AT)], "stream")
    meters.published([RowChange(3, b"{}", b"[]", AT)], "repair")
    meters.gap(GapReason.OVERFLOW)
    clock.advance(3.0)
    meters.repaired()
    meters.gap(GapReason.SUBSCRIBED)
    clock.advance(7.0)
    return meters


def test_leader_has_the_metrics_of_changes_and_gaps() -> None:
    found = samples(replace(REPORT, meters=followed()))
    expected = {
        ("bridge_changes_total", "insert", "stream"): 1,
        ("bridge_changes_total", "delete", "stream"): 1,
        ("bridge_changes_total", "update", "repair"): 1,
        ("bridge_changes_total", "update", "stream"): 0,
        ("bridge_gaps_total", "overflow"): 1,
        ("bridge_gaps_total", "slot lost"): 0,
        ("bridge_gap_age_seconds",): 7,
        ("bridge_gap_repair_seconds_bucket", "2.5"): 0,
        ("bridge_gap_repair_seconds_bucket", "5.0"): 1,
        ("bridge_gap_repair_seconds_count",): 1,
        ("bridge_gap_repair_seconds_sum",): 3,
        ("bridge_commit_delay_seconds_bucket", "0.025"): 0,
        ("bridge_commit_delay_seconds_bucket", "0.05"): 1,
        ("bridge_commit_delay_seconds_bucket", "+Inf"): 1,
    }
    assert found.items() >= expected.items()
    assert not expected.keys() & samples(REPORT).keys()


def test_metrics_have_the_traffic_of_the_processes() -> None:
    delay = Histogram()
    delay.observe(0.3)
    traffic = Traffic(
        deliveries=50,
        bytes=700,
        transports={"websocket": 2, "polling": 1},
        refusals={"origin_forbidden foreign": 4},
        delivery_delay=delay.counts(),
    )
    assert (
        samples(replace(REPORT, traffic=traffic)).items()
        >= {
            ("bridge_deliveries_total",): 50,
            ("bridge_delivered_bytes_total",): 700,
            ("bridge_clients_by_transport", "polling"): 1,
            ("bridge_refusals_by_origin_total", "origin_forbidden", "foreign"): 4,
            ("bridge_delivery_delay_seconds_bucket", "0.25"): 0,
            ("bridge_delivery_delay_seconds_bucket", "0.5"): 1,
            ("bridge_loop_lag_seconds_count",): 0,
        }.items()
    )


def test_openmetrics_has_the_same_samples() -> None:
    report = replace(REPORT, meters=followed())
    text = exposition(report, ready=True, now=100.0, as_openmetrics=True).decode()
    assert text.endswith("# EOF\n")
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in openmetrics_families(text)  # type: ignore[no-untyped-call]
        for sample in family.samples
    }
    assert found == samples(report)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", True),
        ("text/plain, Application/OpenMetrics-Text; charset=utf-8", True),
        ("application/openmetrics-text;version=nonsense", True),
        ("application/openmetrics-text;q=0", False),
        ("text/plain;version=0.0.4", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_openmetrics_is_sent_if_the_request_names_it(accept: str, expected: bool) -> None:
    assert accepts_openmetrics(accept) is expected


def test_every_metric_of_the_catalog_is_exposed_and_no_other() -> None:
    slot = SlotStatus("a", lag=1, retained=2, safe=3)
    watchers = WatchSyncStatus(
        watches=1, error=None, source=None, pipeline=None, counts=NotifierCounts(1, 0, 0)
    )
    report = replace(
        REPORT, source=replace(REPORT.source, slot=slot), watchers=watchers, meters=followed()
    )
    text = exposition(report, ready=True, now=100.0).decode()
    kinds = {family.name: family.type for family in text_string_to_metric_families(text)}
    assert kinds == {entry.name: entry.kind for entry in CATALOG}
