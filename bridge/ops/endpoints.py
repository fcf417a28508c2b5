"""HTTP endpoints of operations: /livez, /readyz, /status and /metrics."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.routing import Route

from bridge.ops import readiness
from bridge.ops.metrics import (
    CONTENT_TYPE,
    OPENMETRICS_TYPE,
    accepts_openmetrics,
    exposition,
)
from bridge.ops.readiness import Readiness
from bridge.ops.redaction import Redactor
from bridge.ops.responses import no_store, rejected
from bridge.security.admin_auth import AdminRequestRejected
from bridge.version import __version__

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from bridge.notifications.watch_sync import WatchSyncStatus
    from bridge.ops.status import GroupStatus, StatusReport
    from bridge.pipeline.pipeline import PipelineStatus
    from bridge.security.admin_auth import AdminAuth
    from bridge.source.base import SlotStatus, SourceStatus


class OpsEndpoints:
    """Serves the status of a bridge. /livez and /readyz are public, /status and /metrics need
    `admin_auth`.
    """

    def __init__(
        self,
        report: Callable[[], StatusReport | Readiness],
        *,
        combine: Callable[[StatusReport], Awaitable[StatusReport]] | None = None,
        admin_auth: AdminAuth,
        stale_after: float,
        secrets: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`report` returns the status, or a `Readiness` with the reason while the bridge does not
        run; `combine` adds the counts of other processes. `secrets` are redacted in all
        responses, since an error may quote them.
        """
        self._report = report
        self._combine = combine
        self._admin_auth = admin_auth
        self._stale_after = stale_after
        self._redact = Redactor(secrets).text
        self._clock = clock
        self._live_at: float | None = None
        self._reconciled_at: float | None = None
        self._epoch = ""

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/livez", self._livez, methods=["GET"]),
            Route("/readyz", self._readyz, methods=["GET"]),
            Route("/status", self._status, methods=["GET"]),
            Route("/metrics", self._metrics, methods=["GET"]),
        ]

    def readiness(self) -> Readiness:
        """Return whether the bridge is ready now."""
        return self._evaluate(self._report(), self._clock())

    async def evaluated(self) -> tuple[StatusReport | Readiness, Readiness]:
        """Return the status of all processes, and whether the bridge is ready now."""
        report = self._report()
        if self._combine is not None and not isinstance(report, Readiness):
            report = await self._combine(report)
        return report, self._evaluate(report, self._clock())

    def document(self, report: StatusReport | Readiness, result: Readiness) -> dict[str, Any]:
        """Return the body of /status, of what `evaluated` returns."""
        head = {
            "version": __version__,
            "ready": result.ready,
            "reason": result.reason,
            "stopping": not isinstance(report, Readiness) and report.stopping,
        }
        if isinstance(report, Readiness):
            return head
        return {**head, **self._describe(report, self._clock())}

    async def _livez(self, _request: Request) -> Response:
        return no_store({"status": "alive"})

    async def _readyz(self, _request: Request) -> Response:
        result = self.readiness()
        return no_store(result.body(), 200 if result.ready else 503)

    async def _status(self, request: Request) -> Response:
        try:
            self._admin_auth.require_read(request.scope)
        except AdminRequestRejected as rejection:
            return rejected(rejection)
        return no_store(self.document(*await self.evaluated()))

    async def _metrics(self, request: Request) -> Response:
        try:
            self._admin_auth.require_read(request.scope)
        except AdminRequestRejected as rejection:
            return rejected(rejection)
        report, result = await self.evaluated()
        running = None if isinstance(report, Readiness) else report
        openmetrics = accepts_openmetrics(request.headers.get("Accept", ""))
        return Response(
            exposition(running, ready=result.ready, now=self._clock(), as_openmetrics=openmetrics),
            headers={
                "Content-Type": OPENMETRICS_TYPE if openmetrics else CONTENT_TYPE,
                "Cache-Control": "no-store",
                "Vary": "Accept",
            },
        )

    def _evaluate(self, report: StatusReport | Readiness, now: float) -> Readiness:
        if isinstance(report, Readiness):
            self._live_at = self._reconciled_at = None
            result = report
        elif report.stopping:
            result = readiness.not_ready("the bridge is stopping", "the bridge is stopping")
        else:
            self._live_at = readiness.live_at(
                report.source, before=self._live_at, now=now, log_error=report.log_error
            )
            result = readiness.evaluate(
                report.source,
                reconciled=self._reconciled(report, now),
                live_at=self._live_at,
                now=now,
                stale_after=self._stale_after,
                log_error=report.log_error,
                log_error_since=report.log_error_since,
                table_error=report.pipeline.error,
                unreadable_since=report.pipeline.unreadable_since,
            )
        return replace(result, reason=result.reason and self._redact(result.reason))

    def _reconciled(self, report: StatusReport, now: float) -> bool:
        """Return whether the rows agree with the table, or did within the last `stale_after`
        seconds: a leader that takes over scans first, while every machine goes on to serve.
        """
        epoch = report.head.rpartition("-")[0]
        if epoch != self._epoch:  # the rows before belong to a history that is lost
            self._epoch, self._reconciled_at = epoch, None
        if report.pipeline.reconciled:
            self._reconciled_at = now
        at = self._reconciled_at
        return at is not None and now - at <= self._stale_after

    def _describe(self, report: StatusReport, now: float) -> dict[str, Any]:
        return {
            "uptime_seconds": _ago(report.started_at, now),
            **self._group(report.group, now),
            "source": self._source(report.source, now),
            "pipeline": self._pipeline(report.pipeline),
            "connections": report.connections,
            "refusals": dict(report.rejections),
            "clients": report.hub.clients,
            "rooms": report.hub.rooms,
            "clients_cut_off": report.slow_clients_closed,
            "recoveries": report.recoveries,
            "log_head": report.head,
            "log_error": report.log_error and self._redact(report.log_error),
            "log_server": report.log_server and asdict(report.log_server),
            "watchers": report.watchers and self._watchers(report.watchers, now),
            **({"processes": list(map(asdict, report.processes))} if report.processes else {}),
        }

    def _group(self, group: GroupStatus, now: float) -> dict[str, Any]:
        return {
            "role": group.role,
            "term": group.term,
            "lag": {"entries": group.lag_entries, "ms": round(group.lag_seconds * 1000, 1)},
            "machines": [
                {
                    "process": each.process,
                    "machine": each.machine,
                    "role": each.role,
                    "beat_seconds_ago": _ago(each.last_beat_at, now),
                }
                for each in group.machines
            ],
        }

    def _source(self, source: SourceStatus, now: float) -> dict[str, Any]:
        return {
            "state": source.state.value,
            "state_seconds": _ago(source.since, now),
            "proof_seconds_ago": _ago(source.last_activity_at, now),
            "attempts": source.attempts,
            "error": source.error and self._redact(source.error),
            **({"slot": _slot(source.slot)} if source.slot else {}),
        }

    def _pipeline(self, pipeline: PipelineStatus) -> dict[str, Any]:
        return {
            "reconciled": pipeline.reconciled,
            "passing": pipeline.scanning,
            "rows": pipeline.rows,
            "doubts": pipeline.pending_rereads,
            "counts": pipeline.counts,
            "activity": self._redact(pipeline.activity),
            "error": pipeline.error and self._redact(pipeline.error),
        }

    def _watchers(self, watchers: WatchSyncStatus, now: float) -> dict[str, Any]:
        return {
            "watches": watchers.watches,
            "error": watchers.error and self._redact(watchers.error),
            **asdict(watchers.counts),
            "source": watchers.source and self._source(watchers.source, now),
            "pipeline": watchers.pipeline and self._pipeline(watchers.pipeline),
        }


def _slot(slot: SlotStatus) -> dict[str, Any]:
    return {
        "name": slot.name,
        "lag_bytes": slot.lag,
        "retained_bytes": slot.retained,
        "safe_bytes": slot.safe,
    }


def _ago(at: float | None, now: float) -> float | None:
    return None if at is None else round(max(0.0, now - at), 3)
