"""`GET /properties`: all rows of a snapshot over HTTP, with their position in the log."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

from starlette.responses import Response, StreamingResponse

from bridge.contract.parse import RoomSelection, parse_region
from bridge.errors import Code, RequestRejected
from bridge.gateway.engineio.raw_websocket import TRANSPORT
from bridge.gateway.http_endpoint import (
    RowsEndpoint,
    is_private,
    not_modified,
    position_headers,
)
from bridge.gateway.snapshot import ROWS_PER_STEP
from bridge.security.concurrency import WaitingLimiter
from bridge.security.slow_responses import SlowResponse, SlowResponses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from starlette.requests import Request
    from starlette.types import Message, Receive, Scope, Send

    from bridge.changes import Key
    from bridge.gateway.gateway import Gateway
    from bridge.gateway.snapshot import Snapshots
    from bridge.rights import Rights, View
    from bridge.security.client_ip import ClientAddress
    from bridge.security.origins import Origins


MAX_CONCURRENT_COLLECTS: Final = 2
"""Requests that collect their rows at a time; the others wait. Each holds references to all its
rows."""

MAX_RESPONSES_PER_ADDRESS: Final = 4
MAX_RESPONSES: Final = 16
"""Responses that have a turn at a time, of one address and in total. The others wait."""

TURN_SECONDS: Final = 1.0
"""How long a response that is being sent keeps its turn, so that a client that reads slowly, or
nothing, does not keep others waiting."""

MAX_SLOW_PER_ADDRESS: Final = 8
MAX_SLOW: Final = 32
"""Responses without a turn that are still being sent, to one address and in total. Each holds its
rows. Beyond it the one whose client has read nothing for the longest time is aborted."""

MAX_WAITING_PER_ADDRESS: Final = 50
MAX_WAITING: Final = 500
WAIT_SECONDS: Final = 10.0
"""Requests that may wait to be served, by one address and in total, and how long."""


DOWNLOAD_SECONDS: Final = 120.0
"""How long a client may take to read a response. After that its connection is aborted."""

PAGE_ROWS: Final = 1000
"""Rows that count as one full page against the quota."""

SLICE_ROWS: Final = ROWS_PER_STEP // 2
"""Rows that are encoded in one iteration of the event loop."""


class SnapshotEndpoint(RowsEndpoint):
    """`[row, ...]` of the named regions, or of all: `?region=TX&region=CA/San Diego`.

    The rows are the state at one position of the log. The `ETag`, weak because the response may be
    compressed, is made of that position, so a request with `If-None-Match` is answered 304 if
    nothing was published since. Requests with other rights receive other rows and another `ETag`.
    """

    path = "/properties"

    def __init__(
        self,
        gateway: Callable[[], Gateway | None],
        *,
        origins: Origins,
        max_rooms: int,
        proxies: ClientAddress,
        rights: Callable[[Request], Awaitable[Rights]] | None = None,
    ) -> None:
        """`max_rooms` limits the regions of a request; see `RowsEndpoint` for the others."""
        super().__init__(gateway, origins=origins, proxies=proxies, rights=rights)
        self._max_rooms = max_rooms
        self._collecting = asyncio.Semaphore(MAX_CONCURRENT_COLLECTS)
        self._limiter = WaitingLimiter(
            MAX_RESPONSES_PER_ADDRESS,
            MAX_RESPONSES,
            waiting_per_key=MAX_WAITING_PER_ADDRESS,
            waiting=MAX_WAITING,
            seconds=WAIT_SECONDS,
        )
        self._slow = SlowResponses(MAX_SLOW_PER_ADDRESS, MAX_SLOW)

    async def _answer(self, request: Request, rights: Rights) -> Response:
        selection = self._selection(request)
        for name in selection.regions:
            rights.check(name)
        gateway = await self._ready_gateway()
        rights = gateway.effective_rights(rights)
        private = is_private(request, rights)
        headers = position_headers(str(gateway.log.head), rights, private=private)
        response = not_modified(request, headers)
        if response is not None:
            return response
        return await self._download(gateway, request, selection, rights, private=private)

    async def _download(
        self,
        gateway: Gateway,
        request: Request,
        selection: RoomSelection,
        rights: Rights,
        *,
        private: bool,
    ) -> Response:
        """Return a response that holds its slot of the limiter for `TURN_SECONDS` at most."""
        address = self._proxies.rate_limit_key(request.scope)
        gateway.quota.check(address, gateway.clock.monotonic())
        slot = await self._limiter.acquire(address)
        try:
            async with self._collecting:
                rows = await gateway.snapshots.collect(selection, rights)
                # In the same iteration of the event loop as the rows.
                position = str(gateway.log.head)
            # Here, so that a failure is answered: a response that has begun can only be cut off.
            first = _encoded(gateway.snapshots, list(islice(rows.items(), SLICE_ROWS)), rights.view)
        except BaseException:
            self._limiter.release(slot)
            raise
        gateway.quota.charge(address, gateway.clock.monotonic(), len(rows) / PAGE_ROWS)
        return TimedJsonResponse(
            _body(gateway.snapshots, first, rows, rights.view),
            headers=position_headers(position, rights, private=private),
            seconds=DOWNLOAD_SECONDS,
            end_turn=partial(self._limiter.release, slot),
            key=address,
            slow=self._slow,
        )

    def _selection(self, request: Request) -> RoomSelection:
        others = sorted(set(request.query_params.keys()) - {"region"})
        if others:
            raise RequestRejected(
                Code.BAD_REQUEST, f"expected no parameter but region, received {others[0][:40]!r}"
            )
        regions = tuple(
            dict.fromkeys(parse_region(name) for name in request.query_params.getlist("region"))
        )
        if len(regions) > self._max_rooms:
            raise RequestRejected(
                Code.TOO_MANY_ROOMS,
                f"expected at most {self._max_rooms} regions, received {len(regions)}",
            )
        return RoomSelection(regions)


def _encoded(snapshots: Snapshots, items: Sequence[tuple[Key, bytes]], view: View) -> bytes:
    return b",".join(snapshots.encode(key, row, view) for key, row in items)


async def _body(
    snapshots: Snapshots, first: bytes, rows: Mapping[Key, bytes], view: View
) -> AsyncIterator[bytes]:
    """Yield the JSON array in slices, between which the event loop serves others. `first` is the
    first slice.
    """
    items = list(rows.items())
    yield b"[" + first
    for start in range(SLICE_ROWS, len(items), SLICE_ROWS):
        await asyncio.sleep(0)
        yield b"," + _encoded(snapshots, items[start : start + SLICE_ROWS], view)
    yield b"]"


class TimedJsonResponse(StreamingResponse):
    """JSON that a client has to read within `seconds`. `end_turn` is called after `TURN_SECONDS`,
    or at the end if that is earlier; from then on it is one of the `slow` responses of `key`.
    """

    def __init__(
        self,
        body: AsyncIterator[bytes],
        *,
        headers: Mapping[str, str],
        seconds: float,
        end_turn: Callable[[], None],
        key: str | None,
        slow: SlowResponses,
    ) -> None:
        super().__init__(body, media_type="application/json", headers=headers)
        self._seconds = seconds
        self._end_turn = end_turn
        self._key = key
        self._slow = slow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        limit = asyncio.timeout(self._seconds)

        def abort() -> None:
            if not limit.expired():
                limit.reschedule(loop.time())

        slow = SlowResponse(self._key, abort)

        async def sent(message: Message) -> None:
            await send(message)
            self._slow.progress(slow)

        def end_turn() -> None:
            self._end_turn()
            self._slow.add(slow)

        try:
            async with limit:
                turn = loop.call_later(TURN_SECONDS, end_turn)
                try:
                    await super().__call__(scope, receive, sent)
                finally:
                    turn.cancel()
                    self._end_turn()
                    self._slow.remove(slow)
        except TimeoutError:
            transport = scope.get("extensions", {}).get(TRANSPORT)
            if transport is None:
                raise  # the server ends the connection
            transport.abort()
            await asyncio.sleep(0)  # the server would log that the response is incomplete
