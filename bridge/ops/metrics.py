"""What `/status` counts, in Prometheus' text format. Made when it is asked for, and only then."""

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

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


class BridgeCollector(Collector):
    """How a bridge stands, once. `look` is None while it doesn't run."""

    def __init__(self, look: StatusReport | None, *, ready: bool, now: float) -> None:
        self._look = look
        self._ready = ready
        self._now = now

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        yield _gauge("ready", "Whether the bridge can be relied on: 1 or 0", self._ready)
        if self._look is not None:
            yield from self._running(self._look)

    def _running(self, look: StatusReport) -> Iterable[Metric]:
        source, pipeline, now = look.source, look.pipeline, self._now
        yield _gauge("uptime_seconds", "Since the bridge began", now - look.started_at)
        state = GaugeMetricFamily(
            "bridge_source_state", "The source's state: 1 for the one it is in", labels=["state"]
        )
        for each in SourceState:
            state.add_metric([each.value], float(each is source.state))
        yield state
        if source.last_activity_at is not None:
            yield _gauge(
                "source_proof_age_seconds",
                "Since the source last showed that it lives",
                now - source.last_activity_at,
            )
        yield _gauge("source_attempts", "Attempts since the source was last live", source.attempts)
        yield _gauge("rows", "Rows that are known", pipeline.rows)
        yield _gauge(
            "doubts", "Rows that have to be read before they are told", pipeline.pending_rereads
        )
        yield _gauge(
            "reconciled", "Whether the first pass over the table is done", pipeline.reconciled
        )
        yield _counts("pipeline", "What the pipeline did, by kind", "kind", pipeline.counts)
        yield _gauge("clients", "Clients that are connected", look.hub.clients)
        yield _gauge("rooms", "Rooms with somebody in them", look.hub.rooms)
        yield _gauge(
            "connections", "Connections, also of those who are no clients yet", look.connections
        )
        yield _gauge(
            "log_unwritable", "Whether the log can't be written", look.log_error is not None
        )
        yield _counter(
            "clients_cut_off",
            "Clients cut off because they didn't take packets",
            look.slow_clients_closed,
        )
        outcomes = {name: n for name, n in look.recoveries.items() if name != "away"}
        yield _counts("recoveries", "Attempts to come back, by how they ended", "outcome", outcomes)
        yield _gauge("clients_away", "Clients that may come back", look.recoveries.get("away", 0))
        yield _counts("refusals", "Requests refused at the door, by code", "code", look.rejections)
        if look.watchers is not None:
            yield from _notified(look.watchers)


def _notified(watchers: WatchSyncStatus) -> Iterable[Metric]:
    counts = watchers.counts
    yield _gauge("watches", "Watches that are known", watchers.watches)
    yield _gauge(
        "watchers_unfollowed",
        "Whether the table of watches can't be followed",
        watchers.error is not None,
    )
    yield _counter("users_notified", "Users notified, each once for each change", counts.notified)
    yield _counter(
        "notifications_cut_short",
        "Notifications that more users should have had than may be",
        counts.cut_short,
    )
    yield _counter(
        "notifications_failed", "Changes of which a fault kept users from hearing", counts.failed
    )


def exposition(look: StatusReport | None, *, ready: bool, now: float) -> bytes:
    """All metrics, as `CONTENT_TYPE` says."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(BridgeCollector(look, ready=ready, now=now))
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
