"""The state of the source and the pipeline: of this process, or of the leader.

The leader sends a report as a note, on each change and with each beat. The other processes derive
from the last one what they show their clients and operators; without one for some time they count
as blind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

from bridge.gateway.upstream_status import UpstreamState
from bridge.members import SILENT_SECONDS
from bridge.notifications.notifier import NotifierCounts
from bridge.notifications.watch_sync import WatchSyncStatus
from bridge.pipeline.pipeline import PipelineStatus
from bridge.source.base import SourceState, SourceStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.clock import Clock
    from bridge.log.base import EventLog
    from bridge.ops.health import Health

NO_LEADER: Final = "no process leads: none has sent a report"


@dataclass(frozen=True, slots=True)
class UpstreamReport:
    """The statuses of the leader's parts. Times are seconds of this process's monotonic clock."""

    source: SourceStatus
    pipeline: PipelineStatus
    watchers: WatchSyncStatus | None = None


class Reporter(Protocol):
    """The part that follows the table, while this process leads."""

    def report(self) -> UpstreamReport: ...


class Upstream:
    """Reports of this process while it leads, of the leader otherwise."""

    def __init__(
        self,
        log: EventLog,
        health: Health,
        clock: Clock,
        *,
        rows: Callable[[], int],
        epoch: Callable[[], str],
        redact: Callable[[str], str],
    ) -> None:
        """`rows` returns the number of known rows, and `epoch` that of their history; `redact`
        removes secrets from errors, which are stored in the log with the notes.
        """
        self.health = health
        self.own: Reporter | None = None
        """Set while this process leads."""
        self._log = log
        self._clock = clock
        self._rows = rows
        self._epoch = epoch
        self._redact = redact
        self._began = clock.monotonic()
        self._term = 0
        self._received: UpstreamReport | None = None
        self._received_at = 0.0

    def report(self) -> UpstreamReport:
        if self.own is not None:
            return self.own.report()
        received = self._received
        if received is None:
            source = SourceStatus(SourceState.CONNECTING, self._began, error=NO_LEADER)
            return UpstreamReport(source, _unknown(self._rows()))
        silent = self._clock.monotonic() - self._received_at
        if silent > SILENT_SECONDS:
            source = replace(
                received.source,
                state=SourceState.DOWN,
                since=self._received_at,
                error=f"the leader has sent no report for {silent:.0f} s",
                failing_since=self._received_at,
            )
            return replace(received, source=source)
        return received

    def state(self) -> UpstreamState:
        """Return the state that clients receive. Called several times a second."""
        report = self.report()
        log_error = self._log.error
        return UpstreamState(
            live=report.source.state is SourceState.LIVE and log_error is None,
            reconciled=report.pipeline.reconciled,
            scanning=report.pipeline.scanning,
            blind=self.health.update(report.source, report.pipeline, log_error),
        )

    def forget(self) -> None:
        """Forget the reports of a history that is lost."""
        self._received, self._term = None, 0

    def encode(self, term: int) -> bytes:
        """Return the present report as the data of a note. Times become ages."""
        report, now = self.report(), self._clock.monotonic()
        return orjson.dumps(
            {
                "term": term,
                "epoch": self._epoch(),
                "source": self._source(report.source, now),
                "pipeline": self._pipeline(report.pipeline, now),
                "watchers": report.watchers and self._watchers(report.watchers, now),
            }
        )

    def receive(self, data: bytes) -> None:
        """Apply the note of a leader, unless a later leader has sent one, or the leader reports on
        another history: it has not noticed yet that its own was lost, and its rows with it.
        """
        note, now = orjson.loads(data), self._clock.monotonic()
        epoch = self._epoch()
        # Notes of an earlier version have no epoch.
        if note["term"] < self._term or note.get("epoch", epoch) != epoch:
            return
        self._term = note["term"]
        self._received = UpstreamReport(
            _decode_source(note["source"], now),
            _decode_pipeline(note["pipeline"], now),
            note["watchers"] and _decode_watchers(note["watchers"], now),
        )
        self._received_at = now

    def _source(self, source: SourceStatus, now: float) -> dict[str, Any]:
        return {
            "state": source.state.value,
            "since": now - source.since,
            "last_activity_at": _age(source.last_activity_at, now),
            "attempts": source.attempts,
            "error": source.error and self._redact(source.error),
            "failing_since": _age(source.failing_since, now),
        }

    def _pipeline(self, pipeline: PipelineStatus, now: float) -> dict[str, Any]:
        return {
            "reconciled": pipeline.reconciled,
            "scanning": pipeline.scanning,
            "rows": pipeline.rows,
            "pending_rereads": pipeline.pending_rereads,
            "counts": pipeline.counts,
            "activity": self._redact(pipeline.activity),
            "error": pipeline.error and self._redact(pipeline.error),
            "unreadable_since": _age(pipeline.unreadable_since, now),
        }

    def _watchers(self, watchers: WatchSyncStatus, now: float) -> dict[str, Any]:
        counts = watchers.counts
        return {
            "watches": watchers.watches,
            "error": watchers.error and self._redact(watchers.error),
            "source": watchers.source and self._source(watchers.source, now),
            "pipeline": watchers.pipeline and self._pipeline(watchers.pipeline, now),
            "counts": [counts.notified, counts.cut_short, counts.failed],
        }


def _age(at: float | None, now: float) -> float | None:
    return None if at is None else now - at


def _at(age: float | None, now: float) -> float | None:
    return None if age is None else now - age


def _decode_source(note: dict[str, Any], now: float) -> SourceStatus:
    return SourceStatus(
        SourceState(note["state"]),
        now - note["since"],
        _at(note["last_activity_at"], now),
        note["attempts"],
        note["error"],
        _at(note["failing_since"], now),
    )


def _decode_pipeline(note: dict[str, Any], now: float) -> PipelineStatus:
    return PipelineStatus(**{**note, "unreadable_since": _at(note["unreadable_since"], now)})


def _decode_watchers(note: dict[str, Any], now: float) -> WatchSyncStatus:
    return WatchSyncStatus(
        watches=note["watches"],
        error=note["error"],
        source=note["source"] and _decode_source(note["source"], now),
        pipeline=note["pipeline"] and _decode_pipeline(note["pipeline"], now),
        counts=NotifierCounts(*note["counts"]),
    )


def _unknown(rows: int) -> PipelineStatus:
    return PipelineStatus(
        reconciled=False,
        scanning=False,
        rows=rows,
        pending_rereads=0,
        counts={},
        activity="waiting for a leader",
        error=None,
    )
