"""`GET /properties`: the rows of a snapshot over HTTP, with the position at which they hold."""

from __future__ import annotations

import asyncio
import hashlib
import json
from functools import partial
from typing import TYPE_CHECKING, Final

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from bridge.contract.events import POSITION_HEADER
from bridge.contract.parse import RoomSelection, parse_region
from bridge.errors import Code, RequestRejected
from bridge.gateway.engineio.raw_websocket import TRANSPORT
from bridge.gateway.snapshot import ROWS_PER_STEP
from bridge.rights import UNRESTRICTED
from bridge.security.concurrency import WaitingLimiter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from bridge.changes import Key
    from bridge.gateway.gateway import Gateway
    from bridge.gateway.snapshot import Snapshots
    from bridge.rights import Rights, View
    from bridge.security.client_ip import ClientAddress
    from bridge.security.origins import Origins


MAX_CONCURRENT_COLLECTS: Final = 2
"""Requests that are gathered at a time; the others wait. Each holds references to all its rows."""

MAX_RESPONSES_PER_ADDRESS: Final = 4
MAX_RESPONSES: Final = 16
"""Answers that are being sent at a time, to one address and in all. Each keeps its rows until its
client has read them."""

MAX_WAITING_PER_ADDRESS: Final = 50
MAX_WAITING: Final = 500
WAIT_SECONDS: Final = 10.0
"""Requests that may wait for their turn, and how long."""

RETRY_SECONDS: Final = 5
"""After which somebody who asked too much may ask again."""

DOWNLOAD_SECONDS: Final = 120.0
"""How long a client may take to read an answer. Then its connection is cut."""

PAGE_ROWS: Final = 1000
"""About as many rows as a full page of a snapshot has."""

STATUS: Final = {
    Code.RATE_LIMITED: 429,
    Code.NOT_READY: 503,
    Code.NOT_SUPPORTED: 501,
    Code.TOKEN_REQUIRED: 401,
    Code.TOKEN_INVALID: 401,
    Code.TOKEN_EXPIRED: 401,
    Code.SIGNED_OUT: 401,
    Code.REGION_FORBIDDEN: 403,
}
"""HTTP status by code; 400 for the others."""

VARY: Final = "Authorization"
"""What is answered depends on who asks."""


class OriginsMiddleware(CORSMiddleware):
    """Pages of the same origins as the Socket.IO endpoint's may read the answers."""

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


class SnapshotEndpoint:
    """`[row, ...]` of the regions that are named, or of all: `?region=TX&region=CA/San Diego`.

    The answer holds at one position: its `ETag`, weak because it may be compressed, is made of it,
    so a client that asks again with `If-None-Match` is answered 304 where nothing has happened
    since. Who asks with other rights is given other rows, and another `ETag`.
    """

    def __init__(
        self,
        gateway: Callable[[], Gateway | None],
        *,
        origins: Origins,
        max_rooms: int,
        proxies: ClientAddress,
        rights: Callable[[Request], Awaitable[Rights]] | None = None,
    ) -> None:
        """`rights` returns the rights of a request or raises `RequestRejected`; without it every
        request has all rights.
        """
        self._gateway = gateway
        self._rights = rights
        self._max_rooms = max_rooms
        self._proxies = proxies
        self._gathering = asyncio.Semaphore(MAX_CONCURRENT_COLLECTS)
        self._turns = WaitingLimiter(
            MAX_RESPONSES_PER_ADDRESS,
            MAX_RESPONSES,
            waiting_per_key=MAX_WAITING_PER_ADDRESS,
            waiting=MAX_WAITING,
            seconds=WAIT_SECONDS,
        )
        self.route = Route(
            "/properties",
            self._get,
            # A page that sends a token or an entity tag asks first whether it may.
            methods=["GET", "OPTIONS"],
            middleware=[
                Middleware(OriginsMiddleware, origins),
                Middleware(GZipMiddleware, minimum_size=1000, compresslevel=5),
            ],
        )

    async def _get(self, request: Request) -> Response:
        if request.method == "OPTIONS":  # and no page's question, which was answered before
            return Response(status_code=204, headers={"Allow": "GET, HEAD, OPTIONS"})
        try:
            rights = UNRESTRICTED if self._rights is None else await self._rights(request)
            wanted = self._wanted(request)
            for name in wanted.regions:
                rights.check(name)
            gateway = await self._ready()
            rights = gateway.effective_rights(rights)
            private = rights != UNRESTRICTED or "Authorization" in request.headers
            known = request.headers.get("If-None-Match")
            head = _headers(str(gateway.log.head), rights, private=private)
            if known is not None and _same(known, head["ETag"]):
                return Response(status_code=304, headers=head)
            return await self._download(gateway, request, wanted, rights, private=private)
        except RequestRejected as refused:
            return _refusal(refused)

    async def _download(
        self,
        gateway: Gateway,
        request: Request,
        wanted: RoomSelection,
        rights: Rights,
        *,
        private: bool,
    ) -> Response:
        """The answer, which has its turn until it is sent."""
        address = self._proxies.rate_limit_key(request.scope)
        gateway.rations.check(address)
        turn = await self._turns.acquire(address)
        try:
            async with self._gathering:
                rows = await gateway.snapshots.collect(wanted, rights)
                # Not later: they belong to this step of the loop.
                position = str(gateway.log.head)
        except BaseException:
            self._turns.release(turn)
            raise
        gateway.rations.charge(address, len(rows) / PAGE_ROWS)
        return TimedJsonResponse(
            _body(gateway.snapshots, rows, rights.view),
            headers=_headers(position, rights, private=private),
            seconds=DOWNLOAD_SECONDS,
            done=partial(self._turns.release, turn),
        )

    async def _ready(self) -> Gateway:
        gateway = self._gateway()
        if gateway is None:
            raise RequestRejected(Code.NOT_READY, "the bridge is not running")
        await gateway.ready()
        return gateway

    def _wanted(self, request: Request) -> RoomSelection:
        others = sorted(set(request.query_params.keys()) - {"region"})
        if others:
            raise RequestRejected(
                Code.BAD_REQUEST, f"expected no parameter but region, came {others[0][:40]!r}"
            )
        regions = tuple(
            dict.fromkeys(parse_region(name) for name in request.query_params.getlist("region"))
        )
        if len(regions) > self._max_rooms:
            raise RequestRejected(
                Code.TOO_MANY_ROOMS,
                f"expected at most {self._max_rooms} regions, came {len(regions)}",
            )
        return RoomSelection(regions)


