"""`GET /regions`: the regions with their numbers of rows over HTTP, at one position of the log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import orjson
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.routing import Route

from bridge.errors import Code, RequestRejected
from bridge.gateway.http_snapshot import (
    PAGE_ROWS,
    OriginsMiddleware,
    etag_matches,
    position_headers,
    rejection_response,
)
from bridge.rights import UNRESTRICTED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from bridge.gateway.gateway import Gateway
    from bridge.rights import Rights
    from bridge.security.client_ip import ClientAddress
    from bridge.security.origins import Origins

log = logging.getLogger(__name__)


class RegionsEndpoint:
    """`[{"region": "TX", "count": 60}, ...]`, the regions that the caller may read, by name.

    A count includes the rows of the regions inside a region, so with `state,city` those of
    `TX/Austin` count in `TX` as well. A region without rows and rows without a region are left out.
    Position, `ETag`, rejections and CORS are those of `GET /properties`. The counts are kept by the
    snapshots' index, so no row is read.
    """

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
            "/regions",
            self._get,
            methods=["GET", "OPTIONS"],  # browsers send a preflight request ahead of a token
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
            _check_parameters(request)
            gateway = await self._ready_gateway()
            return self._answer(gateway, request, gateway.effective_rights(rights))
        except RequestRejected as rejection:
            return rejection_response(rejection)
        except Exception:
            log.exception("GET /regions failed")
            return rejection_response(RequestRejected.by_failure())

    async def _ready_gateway(self) -> Gateway:
        gateway = self._gateway()
        if gateway is None:
            raise RequestRejected(Code.NOT_READY, "the bridge is not running")
        await gateway.snapshots.wait_ready()
        return gateway

    def _answer(self, gateway: Gateway, request: Request, rights: Rights) -> Response:
        """Return the counts; they and their position are read in one event-loop iteration."""
        private = rights != UNRESTRICTED or "Authorization" in request.headers
        headers = position_headers(str(gateway.log.head), rights, private=private)
        if_none_match = request.headers.get("If-None-Match")
        if if_none_match is not None and etag_matches(if_none_match, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        address = self._proxies.rate_limit_key(request.scope)
        gateway.quota.check(address, gateway.clock.monotonic())
        counts = gateway.snapshots.count_regions(rights)
        gateway.quota.charge(address, gateway.clock.monotonic(), len(counts) / PAGE_ROWS)
        body = orjson.dumps([{"region": region, "count": count} for region, count in counts])
        return Response(body, media_type="application/json", headers=headers)


def _check_parameters(request: Request) -> None:
    for name in request.query_params:
        raise RequestRejected(Code.BAD_REQUEST, f"expected no parameter, received {name[:40]!r}")
