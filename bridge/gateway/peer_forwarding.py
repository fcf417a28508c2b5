"""Forwards polls to the machine that has their session, where no proxy does so.

A session of Engine.IO lives in one process, whose name begins its sid. Behind a balancer without
sticky sessions a poll of it arrives at any machine, which then requests the same of the right one
and streams the answer back. A poll of a machine that is gone is refused here: its client connects
again and recovers. So is one that can't be forwarded, and the upgrade of a polled session to a
websocket, after which its client continues to poll.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, quote

import httpx

from bridge.gateway.engineio.raw_websocket import TRANSPORT
from bridge.security.peer_request import HEADER, forwarding_header, is_forwarded

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

log = logging.getLogger(__name__)

CONNECT_SECONDS: Final = 2.0
"""Longest wait for a connection to the other machine."""

ANSWER_SECONDS: Final = 60.0
"""Longest wait for an answer. A poll waits for a ping interval and its timeout at most, 45 s."""

IDLE_SECONDS: Final = 2.0
"""How long an unused connection is kept; less than the 5 s after which the other side closes it."""

MAX_FORWARDED: Final = 2_000
"""Requests that are forwarded at a time. Each has a connection to the other machine. Those beyond
it are refused, so that their clients connect again."""

CONNECTION_HEADERS: Final = frozenset(
    {
        b"connection",
        b"content-length",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Headers of one connection, which are not forwarded (RFC 9110, 7.6.1)."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another process. `url`: where it is reached; `key`: proves to it that a peer forwards."""

    process: str
    url: str
    key: str


class _UnreachableError(Exception):
    """There is no answer; nothing was sent to the client."""


class PeerForwarding:
    """Forwards requests of one process."""

    def __init__(
        self,
        process: str,
        peer_of: Callable[[str], Peer | None],
        *,
        max_body: int,
    ) -> None:
        """`peer_of` returns another process; None: it is not known to run, or can't be reached.
        `max_body`: size of a request, in bytes, beyond which it is refused.
        """
        self._process = process
        self._peer_of = peer_of
        self._max_body = max_body
        self._active = 0
        self._warned: set[str] = set()
        self._http: httpx.AsyncClient | None = None

    def target(self, scope: Scope) -> Peer | None:
        """Return where a request has to be forwarded; None: it is served, or refused, here."""
        query = scope.get("query_string", b"")
        if scope["type"] != "http" or b"sid=" not in query or is_forwarded(scope):
            return None
        process, dot, _ = parse_qs(query.decode("latin-1")).get("sid", [""])[0].rpartition(".")
        if not dot or process == self._process:
            return None
        return self._peer_of(process)

    async def forward(self, scope: Scope, receive: Receive, send: Send, peer: Peer) -> bool:
        """Forward a request and its answer. Return False if the request has to be refused here,
        since the other process can't be reached; then nothing was sent.
        """
        if self._active >= MAX_FORWARDED:
            return False
        self._active += 1
        try:
            body = await self._body(receive)
            if body is None:
                return False
            return await self._forward(scope, receive, send, peer, body)
        finally:
            self._active -= 1

    async def close(self) -> None:
        """Close the connections to the other processes."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def _body(self, receive: Receive) -> bytes | None:
        """Return the body of a request; None if it is too large, or its client is gone."""
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > self._max_body:
                return None
            if not message.get("more_body", False):
                return bytes(body)

    async def _forward(
        self, scope: Scope, receive: Receive, send: Send, peer: Peer, body: bytes
    ) -> bool:
        """Forward the request until it is answered or its client is gone."""
        request = asyncio.create_task(self._request(scope, send, peer, body), name="forward a poll")
        gone = asyncio.create_task(_disconnected(receive), name="forwarded client")
        try:
            await asyncio.wait({request, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (request, gone):
                task.cancel()
            await asyncio.gather(request, gone, return_exceptions=True)
        if request.cancelled():
            return True
        error = request.exception()
        if isinstance(error, _UnreachableError):
            return False
        if error is not None:
            raise error
        return True

    async def _request(self, scope: Scope, send: Send, peer: Peer, body: bytes) -> None:
        request = httpx.Request(
            scope["method"],
            peer.url + _target(scope),
            headers=[
                *(each for each in scope["headers"] if _is_forwarded_header(each[0])),
                forwarding_header(peer.key, scope),
            ],
            content=body,
        )
        started = False
        try:
            answer = await self._client().send(request, stream=True)
            try:
                started = True
                await send(_start(answer))
                async for chunk in answer.aiter_raw():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
            finally:
                await answer.aclose()
        except httpx.HTTPError as error:
            if not started:
                if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
                    self._warn(peer, error)
                raise _UnreachableError from None
            # A part was sent, so that only the end of the connection shows that it is not all.
            log.debug("the answer of a forwarded poll is cut off: %r", error)
            transport = scope.get("extensions", {}).get(TRANSPORT)
            if transport is not None:
                transport.abort()

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            self._http = httpx.AsyncClient(
                timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
                limits=httpx.Limits(
                    max_connections=MAX_FORWARDED,
                    max_keepalive_connections=MAX_FORWARDED,
                    keepalive_expiry=IDLE_SECONDS,
                ),
                trust_env=False,  # a proxy for the internet does not reach a peer
            )
        return self._http

    def _warn(self, peer: Peer, error: Exception) -> None:
        """Log a process that can't be reached, once."""
        if peer.process not in self._warned:
            self._warned.add(peer.process)
            log.warning(
                "a poll could not be forwarded to process %s at %s (%s), so its client connects "
                "again; if that process runs, set its BRIDGE_PEER_URL to an address at which this "
                "machine reaches it, and its BRIDGE_HOST to 0.0.0.0",
                peer.process,
                peer.url,
                f"{type(error).__name__}: {error}",
            )


async def without_body() -> dict[str, Any]:
    """Receive an empty body: that of a request was read already, and it is refused whatever it
    was.
    """
    return {"type": "http.request", "body": b"", "more_body": False}


def _target(scope: Scope) -> str:
    path = scope.get("raw_path") or quote(scope["path"]).encode("ascii")
    return f"{path.decode('latin-1')}?{scope['query_string'].decode('latin-1')}"


def _is_forwarded_header(name: bytes) -> bool:
    return name not in CONNECTION_HEADERS and name != HEADER


def _start(answer: httpx.Response) -> dict[str, Any]:
    # The body stays as it is, so its length does, too.
    headers = [
        (name.lower(), value)
        for name, value in answer.headers.raw
        if name.lower() == b"content-length" or name.lower() not in CONNECTION_HEADERS
    ]
    return {"type": "http.response.start", "status": answer.status_code, "headers": headers}


async def _disconnected(receive: Receive) -> None:
    with suppress(OSError):
        while (await receive())["type"] != "http.disconnect":
            pass
