"""Websockets behind ASGI, of servers whose websockets can't be taken over.

What is private in python-engineio and used here, checked with 4.15.1 (`tests/unit/test_engine.py`
says which of it changed, if something does): `async_drivers.asgi` has `WebSocket`, which accepts in
its call and then calls the handler that it was made with, and `translate_request`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from engineio.async_drivers import asgi

from bridge.gateway.engineio.raw_websocket import TRANSPORT

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.gateway.engineio.server import EngineServer

HEADERS: Final = {
    name.encode(): "HTTP_" + name.upper().replace("-", "_")
    for name in ("host", "origin", "connection", "upgrade", "x-forwarded-proto", "x-forwarded-host")
}
"""Headers of a websocket's request that the library looks at: for the origin and the upgrade."""


class AsgiWebSocket(asgi.WebSocket):  # type: ignore[misc]
    """A websocket behind ASGI, which can be cut while somebody waits to write to it or to read."""

    def __init__(self, handler: Any, server: EngineServer) -> None:
        super().__init__(handler, server)
        self._lines = server.websockets
        self._transport: Any = None
        self._waiting: set[asyncio.Task[Any]] = set()
        self._ended = asyncio.Event()
        self.scope: Any = {}

    async def __call__(self, environ: dict[str, Any]) -> Any:
        self.scope = environ["asgi.scope"]
        self._transport = self.scope.get("extensions", {}).get(TRANSPORT)
        self._lines.add(self)
        try:
            return await super().__call__(environ)
        finally:
            self._lines.discard(self)

    def abort(self) -> None:
        """End the connection without waiting for the client. The library then sees it closed."""
        self._ended.set()
        for task in self._waiting:
            task.cancel()
        if self._transport is not None:
            self._transport.abort()

    async def send(self, message: Any) -> None:
        await self._unless_cut(super().send, message)

    async def wait(self) -> Any:
        message = await self._unless_cut(super().wait)
        await asyncio.sleep(0)  # many may be there, which would be handled in one step of the loop
        return message

    async def close(self) -> None:
        if not self._ended.is_set():
            await super().close()

    async def _unless_cut(self, call: Callable[..., Any], *args: Any) -> Any:
        if self._ended.is_set():
            raise OSError("the client was cut off")
        task = asyncio.current_task()
        assert task is not None
        self._waiting.add(task)
        try:
            return await call(*args)
        except asyncio.CancelledError:
            if self._ended.is_set():  # by `cut`, which nobody but this websocket may hear of
                task.uncancel()
                raise OSError("the client was cut off") from None
            raise
        finally:
            self._waiting.discard(task)


class ClientGoneError(Exception):
    """The client is gone before its request was looked at."""


async def translate_request(scope: Any, receive: Any, send: Any) -> Any:
    """A request as the library wants it. For a websocket without its bodies' reader, a class that
    the library makes anew for each request, and with those headers only that it looks at.

    Raises `HungUp`, where the library would go on with nothing.
    """
    if scope["type"] != "websocket":
        environ = await asgi.translate_request(scope, receive, send)
        if not environ:
            raise ClientGoneError
        # It says so, but the server didn't take it for a handshake, and a request is no websocket.
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
