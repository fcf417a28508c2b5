"""The echo servers, on each way that a websocket can reach the gateway."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from bridge.server.websocket_protocol import WebSocketProtocol
from tests.conformance import echo
from tests.serving import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WAYS: dict[str, dict[str, Any]] = {
    # Websockets are taken over from uvicorn; see `bridge/gateway/handover.py`.
    "direct": {"ws": WebSocketProtocol, "http": "httptools"},
    # As any other ASGI server: websockets are the library's, each message an ASGI event.
    "asgi": {"ws": "websockets-sansio", "http": "h11"},
}


class Echoes:
    """Both servers, and where they are."""

    def __init__(self, base: str, engine: Any, socketio: echo.Echo) -> None:
        self.engineio = f"{base}/engine.io/"
        self.socketio = f"{base}/socket.io/"
        self.engine = engine
        self.echo = socketio

    async def polled(self, sid: str) -> None:
        """Until a poll of that session of Engine.IO waits."""
        async with asyncio.timeout(2):
            while not self.engine.sockets[sid].queue.polled:
                await asyncio.sleep(0.001)

    async def ended(self, sid: str) -> None:
        """Until neither server knows the session."""
        async with asyncio.timeout(2):
            while sid in self.engine.sockets or sid in self.echo.server.eio.sockets:
                await asyncio.sleep(0.001)


@pytest.fixture(scope="module", params=WAYS)
async def echoes(request: pytest.FixtureRequest) -> AsyncIterator[Echoes]:
    engine, socketio = echo.engine(), echo.Echo()

    async def drain() -> None:
        await socketio.wire.close_all()
        for socket in list(engine.sockets.values()):
            socket.abort()
        await engine.shutdown()

    app = echo.app(engine, socketio)
    async with served(app, lifespan="off", drain=drain, **WAYS[request.param]) as base:
        yield Echoes(base, engine, socketio)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector) as http:
        yield http
    await asyncio.sleep(0)  # its connections are closed in the next step


@pytest.fixture(params=["engineio", "socketio"])
def url(request: pytest.FixtureRequest, echoes: Echoes) -> str:
    """Where Engine.IO is served, alone and below Socket.IO."""
    return str(getattr(echoes, request.param))
