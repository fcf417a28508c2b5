"""Responses to requests that are rejected before they are routed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import orjson
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from bridge.errors import RequestRejected


DENIAL: Final = "websocket.http.response"
"""ASGI extension: a websocket's handshake can be answered with an HTTP response."""


async def reject(
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    rejection: RequestRejected,
    status: int,
    retry_after: float | None = None,
    origin: str | None = None,
) -> None:
    """Respond to a request or a websocket's handshake with `status`, the rejection as JSON, and
    `retry_after` rounded up to whole seconds. A page of `origin` may read the response; `*` is any.
    """
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    body = orjson.dumps(rejection.to_ack())
    headers.append((b"content-length", str(len(body)).encode()))
    if retry_after is not None:
        headers.append((b"retry-after", str(max(1, math.ceil(retry_after))).encode()))
    if origin is not None:
        headers.append((b"access-control-allow-origin", origin.encode("latin-1")))
        headers.append((b"access-control-expose-headers", b"Retry-After"))
        headers.append((b"vary", b"Origin"))
    kind = ""
    if scope["type"] == "websocket":
        await receive()  # websocket.connect
        if DENIAL not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1013, "reason": rejection.code.value})
            return
        kind = "websocket."
    start: dict[str, Any] = {"type": f"{kind}http.response.start", "status": status}
    await send({**start, "headers": headers})
    await send({"type": f"{kind}http.response.body", "body": body})


class UnavailableResponse:
    """An ASGI application that responds 503 with `reason` and closes websockets."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1013, "reason": self._reason})
            return
        await PlainTextResponse(self._reason, 503)(scope, receive, send)
