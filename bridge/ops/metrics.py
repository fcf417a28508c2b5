"""The counts of /status in Prometheus' text format, created per request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from bridge.source.base import SourceState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client import Metric

    from bridge.notifications.watch_sync import WatchSyncStatus
    from bridge.ops.status import StatusReport
    from bridge.source.base import SourceStatus

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


class BridgeCollector(Collector):
    """Metrics of one status report; None while the bridge does not run."""

    def __init__(self, report: StatusReport | None, *, ready: bool, now: float) -> None:
        self._report = report
        self._ready = ready
        self._now = now

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        yield _gauge("ready", "Whether the bridge is ready: 1 or 0", self._ready)
        if self._report is not None:
            yield from self._running(self._report)

    def _running(self, report: StatusReport) -> Iterable[Metric]:
        source, pipeline, now = report.source, report.pipeline, self._now
        yield _gauge("uptime_seconds", "Seconds since the bridge started", now - report.started_at)
        group = report.group
        yield _gauge(
            "leader", "Whether this process follows the table: 1 or 0", group.role == "leader"
        )
        yield _gauge("term", "Number of leaders of the log so far", group.term)
        yield _gauge("lag_entries", "Entries received and not applied yet", group.lag_entries)
        yield _gauge("lag_seconds", "Time of a note through the log", group.lag_seconds)
        yield _gauge(
            "machines", "Processes that share the log, this one included", len(group.machines) or 1
        )
        state = GaugeMetricFamily(
            "bridge_source_state", "State of the source: 1 for the current one", labels=["state"]
        )
        for each in SourceState:
            state.add_metric([each.value], float(each is source.state))
        yield state
        if source.last_activity_at is not None:
            yield _gauge(
                "source_proof_age_seconds",
                "Seconds since the last activity of the source",
                now - source.last_activity_at,
            )
        yield _gauge(
            "source_attempts",
            "Attempts to subscribe since the source was last live",
            source.attempts,
        )
        watchers = None if report.watchers is None else report.watchers.source
        yield from _slots(source, watchers)
        yield _gauge("rows", "Rows of the table in memory", pipeline.rows)
        yield _gauge(
            "doubts",
            "Rows to be re-read before their changes are published",
            pipeline.pending_rereads,
        )
        yield _gauge(
            "reconciled", "Whether the first scan of the table is done", pipeline.reconciled
        )
        yield _counts("pipeline", "Work of the pipeline by kind", "kind", pipeline.counts)
        yield _gauge("clients", "Connected clients", report.hub.clients)
        yield _gauge("rooms", "Rooms with at least one client", report.hub.rooms)
        yield _gauge(
            "connections", "Connections, including those without a client yet", report.connections
        )
        yield _gauge(
            "log_unwritable",
            "Whether the log can't be written: 1 or 0",
            report.log_error is not None,
        )
        yield _counter(
            "clients_cut_off",
            "Clients disconnected because they did not read their packets",
            report.slow_clients_closed,
        )
        outcomes = {name: n for name, n in report.recoveries.items() if name != "away"}
        yield _counts("recoveries", "Attempts to recover a session by outcome", "outcome", outcomes)
        yield _gauge(
            "clients_away",
            "Disconnected clients that can still recover",
            report.recoveries.get("away", 0),
        )
        yield _counts("refusals", "Rejected connections by code", "code", report.rejections)
        if report.watchers is not None:
            yield from _notified(report.watchers)


def _slots(*sources: SourceStatus | None) -> Iterable[Metric]:
    slots = [source.slot for source in sources if source is not None and source.slot is not None]
    if not slots:
        return
    labels = ["slot"]
    families = [
        GaugeMetricFamily(
            "bridge_slot_lag_bytes",
            "WAL written since the position that the log holds",
            labels=labels,
        ),
        GaugeMetricFamily(
            "bridge_slot_retained_bytes", "WAL that PostgreSQL keeps for the slot", labels=labels
        ),
        GaugeMetricFamily(
            "bridge_slot_safe_bytes",
            "WAL that may be written before the slot can be lost, if that is limited",
            labels=labels,
        ),
    ]
    for slot in slots:
        for family, value in zip(families, (slot.lag, slot.retained, slot.safe), strict=True):
            if value is not None:
                family.add_metric([slot.name], float(value))
    yield from families


def _notified(watchers: WatchSyncStatus) -> Iterable[Metric]:
    counts = watchers.counts
    yield _gauge("watches", "Watches in memory", watchers.watches)
    yield _gauge(
        "watchers_unfollowed",
        "Whether the table of watches can't be followed: 1 or 0",
        watchers.error is not None,
    )
    yield _counter("users_notified", "Users notified, counted once per change", counts.notified)
    yield _counter(
        "notifications_cut_short",
        "Changes with notifications limited by BRIDGE_NOTIFY_USERS",
        counts.cut_short,
    )
    yield _counter("notifications_failed", "Changes with failed notifications", counts.failed)


def exposition(report: StatusReport | None, *, ready: bool, now: float) -> bytes:
    """Return all metrics in the format of `CONTENT_TYPE`."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(BridgeCollector(report, ready=ready, now=now))
    return generate_latest(registry)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"bridge_{name}", text, value=float(value))


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"bridge_{name}", text, value=float(value))


def _counts(name: str, text: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"bridge_{name}", text, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], float(count))
    return family
