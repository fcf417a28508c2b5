"""What operators and their machines ask: alive, ready, and how it stands."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import bridge
from bridge.ops import readiness
from bridge.ops.scrub import Scrub

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from bridge.gateway.hub import HubCounts
    from bridge.pipeline import PipelineStatus
    from bridge.source.base import SourceStatus
    from bridge.watchers import WatchersStatus


@dataclass(frozen=True, slots=True)
class Look:
    """How a running bridge stands. Times are seconds of the monotonic clock."""

    source: SourceStatus
    pipeline: PipelineStatus
    hub: HubCounts
    cut_off: int
    recoveries: dict[str, int]
    head: str
    log_error: str | None  # why the log can't be written at present
    started_at: float
    watchers: WatchersStatus | None = None  # None: nobody is notified of anything


class Operations:
    """The routes over what `look` gives: a `Look`, or why there is none."""

    def __init__(
        self,
        look: Callable[[], Look | str],
        *,
        stale_after: float,
        secrets: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`secrets` never show in an answer, even where an error quotes them."""
        self._look = look
        self._stale_after = stale_after
        self._hide = Scrub(secrets).text
        self._clock = clock
        self._live_at: float | None = None

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/livez", self._livez, methods=["GET"]),
            Route("/readyz", self._readyz, methods=["GET"]),
            Route("/status", self._status, methods=["GET"]),
        ]

    def verdict(self) -> readiness.Verdict:
        """Whether the bridge can be relied on right now."""
        return self._judge(self._look(), self._clock())

    async def _livez(self, _request: Request) -> Response:
        return _fresh({"status": "alive"})

    async def _readyz(self, _request: Request) -> Response:
        verdict = self.verdict()
        return _fresh(verdict.body(), 200 if verdict.ready else 503)

    async def _status(self, _request: Request) -> Response:
        look, now = self._look(), self._clock()
        head: dict[str, Any] = {
            "version": bridge.__version__,
            "reason": None,
            **self._judge(look, now).body(),
        }
        return _fresh(head if isinstance(look, str) else {**head, **self._describe(look, now)})

    def _judge(self, look: Look | str, now: float) -> readiness.Verdict:
        if isinstance(look, str):
            self._live_at = None
            return readiness.Verdict(ready=False, reason=self._hide(look))
        self._live_at = readiness.live_at(
            look.source, before=self._live_at, now=now, log_error=look.log_error
        )
        verdict = readiness.verdict(
            look.source,
            reconciled=look.pipeline.reconciled,
            live_at=self._live_at,
            now=now,
            stale_after=self._stale_after,
            log_error=look.log_error,
        )
        if verdict.reason is None:
            return verdict
        return readiness.Verdict(ready=verdict.ready, reason=self._hide(verdict.reason))

    def _describe(self, look: Look, now: float) -> dict[str, Any]:
        return {
            "uptime_seconds": _ago(look.started_at, now),
            "source": self._source(look.source, now),
            "pipeline": self._pipeline(look.pipeline),
            "clients": look.hub.clients,
            "rooms": look.hub.rooms,
            "clients_cut_off": look.cut_off,
            "recoveries": look.recoveries,
            "log_head": look.head,
            "log_error": look.log_error,
            "watchers": look.watchers and self._watchers(look.watchers, now),
        }

    def _source(self, source: SourceStatus, now: float) -> dict[str, Any]:
        return {
            "state": source.state.value,
            "state_seconds": _ago(source.since, now),
            "proof_seconds_ago": _ago(source.proof_at, now),
            "attempts": source.attempts,
            "error": source.error and self._hide(source.error),
        }

    def _pipeline(self, pipeline: PipelineStatus) -> dict[str, Any]:
        return {
            name: self._hide(value) if isinstance(value, str) else value
            for name, value in asdict(pipeline).items()
        }

    def _watchers(self, watchers: WatchersStatus, now: float) -> dict[str, Any]:
        return {
            "watches": watchers.watches,
            "error": watchers.error and self._hide(watchers.error),
            **asdict(watchers.counts),
            "source": watchers.source and self._source(watchers.source, now),
            "pipeline": watchers.pipeline and self._pipeline(watchers.pipeline),
        }


def _ago(at: float | None, now: float) -> float | None:
    return None if at is None else round(max(0.0, now - at), 3)


def _fresh(body: dict[str, Any], status: int = 200) -> Response:
    """An answer that nobody may keep for another time."""
    return JSONResponse(body, status, headers={"Cache-Control": "no-store"})
