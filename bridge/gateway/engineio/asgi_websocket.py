"""Websockets behind ASGI, for servers that don't let them be taken over.

Private API used here: bridge/README.md, "Private names"; canaries:
tests/canaries/test_engineio.py.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from engineio.async_drivers import asgi

from bridge.gateway.engineio.raw_websocket import TRANSPORT

if TYPE_CHECKING:
    from collections.abc import Callable

HEADERS: Final = {
    name.encode(): "HTTP_" + name.upper().replace("-", "_")
    for name in ("host", "origin", "connection", "upgrade", "x-forwarded-proto", "x-forwarded-host")
}
"""Headers of a websocket request that the library reads, for the origin check and the upgrade, with
their names in its environ."""


class AsgiWebSocket(asgi.WebSocket):  # type: ignore[misc]
    """A websocket behind ASGI that can be aborted while a task waits to write to it or to read."""

    def __init__(self, handler: Any, open_websockets: set[Any]) -> None:
        """`handler` serves the accepted websocket; `open_websockets` contains it meanwhile."""
        super().__init__(handler, None)
        self._open_websockets = open_websockets
        self._transport: Any = None
        self._waiting_tasks: set[asyncio.Task[Any]] = set()
        self._aborted = asyncio.Event()
        self.scope: Any = {}

    async def __call__(self, environ: dict[str, Any]) -> Any:
        self.scope = environ["asgi.scope"]
        self._transport = self.scope.get("extensions", {}).get(TRANSPORT)
        self.asgi_receive, self.asgi_send = environ["asgi.receive"], environ["asgi.send"]
        self._open_websockets.add(self)
        try:
            await self.asgi_send(acceptance(self.scope))
            await self.handler(self)
            return ""  # to the library: the response was sent
        finally:
            self._open_websockets.discard(self)

    def abort(self) -> None:
        """Close the connection without waiting for the client. The library gets an OSError, as from
        a closed connection.
        """
        self._aborted.set()
        for task in self._waiting_tasks:
            task.cancel()
        if self._transport is not None:
            self._transport.abort()

    async def send(self, message: Any) -> None:
        await self._run_until_abort(super().send, message)

    async def wait(self) -> Any:
        message = await self._run_until_abort(super().wait)
        # Many messages may be available, which would be handled in one iteration of the loop.
        await asyncio.sleep(0)
        return message

    async def close(self) -> None:
        if not self._aborted.is_set():
            await super().close()

    async def _run_until_abort(self, call: Callable[..., Any], *args: Any) -> Any:
        if self._aborted.is_set():
            raise OSError("the websocket was aborted")
        task = asyncio.current_task()
        assert task is not None
        self._waiting_tasks.add(task)
        try:
            return await call(*args)
        except asyncio.CancelledError:
            if self._aborted.is_set():  # cancelled by `abort`, so the task itself goes on
                task.uncancel()
                raise OSError("the websocket was aborted") from None
            raise
        finally:
            self._waiting_tasks.discard(task)


def acceptance(scope: Any) -> dict[str, Any]:
    """Return the ASGI event that accepts a websocket, with the first subprotocol that its client
    offers, as by Node's server: a browser fails without one.
    """
    offered = scope.get("subprotocols") or [None]
    return {"type": "websocket.accept", "subprotocol": offered[0]}


class ClientGoneError(Exception):
    """The client disconnected before its request was handled."""


async def translate_request(scope: Any, receive: Any, send: Any) -> Any:
    """Return the environ of a request, as the library expects it. The environ of a websocket has no
    body reader, for which the library creates a class per request, and only the `HEADERS`.

    Raises `ClientGoneError` where the library would continue with an empty environ.
    """
    if scope["type"] != "websocket":
        environ = await asgi.translate_request(scope, receive, send)
        if not environ:
            raise ClientGoneError
        # A request with this header that reaches ASGI as HTTP was no handshake to the server.
        environ.pop("HTTP_UPGRADE", None)
        return environ
    if (await receive())["type"] != "websocket.connect":
        raise ClientGoneError
    environ = {
        "REQUEST_METHOD": "GET",
        "QUERY_STRING": scope.get("query_string", b"").decode(errors="replace"),
        "asgi.receive": receive,
        "asgi.send": send,
        "asgi.scope": scope,
    }
    for name, raw in scope["headers"]:
        key = HEADERS.get(name)
        if key is not None:
            value = raw.decode("latin-1")
            environ[key] = f"{environ[key]},{value}" if key in environ else value
    environ["wsgi.url_scheme"] = environ.get("HTTP_X_FORWARDED_PROTO", "http")
    return environ
