"""`GET /properties`: the rows of a snapshot over HTTP, with the position at which they hold."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from bridge.errors import Code, Refused
from bridge.gateway.snapshot import STEP_ROWS
from bridge.gateway.wanted import Wanted, region

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from bridge.changes import Key
    from bridge.gateway.server import Gateway
    from bridge.gateway.snapshot import Snapshots
    from bridge.guard.origins import Origins

POSITION: Final = "Bridge-Position"
"""The header with the log position up to which the rows are."""

AT_ONCE: Final = 2
"""Requests that are gathered at a time; the others wait. Each holds references to all its rows."""

STATUS: Final = {Code.NOT_READY: 503, Code.NOT_SUPPORTED: 501}
"""HTTP status by code; 400 for the others."""


class Cors(CORSMiddleware):
    """Pages of the same origins as the Socket.IO endpoint's may read the answers."""

    def __init__(self, app: ASGIApp, origins: Origins) -> None:
        super().__init__(
            app,
            allow_origins=["*"] if origins.any else (),
            allow_methods=["GET"],
            allow_headers=["If-None-Match", "Authorization"],
            expose_headers=[POSITION, "ETag", "Retry-After"],
        )
        self._origins = origins

    def is_allowed_origin(self, origin: str) -> bool:
        return self._origins.allows(origin)


class Properties:
    """`[row, ...]` of the regions that are named, or of all: `?region=TX&region=CA/San Diego`.

    The answer holds at one position: its `ETag`, weak because it may be compressed, is made of it,
    so a client that asks again with `If-None-Match` is answered 304 where nothing has happened
    since.
    """

    def __init__(
        self, gateway: Callable[[], Gateway | None], *, origins: Origins, max_rooms: int
    ) -> None:
        self._gateway = gateway
        self._max_rooms = max_rooms
        self._turns = asyncio.Semaphore(AT_ONCE)
        self.route = Route(
            "/properties",
            self._get,
            methods=["GET"],
            middleware=[
                Middleware(Cors, origins),
                Middleware(GZipMiddleware, minimum_size=1000, compresslevel=5),
            ],
        )

    async def _get(self, request: Request) -> Response:
        try:
            wanted = self._wanted(request)
            gateway = await self._ready()
            known = request.headers.get("If-None-Match")
            if known is not None and _same(known, _etag(str(gateway.log.head))):
                return Response(status_code=304, headers=_headers(str(gateway.log.head)))
            async with self._turns:
                rows = await gateway.snapshots.collect(wanted)
                # Not later: they belong to this step of the loop.
                position = str(gateway.log.head)
        except Refused as refused:
            return JSONResponse(
                refused.ack(), STATUS.get(refused.code, 400), {"Cache-Control": "no-store"}
            )
        return StreamingResponse(
            _body(gateway.snapshots, rows),
            media_type="application/json",
            headers=_headers(position),
        )

    async def _ready(self) -> Gateway:
        gateway = self._gateway()
        if gateway is None:
            raise Refused(Code.NOT_READY, "the bridge is not running")
        await gateway.ready()
        return gateway

    def _wanted(self, request: Request) -> Wanted:
        others = sorted(set(request.query_params.keys()) - {"region"})
        if others:
            raise Refused(
                Code.BAD_REQUEST, f"expected no parameter but region, came {others[0][:40]!r}"
            )
        regions = tuple(
            dict.fromkeys(region(name) for name in request.query_params.getlist("region"))
        )
        if len(regions) > self._max_rooms:
            raise Refused(
                Code.TOO_MANY_ROOMS,
                f"expected at most {self._max_rooms} regions, came {len(regions)}",
            )
        return Wanted(regions)


async def _body(snapshots: Snapshots, rows: Mapping[Key, bytes]) -> AsyncIterator[bytes]:
    """JSON text, in portions between which the loop serves others."""
    items = list(rows.items())
    yield b"["
    for start in range(0, len(items), STEP_ROWS // 2):
        portion = items[start : start + STEP_ROWS // 2]
        text = b",".join(snapshots.encode(key, row) for key, row in portion)
        yield text if start == 0 else b"," + text
        await asyncio.sleep(0)
    yield b"]"


def _etag(position: str) -> str:
    return f'W/"{position}"'


def _same(known: str, etag: str) -> bool:
    """Whether `If-None-Match` names it; weakness doesn't matter there."""
    plain = etag.removeprefix("W/")
    return any(
        tag.strip().removeprefix("W/") == plain or tag.strip() == "*" for tag in known.split(",")
    )


def _headers(position: str) -> dict[str, str]:
    return {POSITION: position, "ETag": _etag(position), "Cache-Control": "no-cache"}
