"""The metrics of a status report."""

from __future__ import annotations

from dataclasses import replace

from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from bridge.gateway.hub import HubCounts
from bridge.notifications.notifier import NotifierCounts
from bridge.notifications.watch_sync import WatchSyncStatus
from bridge.ops.metrics import exposition
from bridge.ops.status import StatusReport
from bridge.pipeline.pipeline import PipelineStatus
from bridge.source.base import SourceState, SourceStatus

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