def _refusal(refused: RequestRejected) -> Response:
    status = STATUS.get(refused.code, 400)
    headers = {"Cache-Control": "no-store", "Vary": VARY}
    if refused.code is Code.RATE_LIMITED:
        headers["Retry-After"] = str(RETRY_SECONDS)
    if status == 401:  # noqa: PLR2004 - Unauthorized
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(refused.to_ack(), status, headers)


async def _body(
    snapshots: Snapshots, rows: Mapping[Key, bytes], view: View
) -> AsyncIterator[bytes]:
    """JSON text, in portions between which the loop serves others."""
    items = list(rows.items())
    yield b"["
    for start in range(0, len(items), ROWS_PER_STEP // 2):
        portion = items[start : start + ROWS_PER_STEP // 2]
        text = b",".join(snapshots.encode(key, row, view) for key, row in portion)
        yield text if start == 0 else b"," + text
        await asyncio.sleep(0)
    yield b"]"


def _etag(position: str, rights: Rights) -> str:
    if (rights.regions, rights.view) == (None, "public"):
        return f'W/"{position}"'
    # Hidden in a digest, as an entity tag has no room for any name.
    seen = json.dumps([rights.view, rights.regions and sorted(rights.regions)])
    return f'W/"{position}-{hashlib.sha256(seen.encode()).hexdigest()[:16]}"'


def _same(known: str, etag: str) -> bool:
    """Whether `If-None-Match` names it; weakness doesn't matter there."""
    plain = etag.removeprefix("W/")
    return any(
        tag.strip().removeprefix("W/") == plain or tag.strip() == "*" for tag in known.split(",")
    )


def _headers(position: str, rights: Rights, *, private: bool) -> dict[str, str]:
    return {
        POSITION_HEADER: position,
        "ETag": _etag(position, rights),
        "Cache-Control": "private, no-cache" if private else "no-cache",
        "Vary": VARY,
    }


class TimedJsonResponse(StreamingResponse):
    """JSON that is read within `seconds` or not to its end. `done` is called after it."""

    def __init__(
        self,
        body: AsyncIterator[bytes],
        *,
        headers: Mapping[str, str],
        seconds: float,
        done: Callable[[], None],
    ) -> None:
        super().__init__(body, media_type="application/json", headers=headers)
        self._seconds = seconds
        self._done = done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await super().__call__(scope, receive, send)
        except TimeoutError:
            transport = scope.get("extensions", {}).get(TRANSPORT)
            if transport is None:
                raise  # then the server has to end it
            transport.abort()
        finally:
            self._done()
