"""Every metric of /metrics: its kind, labels and meaning. The table for operators is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

MetricKind: TypeAlias = Literal["gauge", "counter", "histogram"]


@dataclass(frozen=True, slots=True)
class MetricEntry:
    """One metric. `name` is that of the family: a counter's samples end in `_total`."""

    kind: MetricKind
    name: str
    text: str
    labels: tuple[str, ...] = ()

    @property
    def sample(self) -> str:
        """The name to query; a histogram has `_bucket`, `_sum` and `_count` after it."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


CATALOG: Final = (
    MetricEntry("gauge", "bridge_ready", "Whether the bridge is ready: 1 or 0"),
    MetricEntry("gauge", "bridge_uptime_seconds", "Time since the start"),
    MetricEntry(
        "gauge", "bridge_leader", "1 if this machine follows the table; one of a shared log does"
    ),
    MetricEntry("gauge", "bridge_term", "Leaders that the log has had"),
    MetricEntry("gauge", "bridge_machines", "Machines that share the log, this one included"),
    MetricEntry(
        "gauge", "bridge_lag_entries", "Events received from the log and not delivered yet"
    ),
    MetricEntry(
        "gauge",
        "bridge_lag_seconds",
        "Time of a note from this machine through the log and back",
    ),
    MetricEntry("gauge", "bridge_source_state", "1 for the source's present state", ("state",)),
    MetricEntry(
        "gauge", "bridge_source_proof_age_seconds", "Time since the source last showed activity"
    ),
    MetricEntry(
        "gauge", "bridge_source_attempts", "Attempts to connect since the source was last live"
    ),
    MetricEntry(
        "gauge",
        "bridge_slot_lag_bytes",
        "WAL written since the position that the log holds (source `postgres`)",
        ("slot",),
    ),
    MetricEntry(
        "gauge",
        "bridge_slot_retained_bytes",
        "WAL that PostgreSQL keeps for the slot",
        ("slot",),
    ),
    MetricEntry(
        "gauge",
        "bridge_slot_safe_bytes",
        "WAL that may be written before the slot can be lost; absent without "
        "`max_slot_wal_keep_size`",
        ("slot",),
    ),
    MetricEntry("gauge", "bridge_rows", "Known rows"),
    MetricEntry("gauge", "bridge_doubts", "Rows that wait for a re-read"),
    MetricEntry("gauge", "bridge_reconciled", "Whether the first scan is done"),
    MetricEntry("gauge", "bridge_scanning", "Whether a scan after a gap is under way or due"),
    MetricEntry(
        "counter",
        "bridge_pipeline",
        "What the pipeline did: changes, scans (`passes`), gaps, and events by name",
        ("kind",),
    ),
    MetricEntry(
        "counter",
        "bridge_changes",
        "Published changes of rows; `kind` is insert, update or delete, `origin` stream or repair. "
        "At the leader only",
        ("kind", "origin"),
    ),
    MetricEntry(
        "counter",
        "bridge_gaps",
        "Times at which changes may have been missed, by cause. At the leader only",
        ("cause",),
    ),
    MetricEntry(
        "gauge",
        "bridge_gap_age_seconds",
        "Time since the oldest gap that is not repaired; 0: there is none. At the leader only",
    ),
    MetricEntry(
        "histogram",
        "bridge_gap_repair_seconds",
        "From a gap to the end of its repair. At the leader only",
    ),
    MetricEntry(
        "histogram",
        "bridge_commit_delay_seconds",
        "From a commit in the database to its merge in the bridge, by the clocks of both. "
        "At the leader only",
    ),
    MetricEntry(
        "histogram",
        "bridge_delivery_delay_seconds",
        "From the log to the last write to a client, or to the queue of a slow one; once for each "
        "event and group of recipients",
    ),
    MetricEntry(
        "histogram",
        "bridge_client_round_trip_seconds",
        "From an Engine.IO ping to the client's answer; with polling, the wait for its next "
        "request included",
    ),
    MetricEntry("counter", "bridge_deliveries", "Events sent, once for each client"),
    MetricEntry("counter", "bridge_delivered_bytes", "Bytes of the frames of these events"),
    MetricEntry("gauge", "bridge_clients", "Connected clients"),
    MetricEntry(
        "gauge",
        "bridge_clients_by_transport",
        "Connected clients by transport: websocket or polling",
        ("transport",),
    ),
    MetricEntry("gauge", "bridge_clients_away", "Clients that may recover"),
    MetricEntry("counter", "bridge_clients_cut_off", "Slow clients that were disconnected"),
    MetricEntry(
        "gauge", "bridge_connections", "Connections, including those that have no client yet"
    ),
    MetricEntry("gauge", "bridge_rooms", "Rooms with at least one client"),
    MetricEntry(
        "counter",
        "bridge_recoveries",
        "Attempts to recover, by outcome: `recovered`, `unknown` (expired, evicted or foreign "
        "session), `offset` (no position of this history), `gone` (older than the log), "
        "`too_much`, `rights`",
        ("outcome",),
    ),
    MetricEntry(
        "counter",
        "bridge_refusals",
        "Connections rejected at admission, by error code",
        ("code",),
    ),
    MetricEntry(
        "counter",
        "bridge_refusals_by_origin",
        "The same, also by class of the page's origin: `none` (not a page), `allowed` or `foreign`",
        ("code", "origin"),
    ),
    MetricEntry(
        "histogram",
        "bridge_loop_lag_seconds",
        "How late the event loop runs what is due, measured four times a second",
    ),
    MetricEntry("gauge", "bridge_log_unwritable", "Whether the log can't be written"),
    MetricEntry("gauge", "bridge_watches", "Known watches"),
    MetricEntry(
        "gauge",
        "bridge_watchers_unfollowed",
        "Whether the table of watches can't be followed",
    ),
    MetricEntry("counter", "bridge_users_notified", "Notified users, once for each change"),
    MetricEntry(
        "counter",
        "bridge_notifications_cut_short",
        "Notifications that exceeded the limit of users",
    ),
    MetricEntry("counter", "bridge_notifications_failed", "Changes whose notifications failed"),
)


def markdown() -> str:
    """Return the table of the metrics."""
    rows = [
        f"| `{each.sample}{'{' + ','.join(each.labels) + '}' if each.labels else ''}` "
        f"| {each.kind} | {each.text}. |"
        for each in CATALOG
    ]
    return "\n".join(["| metric | kind | meaning |", "|---|---|---|", *rows]) + "\n"
