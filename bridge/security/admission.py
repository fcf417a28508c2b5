"""The door of the Socket.IO endpoint: who is let in to it at all.

A handshake, the first request of an Engine.IO session, takes a place: of its address, and of all.
Whoever serves the session keeps the place until the session ends; where no session comes of it, the
place is free again when the request is answered.
"""

from __future__ import annotations

import logging
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from bridge.errors import Code, RequestRejected
from bridge.security.concurrency import ConcurrencyLimiter, LimitReached, Slot
from bridge.security.rate_limit import RateLimiter
from bridge.security.rejection import reject

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from bridge.security.client_ip import ClientAddress
    from bridge.security.origins import Origins

log = logging.getLogger(__name__)

FULL_SECONDS: Final = 10.0
"""After which somebody for whom there is no place may ask again."""

ALL: Final = ""
"""The key of the pace that all share."""

_slot: ContextVar[Slot | None] = ContextVar("place", default=None)
"""Of the handshake that is being served."""


def claim_slot() -> Slot | None:
    """The place of the handshake that is being served. From here on it is the caller's to give
    back. None where there is no door.
    """
    place = _slot.get()
    if place is not None:
        place.claimed = True
    return place


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """Limits of connections and handshakes. An address of IPv6 stands for its /64."""

    connections: int
    """Open at a time, in all."""
    connections_per_address: int
    handshakes_per_second: float
    """Sustained rate of handshakes, in all."""
    handshakes_burst: int
    """Handshakes at once, after a pause, in all."""
    handshakes_per_second_per_address: float
    handshakes_burst_per_address: int


class AdmissionMiddleware:
    """An ASGI application around another one."""

    def __init__(
        self,
        app: ASGIApp,
        limits: AdmissionLimits,
        *,
        origins: Origins,
        proxies: ClientAddress,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._origins = origins
        self._proxies = proxies
        self._clock = clock
        self.connections = ConcurrencyLimiter(limits.connections_per_address, limits.connections)
        self._pace = RateLimiter(
            limits.handshakes_per_second_per_address, limits.handshakes_burst_per_address
        )
        self._pace_of_all = RateLimiter(limits.handshakes_per_second, limits.handshakes_burst)
        self.rejections: dict[str, int] = {}
        """How many were refused, by code."""
        self._warned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        origin, host = _origin(scope)
        if not self._origins.allows(origin, host):
            refused = RequestRejected(
                Code.ORIGIN_FORBIDDEN,
                "this page's origin may not connect; BRIDGE_CORS_ORIGINS lists those that may",
            )
            self._count(refused)
            await reject(scope, receive, send, refused=refused, status=403)
            return
        if not _is_handshake(scope):
            await self._app(scope, receive, send)
            return
        self._warn_of_untrusted_proxy(scope)
        key = self._proxies.rate_limit_key(scope)
        place, status, after = self._acquire(key)
        if isinstance(place, RequestRejected):
            self._count(place)
            await reject(
                scope,
                receive,
                send,
                refused=place,
                status=status,
                retry_after=after,
                origin=origin,
            )
            return
        token = _slot.set(place)
        try:
            await self._app(scope, receive, send)
        finally:
            _slot.reset(token)
            if not place.claimed:
                place.release()

    def _acquire(self, key: str | None) -> tuple[Slot | RequestRejected, int, float]:
        """A place, or a refusal with its HTTP status and the seconds to wait. The limits of an
        address come first: one that asks too much takes nothing from the others.
        """
        now = self._clock()
        wait = 0.0 if key is None else self._pace.acquire(key, now)
        if wait:
            why = "too many connections were begun from this address"
            return (
                RequestRejected(Code.RATE_LIMITED, f"{why}; try again in {wait:.0f} s"),
                429,
                wait,
            )
        place = self.connections.acquire(key)
        if place is LimitReached.KEY:
            why = "this address has as many connections as one may have"
            return RequestRejected(Code.TOO_MANY_CONNECTIONS, why), 429, FULL_SECONDS
        if isinstance(place, LimitReached):
            why = "the bridge has as many connections as it takes"
            return RequestRejected(Code.TOO_MANY_CONNECTIONS, why), 503, FULL_SECONDS
        wait = self._pace_of_all.acquire(ALL, now)
        if wait:
            place.release()
            return RequestRejected(Code.RATE_LIMITED, "too many connect at once"), 503, wait
        return place, 200, 0.0

    def _count(self, refused: RequestRejected) -> None:
        code = refused.code.value
        self.rejections[code] = self.rejections.get(code, 0) + 1

    def _warn_of_untrusted_proxy(self, scope: Scope) -> None:
        if not self._warned and self._proxies.is_untrusted_proxy(scope):
            self._warned = True
            log.warning(
                "requests come through a proxy at %s that BRIDGE_TRUSTED_PROXIES does not name: "
                "all its clients count as one address, with the limits of one",
                scope["client"][0],
            )


def _origin(scope: Scope) -> tuple[str | None, str]:
    """The Origin and the Host. Several Origins are none that is allowed."""
    origin: str | None = None
    host = ""
    for name, value in scope["headers"]:
        if name == b"origin":
            text = value.decode("latin-1")
            origin = text if origin is None else f"{origin},{text}"
        elif name == b"host":
            host = value.decode("latin-1")
    return origin, host


def _is_handshake(scope: Scope) -> bool:
    """Whether a request asks for a new session: the Engine.IO server sees it the same way."""
    if scope["type"] == "http" and scope["method"] != "GET":
        return False
    query = scope.get("query_string", b"")
    return b"sid" not in query or "sid" not in parse_qs(query.decode("latin-1"))
