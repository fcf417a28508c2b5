"""Admission to the Socket.IO endpoint: origins, rates of handshakes, and numbers of connections.

A handshake, the first request of an Engine.IO session, acquires a slot of its address and of the
total. The server of the session claims the slot and releases it at the end of the session. An
unclaimed slot is released after the response.
"""

from __future__ import annotations

import logging
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from bridge.errors import Code, RequestRejected
from bridge.security.handshake_limits import HandshakeLimits, Refusal
from bridge.security.origins import ANY as ANY_ORIGIN
from bridge.security.rejection import reject

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from bridge.security.client_ip import ClientAddress
    from bridge.security.concurrency import ConcurrencyLimiter, Slot
    from bridge.security.handshake_limits import AdmissionLimits, OtherProcesses
    from bridge.security.origins import Origins

log = logging.getLogger(__name__)

MAX_WARNED_ORIGINS: Final = 50
"""Rejected origins that are logged; any client can invent them."""

ORIGIN_ADMITTED: Final = "bridge.origin_admitted"
"""Key in `scope["extensions"]` of a request whose origin may connect."""

_slot: ContextVar[Slot | None] = ContextVar("slot", default=None)
"""The slot of the handshake that is being served."""


def claim_slot() -> Slot | None:
    """Return the slot of the handshake that is being served; the caller has to release it. None
    outside of `AdmissionMiddleware`.
    """
    slot = _slot.get()
    if slot is not None:
        slot.claimed = True
    return slot


class AdmissionMiddleware:
    """ASGI middleware that rejects handshakes beyond the limits and foreign origins."""

    def __init__(
        self,
        app: ASGIApp,
        limits: AdmissionLimits,
        *,
        origins: Origins,
        addresses: ClientAddress,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._origins = origins
        self._addresses = addresses
        self._clock = clock
        self._limits = HandshakeLimits(limits)
        self.others: OtherProcesses | None = None
        """The limits shared with other processes of this machine, if there are any."""
        self.rejections: dict[str, int] = {}
        """Number of rejections by code."""
        self.rejections_by_origin: dict[str, int] = {}
        """The same by `code origin`, where the origin is a class: none, allowed or foreign."""
        self._warned = False
        self._warned_origins: set[str] = set()

    @property
    def connections(self) -> ConcurrencyLimiter:
        """The connections of this process."""
        return self._limits.connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        origin = _origin(scope)
        if origin is not None and not self._origins.allows(origin, *self._addresses.hosts(scope)):
            self._warn_of_origin(origin, scope)
            rejection = RequestRejected(
                Code.ORIGIN_FORBIDDEN,
                "this page's origin may not connect; BRIDGE_CORS_ORIGINS lists those that may",
            )
            self._count(rejection, "foreign")
            # Any page may read why, and show it: the answer is the same for all, and no secret.
            await reject(scope, receive, send, rejection=rejection, status=403, origin=ANY_ORIGIN)
            return
        scope.setdefault("extensions", {})[ORIGIN_ADMITTED] = True
        if not is_handshake(scope):
            await self._app(scope, receive, send)
            return
        self._warn_of_untrusted_proxy(scope)
        key = self._addresses.rate_limit_key(scope)
        slot = await self._acquire(key)
        if isinstance(slot, Refusal):
            self._count(slot.rejection, "none" if origin is None else "allowed")
            await reject(
                scope,
                receive,
                send,
                rejection=slot.rejection,
                status=slot.status,
                retry_after=slot.retry_after,
                origin=origin,
            )
            return
        token = _slot.set(slot)
        try:
            await self._app(scope, receive, send)
        finally:
            _slot.reset(token)
            if not slot.claimed:
                slot.release()

    async def _acquire(self, key: str | None) -> Slot | Refusal:
        slot = self._limits.acquire(key, self._clock())
        if self.others is None or isinstance(slot, Refusal):
            return slot
        try:
            refusal = await self.others.admit(key)
        except BaseException:
            slot.release()
            raise
        if refusal is None:
            return slot
        slot.cancel()
        return refusal

    def _count(self, rejection: RequestRejected, origin_class: str) -> None:
        code = rejection.code.value
        self.rejections[code] = self.rejections.get(code, 0) + 1
        key = f"{code} {origin_class}"
        self.rejections_by_origin[key] = self.rejections_by_origin.get(key, 0) + 1

    def _warn_of_origin(self, origin: str, scope: Scope) -> None:
        """Log a rejected origin, once each."""
        if origin in self._warned_origins or len(self._warned_origins) >= MAX_WARNED_ORIGINS:
            return
        self._warned_origins.add(origin)
        log.warning(
            "pages of the origin %.200r may not connect; if they should, add it to "
            "BRIDGE_CORS_ORIGINS (the requests are sent to %.200r)",
            origin,
            ", ".join(self._addresses.hosts(scope)),
        )

    def _warn_of_untrusted_proxy(self, scope: Scope) -> None:
        if not self._warned and self._addresses.is_untrusted_proxy(scope):
            self._warned = True
            log.warning(
                "requests are forwarded by a proxy at %s that is not in BRIDGE_TRUSTED_PROXIES: "
                "all its clients share the limits of one address",
                scope["client"][0],
            )


def _origin(scope: Scope) -> str | None:
    """Return the Origin. Several are joined, which matches no pattern."""
    origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
    return ",".join(origins) if origins else None


def is_handshake(scope: Scope) -> bool:
    """Return whether a request opens a new session, by the same rule as the Engine.IO server."""
    if scope["type"] == "http" and scope["method"] != "GET":
        return False
    query = scope.get("query_string", b"")
    return b"sid" not in query or "sid" not in parse_qs(query.decode("latin-1"))
