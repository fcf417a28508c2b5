"""`GET /regions`: the regions with their numbers of rows over HTTP, at one position of the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from starlette.responses import Response

from bridge.errors import Code, RequestRejected
from bridge.gateway.http_endpoint import (
    RowsEndpoint,
    is_private,
    not_modified,
    position_headers,
)
from bridge.gateway.http_snapshot import PAGE_ROWS

if TYPE_CHECKING:
    from starlette.requests import Request

    from bridge.rights import Rights


class RegionsEndpoint(RowsEndpoint):
    """`[{"region": "TX", "count": 60}, ...]`, the regions that the caller may read, by name.

    A count includes the rows of the regions inside a region, so with `state,city` those of
    `TX/Austin` count in `TX` as well. A region without rows and rows without a region are left out.
    Position, `ETag`, rejections and CORS are those of `GET /properties`. The counts are kept by the
    snapshots' index, so no row is read.
    """

    path = "/regions"

    async def _answer(self, request: Request, rights: Rights) -> Response:
        _check_parameters(request)
        gateway = await self._ready_gateway()
        rights = gateway.effective_rights(rights)
        # No await from here on: the counts and their position belong together.
        private = is_private(request, rights)
        headers = position_headers(str(gateway.log.head), rights, private=private)
        response = not_modified(request, headers)
        if response is not None:
            return response
        address = self._proxies.rate_limit_key(request.scope)
        gateway.quota.check(address, gateway.clock.monotonic())
        counts = gateway.snapshots.count_regions(rights)
        gateway.quota.charge(address, gateway.clock.monotonic(), len(counts) / PAGE_ROWS)
        body = orjson.dumps([{"region": region, "count": count} for region, count in counts])
        return Response(body, media_type="application/json", headers=headers)


def _check_parameters(request: Request) -> None:
    for name in request.query_params:
        raise RequestRejected(Code.BAD_REQUEST, f"expected no parameter, received {name[:40]!r}")
