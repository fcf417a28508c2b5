"""The answer to a request that is refused before anybody has looked at what it asks for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import orjson
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from bridge.errors import RequestRejected


DENIAL: Final = "websocket.http.response"
"""The ASGI extension that lets a websocket's handshake be answered like any other request."""


async def reject(
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    refused: RequestRejected,
    status: int,
    retry_after: float | None = None,
    origin: str | None = None,
) -> None:
    """Answer a request, or a websocket's handshake, with `status`, the refusal as JSON, and the
    whole seconds after which to try again. A page of `origin` may read it.
    """
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    body = orjson.dumps(refused.to_ack())
    headers.append((b"content-length", str(len(body)).encode()))
    if retry_after is not None:
        headers.append((b"retry-after", str(max(1, math.ceil(retry_after))).encode()))
    if origin is not None:
        headers.append((b"access-control-allow-origin", origin.encode("latin-1")))
        headers.append((b"access-control-expose-headers", b"Retry-After"))
        headers.append((b"vary", b"Origin"))
    kind = ""
    if scope["type"] == "websocket":
        await receive()  # its connect
        if DENIAL not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1013, "reason": refused.code.value})
            return
        kind = "websocket."
    start: dict[str, Any] = {"type": f"{kind}http.response.start", "status": status}
    await send({**start, "headers": headers})
    await send({"type": f"{kind}http.response.body", "body": body})


class UnavailableResponse:
    """An ASGI response: 503 with `reason`; a websocket's handshake is refused."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1013, "reason": self._reason})
            return
        await PlainTextResponse(self._reason, 503)(scope, receive, send)
