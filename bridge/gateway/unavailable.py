"""The answer of an endpoint that can't serve now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send


class Unavailable:
    """An ASGI response: 503 with `reason`; a websocket's handshake is refused."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1013, "reason": self._reason})
            return
        await PlainTextResponse(self._reason, 503)(scope, receive, send)
