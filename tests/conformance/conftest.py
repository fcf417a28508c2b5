"""The echo servers, behind each kind of websocket that the gateway serves."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from bridge.server.websocket_protocol import WebSocketProtocol
from tests.conformance import echo
from tests.serving import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PONG_SECONDS = 3.0
IMPATIENT_PONG_SECONDS = 0.5

SERVERS: dict[str, dict[str, Any]] = {
    # Websockets are taken over from uvicorn; see `bridge/server/websocket_protocol.py`.
    "direct": {"ws": WebSocketProtocol, "http": "httptools"},
    # As any other ASGI server: the library handles websockets, each message is an ASGI event.
    "asgi": {"ws": "websockets-sansio", "http": "h11"},
}


class Echoes:
    """Both servers and their URLs."""

    def __init__(self, base: str, engine: echo.EchoEngine, socketio: echo.Echo) -> None:
        self.engineio = f"{base}/engine.io/"
        self.socketio = f"{base}/socket.io/"
        self.engine = engine
        self.echo = socketio

    async def polled(self, sid: str) -> None:
        """Wait until a poll of that Engine.IO session waits."""
        async with asyncio.timeout(20):
            while not self.engine.sockets[sid].queue.polled:
                await asyncio.sleep(0.001)

    async def reason(self, sid: str) -> str:
        """Wait until that Engine.IO session has ended, on whichever server; return its reason."""
        async with asyncio.timeout(20):
            while sid in self.engine.sockets or sid in self.echo.server.eio.sockets:
                await asyncio.sleep(0.001)
        return (self.engine.reasons | self.echo.server.reasons)[sid]


@asynccontextmanager
async def serving(kind: str, pong_seconds: float) -> AsyncIterator[Echoes]:
    engine, socketio = echo.EchoEngine(pong_seconds), echo.Echo(pong_seconds)

    async def drain() -> None:
        await socketio.writer.close_all()
        for session in engine.open_sessions():
            session.abort()
        await engine.shutdown()

    app = echo.app(engine, socketio)
    async with served(app, lifespan="off", drain=drain, **SERVERS[kind]) as base:
        yield Echoes(base, engine, socketio)


@pytest.fixture(scope="module", params=SERVERS)
async def echoes(request: pytest.FixtureRequest) -> AsyncIterator[Echoes]:
    """Servers that wait long enough for the answer to a ping, also on a busy machine."""
    async with serving(request.param, PONG_SECONDS) as servers:
        yield servers


@pytest.fixture(scope="module", params=SERVERS)
async def impatient(request: pytest.FixtureRequest) -> AsyncIterator[Echoes]:
    """Servers that soon end a session that does not answer a ping."""
    async with serving(request.param, IMPATIENT_PONG_SECONDS) as servers:
        yield servers


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


@pytest.fixture(params=["engineio", "socketio"])
def impatient_url(request: pytest.FixtureRequest, impatient: Echoes) -> str:
    return str(getattr(impatient, request.param))
