"""Responses without a length to HTTP/1.0, which ends them by closing the connection.

uvicorn sends them in chunks, which HTTP/1.0 does not know: its client takes the sizes for content.
nginx sends requests by HTTP/1.0 unless it is configured otherwise.

Private API used here: bridge/README.md, "Private names"; canaries: tests/canaries/test_uvicorn.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class CloseDelimited:
    """An ASGI application around another one, for one request."""

    def __init__(self, app: ASGIApp, cycle: Any) -> None:
        """`cycle` is uvicorn's `RequestResponseCycle` of the request."""
        self._app = app
        self._cycle = cycle
        self._has_length = True
        self.transport = cycle.transport
        """The transport under the request, which `keep_transport` looks for."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        await self._app(scope, receive, self.send)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message.get("headers", ())}
            self._has_length = b"content-length" in names
            if not self._has_length:
                self._cycle.chunked_encoding = False
        elif not self._has_length:
            # uvicorn compares what was sent with it.
            self._cycle.expected_content_length = len(message.get("body", b""))
        await self._cycle.send(message)
