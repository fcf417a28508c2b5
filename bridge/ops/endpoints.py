"""What operators and their machines ask: alive, ready, and how it stands."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.routing import Route

from bridge.ops import readiness
from bridge.ops.metrics import CONTENT_TYPE, exposition
from bridge.ops.readiness import Readiness
from bridge.ops.redaction import Redactor
from bridge.ops.responses import no_store, rejected
from bridge.security.admin_auth import AdminRequestRejected
from bridge.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from bridge.notifications.watch_sync import WatchSyncStatus
    from bridge.ops.status import StatusReport
    from bridge.pipeline.pipeline import PipelineStatus
    from bridge.security.admin_auth import AdminAuth
    from bridge.source.base import SourceStatus


class OpsEndpoints:
    """The routes over what `look` gives: a `Look`, or why there is none. Anybody may know whether
    the bridge is alive and ready, `operators` how it stands.
    """

    def __init__(
        self,
        look: Callable[[], StatusReport | Readiness],
        *,
        admin_auth: AdminAuth,
        stale_after: float,
        secrets: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`secrets` never show in an answer, even where an error quotes them."""
        self._look = look
        self._admin_auth = admin_auth
        self._stale_after = stale_after
        self._hide = Redactor(secrets).text
        self._clock = clock
        self._live_at: float | None = None

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/livez", self._livez, methods=["GET"]),
            Route("/readyz", self._readyz, methods=["GET"]),
            Route("/status", self._status, methods=["GET"]),
            Route("/metrics", self._metrics, methods=["GET"]),
        ]

    def readiness(self) -> Readiness:
        """Whether the bridge can be relied on right now."""
        return self._evaluate(self._look(), self._clock())

    async def _livez(self, _request: Request) -> Response:
        return no_store({"status": "alive"})

    async def _readyz(self, _request: Request) -> Response:
        verdict = self.readiness()
        return no_store(verdict.body(), 200 if verdict.ready else 503)

    async def _status(self, request: Request) -> Response:
        try:
            self._admin_auth.require_read(request.scope)
        except AdminRequestRejected as refusal:
            return rejected(refusal)
        look, now = self._look(), self._clock()
        verdict = self._evaluate(look, now)
        head = {
            "version": __version__,
            "ready": verdict.ready,
            "reason": verdict.reason,
        }
        return no_store(
            head if isinstance(look, Readiness) else {**head, **self._describe(look, now)}
        )

    async def _metrics(self, request: Request) -> Response:
        try:
            self._admin_auth.require_read(request.scope)
        except AdminRequestRejected as refusal:
            return rejected(refusal)
        look, now = self._look(), self._clock()
        ready = self._evaluate(look, now).ready
        running = None if isinstance(look, Readiness) else look
        return Response(
            exposition(running, ready=ready, now=now),
            headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"},
        )

    def _evaluate(self, look: StatusReport | Readiness, now: float) -> Readiness:
        if isinstance(look, Readiness):
            self._live_at = None
            verdict = look
        else:
            self._live_at = readiness.live_at(
                look.source, before=self._live_at, now=now, log_error=look.log_error
            )
            verdict = readiness.evaluate(
                look.source,
                reconciled=look.pipeline.reconciled,
                live_at=self._live_at,
                now=now,
                stale_after=self._stale_after,
                log_error=look.log_error,
            )
        return replace(verdict, reason=verdict.reason and self._hide(verdict.reason))

    def _describe(self, look: StatusReport, now: float) -> dict[str, Any]:
        return {
            "uptime_seconds": _ago(look.started_at, now),
            "source": self._source(look.source, now),
            "pipeline": self._pipeline(look.pipeline),
            "connections": look.connections,
            "refusals": dict(look.rejections),
            "clients": look.hub.clients,
            "rooms": look.hub.rooms,
            "clients_cut_off": look.slow_clients_closed,
            "recoveries": look.recoveries,
            "log_head": look.head,
            "log_error": look.log_error and self._hide(look.log_error),
            "watchers": look.watchers and self._watchers(look.watchers, now),
        }

    def _source(self, source: SourceStatus, now: float) -> dict[str, Any]:
        return {
            "state": source.state.value,
            "state_seconds": _ago(source.since, now),
            "proof_seconds_ago": _ago(source.last_activity_at, now),
            "attempts": source.attempts,
            "error": source.error and self._hide(source.error),
        }

    def _pipeline(self, pipeline: PipelineStatus) -> dict[str, Any]:
        return {
            "reconciled": pipeline.reconciled,
            "passing": pipeline.scanning,
            "rows": pipeline.rows,
            "doubts": pipeline.pending_rereads,
            "counts": pipeline.counts,
            "activity": self._hide(pipeline.activity),
            "error": pipeline.error and self._hide(pipeline.error),
        }

    def _watchers(self, watchers: WatchSyncStatus, now: float) -> dict[str, Any]:
        return {
            "watches": watchers.watches,
            "error": watchers.error and self._hide(watchers.error),
            **asdict(watchers.counts),
            "source": watchers.source and self._source(watchers.source, now),
            "pipeline": watchers.pipeline and self._pipeline(watchers.pipeline),
        }


def _ago(at: float | None, now: float) -> float | None:
    return None if at is None else round(max(0.0, now - at), 3)
