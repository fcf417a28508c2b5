"""`GET /status/stream`: the status, its history and new events, as server-sent events."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import orjson
from starlette.responses import StreamingResponse
from starlette.routing import Route

from bridge.errors import Code
from bridge.ops.recent_events import RecentEvents
from bridge.ops.responses import rejected
from bridge.ops.status_history import SAMPLE_SECONDS, StatusHistory, sample
from bridge.security.admin_auth import AdminRequestRejected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from bridge.log.base import EventLog
    from bridge.ops.endpoints import OpsEndpoints
    from bridge.security.admin_auth import AdminAuth

STATUS_SECONDS: Final = 1.0
"""Time between two status messages of a stream."""

STREAMS: Final = 8
"""Streams at a time; further ones are rejected."""

ROOMS: Final = 50
"""Rooms in a status message, those with the most clients."""


class StatusStream:
    """Streams to operators what they would else poll for. Each stream begins with `history`, a list
    of samples; then come `status`, the document of /status with a `sample` of it and the number of
    `room_clients`, each `STATUS_SECONDS`, and `events` (see `RecentEvents.take`).
    """

    def __init__(
        self,
        endpoints: OpsEndpoints,
        admin_auth: AdminAuth,
        *,
        log: Callable[[], EventLog | None],
        room_clients: Callable[[int], Mapping[str, int]],
    ) -> None:
        """`log` returns None while the bridge does not run. `room_clients` returns the numbers of
        this process's clients in that many rooms.
        """
        self._endpoints = endpoints
        self._admin_auth = admin_auth
        self._log = log
        self._room_clients = room_clients
        self.streams = 0
        """Streams that are open."""
        self.history = StatusHistory()

    def routes(self) -> list[BaseRoute]:
        return [Route("/status/stream", self._get, methods=["GET"])]

    async def keep_history(self) -> None:
        """Take a sample every few seconds, for ever."""
        while True:
            self.history.add(sample(*await self._endpoints.evaluated(), time.time()))
            await asyncio.sleep(SAMPLE_SECONDS)

    async def _get(self, request: Request) -> Response:
        try:
            self._require(request)
        except AdminRequestRejected as rejection:
            return rejected(rejection)
        return StreamingResponse(
            self._messages(),
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",  # nginx would collect the messages
            },
        )

    def _require(self, request: Request) -> None:
        """Raises `AdminRequestRejected`."""
        self._admin_auth.require_read(request.scope)
        if self.streams >= STREAMS:
            raise AdminRequestRejected(
                429,
                Code.RATE_LIMITED,
                f"{STREAMS} streams are open already: close another page",
                {"Retry-After": "10"},
            )

    async def _messages(self) -> AsyncIterator[bytes]:
        log = self._log()
        recent = RecentEvents()
        following = None if log is None else asyncio.create_task(recent.follow(log))
        self.streams += 1
        try:
            yield _message("history", self.history.bodies())
            while True:
                evaluated = await self._endpoints.evaluated()
                status = self._endpoints.document(*evaluated)
                status["sample"] = sample(*evaluated, time.time()).body()
                status["room_clients"] = dict(self._room_clients(ROOMS))
                yield _message("status", status)
                if log is None or log is not self._log() or status["stopping"]:
                    return  # the page connects again
                if (taken := recent.take()) is not None:
                    yield _message("events", taken)
                await asyncio.sleep(STATUS_SECONDS)
        finally:
            self.streams -= 1
            if following is not None:
                following.cancel()


def _message(name: str, data: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(data))
