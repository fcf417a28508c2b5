"""The HTTP endpoints over the known rows: rights, position, `ETag` and rejections of each.

Subclasses of `RowsEndpoint` answer at one position of the log.
"""

from __future__ import annotations

import hashlib
import json
import logging
from typing import TYPE_CHECKING, ClassVar, Final

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bridge.contract.events import POSITION_HEADER
from bridge.errors import Code, RequestRejected
from bridge.rights import UNRESTRICTED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from bridge.gateway.gateway import Gateway
    from bridge.rights import Rights
    from bridge.security.client_ip import ClientAddress
    from bridge.security.origins import Origins

log = logging.getLogger(__name__)

STATUS: Final = {
    Code.RATE_LIMITED: 429,
    Code.NOT_READY: 503,
    Code.NOT_SUPPORTED: 501,
    Code.TOKEN_REQUIRED: 401,
    Code.TOKEN_INVALID: 401,
    Code.TOKEN_EXPIRED: 401,
    Code.SIGNED_OUT: 401,
    Code.REGION_FORBIDDEN: 403,
    Code.INTERNAL_ERROR: 500,
}
"""HTTP status by code; 400 for the others."""


VARY: Final = "Authorization"
"""The response depends on the token."""


class OriginsMiddleware(CORSMiddleware):
    """CORS for the same origins as at the Socket.IO endpoint."""

    def __init__(self, app: ASGIApp, origins: Origins) -> None:
        super().__init__(
            app,
            allow_origins=["*"] if origins.any else (),
            allow_methods=["GET"],
            allow_headers=["If-None-Match", "Authorization"],
            expose_headers=[POSITION_HEADER, "ETag", "Retry-After"],
        )
        self._origins = origins

    def is_allowed_origin(self, origin: str) -> bool:
        return self._origins.allows(origin)


def rejection_response(rejection: RequestRejected) -> Response:
    """Return the response of a rejected request, with the body of a rejected ack."""
    status = STATUS.get(rejection.code, 400)
    headers = {"Cache-Control": "no-store", "Vary": VARY}
    if rejection.code is Code.RATE_LIMITED:
        headers["Retry-After"] = str(RETRY_SECONDS)
    if status == 401:  # noqa: PLR2004 - Unauthorized
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(rejection.to_ack(), status, headers)


def etag_matches(if_none_match: str, etag: str) -> bool:
    """Return whether `If-None-Match` has this tag; weak comparison (RFC 9110, 13.1.2)."""
    opaque = etag.removeprefix("W/")
    return any(
        tag.strip().removeprefix("W/") == opaque or tag.strip() == "*"
        for tag in if_none_match.split(",")
    )


def position_headers(position: str, rights: Rights, *, private: bool) -> dict[str, str]:
    """Return the headers of a state at `position`; `private`: the response depends on a token."""
    return {
        POSITION_HEADER: position,
        "ETag": _etag(position, rights),
        "Cache-Control": "private, no-cache" if private else "no-cache",
        "Vary": VARY,
    }


RETRY_SECONDS: Final = 5
"""`Retry-After` of a rate-limited request."""


def _etag(position: str, rights: Rights) -> str:
    if (rights.regions, rights.view) == (None, "public"):
        return f'W/"{position}"'
    # As a digest, since the names of regions may be long, or contain quotes.
    scope = json.dumps([rights.view, rights.regions and sorted(rights.regions)])
    return f'W/"{position}-{hashlib.sha256(scope.encode()).hexdigest()[:16]}"'


class RowsEndpoint:
    """A GET endpoint that answers with the caller's rights, at the head of the log."""

    path: ClassVar[str]

    def __init__(
        self,
        gateway: Callable[[], Gateway | None],
        *,
        origins: Origins,
        proxies: ClientAddress,
        rights: Callable[[Request], Awaitable[Rights]] | None = None,
    ) -> None:
        """`gateway` returns the running gateway or None. `rights` returns the rights of a request
        or raises `RequestRejected`; without it every request has all rights.
        """
        self._gateway = gateway
        self._rights = rights
        self._proxies = proxies
        self.route = Route(
            self.path,
            self._get,
            # Browsers send a preflight request ahead of a token or an entity tag.
            methods=["GET", "OPTIONS"],
            middleware=[
                Middleware(OriginsMiddleware, origins),
                Middleware(GZipMiddleware, minimum_size=1000, compresslevel=5),
            ],
        )

    async def _get(self, request: Request) -> Response:
        if request.method == "OPTIONS":  # not a preflight request, which CORS has answered
            return Response(status_code=204, headers={"Allow": "GET, HEAD, OPTIONS"})
        try:
            rights = UNRESTRICTED if self._rights is None else await self._rights(request)
            return await self._answer(request, rights)
        except RequestRejected as rejection:
            return rejection_response(rejection)
        except Exception:
            log.exception("GET %s failed", self.path)
            return rejection_response(RequestRejected.by_failure())

    async def _answer(self, request: Request, rights: Rights) -> Response:
        """Return the answer. Raises `RequestRejected`."""
        raise NotImplementedError

    async def _ready_gateway(self) -> Gateway:
        gateway = self._gateway()
        if gateway is None:
            raise RequestRejected(Code.NOT_READY, "the bridge is not running")
        await gateway.snapshots.wait_ready()
        return gateway


def is_private(request: Request, rights: Rights) -> bool:
    """Return whether an answer is for its caller alone."""
    return rights != UNRESTRICTED or "Authorization" in request.headers


def not_modified(request: Request, headers: Mapping[str, str]) -> Response | None:
    """Return the answer to a request that has the entity of `headers` already; None otherwise."""
    if_none_match = request.headers.get("If-None-Match")
    if if_none_match is None or not etag_matches(if_none_match, headers["ETag"]):
        return None
    return Response(status_code=304, headers=headers)
