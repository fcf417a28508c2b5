"""The counts of /status in Prometheus' text format or OpenMetrics, created per request."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from bridge.changes import GapReason
from bridge.gateway.recovery.sessions import RecoveryOutcome
from bridge.ops.accept import weights
from bridge.ops.metric_catalog import CATALOG
from bridge.source.base import SourceState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client import Metric

    from bridge.histogram import HistogramCounts
    from bridge.notifications.watch_sync import WatchSyncStatus
    from bridge.ops.status import StatusReport
    from bridge.ops.traffic import Traffic
    from bridge.pipeline.meters import PipelineMeters
    from bridge.source.base import SourceStatus

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
OPENMETRICS_TYPE: Final = openmetrics.CONTENT_TYPE_LATEST

ENTRIES: Final = {entry.name: entry for entry in CATALOG}


class BridgeCollector(Collector):
    """Metrics of one status report; None while the bridge does not run."""

    def __init__(self, report: StatusReport | None, *, ready: bool, now: float) -> None:
        self._report = report
        self._ready = ready
        self._now = now

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        yield _one("ready", self._ready)
        if self._report is not None:
            yield from self._running(self._report)

    def _running(self, report: StatusReport) -> Iterable[Metric]:
        pipeline, group = report.pipeline, report.group
        yield _one("uptime_seconds", self._now - report.started_at)
        yield _one("leader", group.role == "leader")
        yield _one("term", group.term)
        yield _one("lag_entries", group.lag_entries)
        yield _one("lag_seconds", group.lag_seconds)
        yield _one("machines", len(group.machines) or 1)
        yield from _source(report.source, self._now)
        watchers = None if report.watchers is None else report.watchers.source
        yield from _slots(report.source, watchers)
        yield _one("rows", pipeline.rows)
        yield _one("doubts", pipeline.pending_rereads)
        yield _one("reconciled", pipeline.reconciled)
        yield _one("scanning", pipeline.scanning)
        yield _by("pipeline", pipeline.counts)
        if report.meters is not None:
            yield from _followed(report.meters)
        yield _one("clients", report.hub.clients)
        yield _one("rooms", report.hub.rooms)
        yield _one("connections", report.connections)
        yield _one("log_unwritable", report.log_error is not None)
        yield _one("clients_cut_off", report.slow_clients_closed)
        # Each from 0: the first one of an outcome is a rate, too.
        outcomes = {each.value: report.recoveries.get(each.value, 0) for each in RecoveryOutcome}
        yield _by("recoveries", outcomes)
        yield _one("clients_away", report.recoveries.get("away", 0))
        yield _by("refusals", report.rejections)
        yield from _served(report.traffic)
        if report.watchers is not None:
            yield from _notified(report.watchers)


def _source(source: SourceStatus, now: float) -> Iterable[Metric]:
    yield _by("source_state", {each.value: each is source.state for each in SourceState})
    if source.last_activity_at is not None:
        yield _one("source_proof_age_seconds", now - source.last_activity_at)
    yield _one("source_attempts", source.attempts)


def _slots(*sources: SourceStatus | None) -> Iterable[Metric]:
    slots = [source.slot for source in sources if source is not None and source.slot is not None]
    if slots:
        yield _by("slot_lag_bytes", {s.name: s.lag for s in slots if s.lag is not None})
        yield _by(
            "slot_retained_bytes", {s.name: s.retained for s in slots if s.retained is not None}
        )
        yield _by("slot_safe_bytes", {s.name: s.safe for s in slots if s.safe is not None})


def _followed(meters: PipelineMeters) -> Iterable[Metric]:
    yield _by_labels(
        "changes",
        {
            (kind, origin): meters.changes[kind, origin]
            for kind in ("insert", "update", "delete")
            for origin in ("stream", "repair")
        },
    )
    yield _by("gaps", {reason.value: meters.gaps[reason] for reason in GapReason})
    yield _one("gap_age_seconds", meters.gap_age)
    yield _histogram("gap_repair_seconds", meters.repair_seconds.counts())
    yield _histogram("commit_delay_seconds", meters.commit_delay.counts())


def _served(traffic: Traffic) -> Iterable[Metric]:
    yield _one("deliveries", traffic.deliveries)
    yield _one("delivered_bytes", traffic.bytes)
    yield _by("clients_by_transport", traffic.transports)
    refusals = {tuple(key.split(" ", 1)): count for key, count in traffic.refusals.items()}
    yield _by_labels("refusals_by_origin", refusals)
    yield _histogram("delivery_delay_seconds", traffic.delivery_delay)
    yield _histogram("client_round_trip_seconds", traffic.round_trip)
    yield _histogram("loop_lag_seconds", traffic.loop_lag)


def _notified(watchers: WatchSyncStatus) -> Iterable[Metric]:
    counts = watchers.counts
    yield _one("watches", watchers.watches)
    yield _one("watchers_unfollowed", watchers.error is not None)
    yield _one("users_notified", counts.notified)
    yield _one("notifications_cut_short", counts.cut_short)
    yield _one("notifications_failed", counts.failed)


def exposition(
    report: StatusReport | None, *, ready: bool, now: float, as_openmetrics: bool = False
) -> bytes:
    """Return all metrics in the format of `CONTENT_TYPE`, or in that of `OPENMETRICS_TYPE`."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(BridgeCollector(report, ready=ready, now=now))
    if not as_openmetrics:
        return generate_latest(registry)
    text: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
    return text


def accepts_openmetrics(accept: str) -> bool:
    """Whether an `Accept` header names OpenMetrics, without a weight of 0."""
    return weights(accept).get("application/openmetrics-text", 0.0) > 0.0


def _one(name: str, value: float) -> Metric:
    return _by_labels(name, {(): float(value)})


def _by(name: str, values: Mapping[str, float]) -> Metric:
    return _by_labels(name, {(label,): value for label, value in values.items()})


def _by_labels(name: str, values: Mapping[tuple[str, ...], float]) -> Metric:
    entry = ENTRIES[f"bridge_{name}"]
    family = GaugeMetricFamily if entry.kind == "gauge" else CounterMetricFamily
    metric = family(entry.name, entry.text, labels=entry.labels)
    for labels, value in sorted(values.items()):
        metric.add_metric(labels, float(value))
    return metric


def _histogram(name: str, counts: HistogramCounts) -> Metric:
    entry = ENTRIES[f"bridge_{name}"]
    bounds = [*map(floatToGoString, counts.bounds), "+Inf"]
    buckets = list(zip(bounds, accumulate(counts.counts), strict=True))
    return HistogramMetricFamily(entry.name, entry.text, buckets=buckets, sum_value=counts.total)
