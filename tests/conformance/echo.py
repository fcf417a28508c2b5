"""Echo servers for the official test suites of Engine.IO and Socket.IO, made of the gateway's own
parts: `EngineServer` and its sessions, `SocketServer` with a client handler, `ClientWriter`.

    python -m tests.conformance.echo --port 3000 [--stock]

Then run a suite against it; the suites connect to port 3000. `--stock` serves with uvicorn's own
websocket protocol, which can't be taken over, like any other ASGI server.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from socketio import packet
from starlette.applications import Starlette
from starlette.routing import Mount

from bridge.gateway.client import ClientSession
from bridge.gateway.delivery.writer import ClientWriter
from bridge.gateway.engineio.raw_websocket import keep_transport
from bridge.gateway.engineio.server import EngineServer
from bridge.gateway.socketio.packet import SocketPacket
from bridge.gateway.socketio.server import SocketServer
from bridge.server import serve
from bridge.server.websocket_protocol import WebSocketProtocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Receive, Scope, Send

    from bridge.gateway.client import Connection

PING_SECONDS: Final = 0.3
PONG_SECONDS: Final = 0.2
"""Both are what the official suites expect."""
CONNECT_SECONDS: Final = 1.0
PAYLOAD_BYTES: Final = 1_000_000
CUSTOM: Final = "/custom"
"""The only other namespace. It is handled by python-socketio, not by the client handler."""

OPTIONS: Final[dict[str, Any]] = {
    "async_mode": "asgi",
    "ping_interval": PING_SECONDS,
    "max_http_buffer_size": PAYLOAD_BYTES,
    "cors_allowed_origins": "*",
}


class EchoEngine(EngineServer):
    """Sends each message back."""

    def __init__(self, pong_seconds: float = PONG_SECONDS) -> None:
        super().__init__(ping_timeout=pong_seconds, **OPTIONS)
        self.reasons: dict[str, str] = {}
        """Why sessions ended, by their sids."""
        self.on("message", self.send)
        self.on("disconnect", self.reasons.__setitem__)


class EchoSocketServer(SocketServer):
    """Records why its Engine.IO sessions ended, by their sids."""

    def __init__(self, **options: Any) -> None:
        self.reasons: dict[str, str] = {}
        super().__init__(**options)

    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        self.reasons[eio_sid] = reason
        await super()._handle_eio_disconnect(eio_sid, reason)


class Echo:
    """The client handler of a Socket.IO server that sends each event back."""

    def __init__(self, pong_seconds: float = PONG_SECONDS) -> None:
        self.server = EchoSocketServer(
            handler=self,
            connect_seconds=CONNECT_SECONDS,
            async_handlers=False,
            ping_timeout=pong_seconds,
            **OPTIONS,
        )
        self.writer = ClientWriter(self.server, self.server.clients)
        self.server.clients.on_remove([self.writer.detach])
        self.reasons: list[str] = []
        """Why clients of the main namespace disconnected, in order."""
        self.server.on("connect", self._connected, namespace=CUSTOM)

    async def on_connect(self, connection: Connection, auth: Any) -> None:
        client = ClientSession(self.server.new_sid(), connection)
        self.server.clients.add(client)
        if self.writer.attach(client):
            self.writer.send_packet(client, f'0{{"sid":"{client.sid}"}}')
            await self._send(client, ["auth", auth or {}])

    async def on_event(
        self, client: ClientSession, name: str, args: Sequence[Any], ack: int | None
    ) -> None:
        if name == "message":
            await self._send(client, ["message-back", *args])
        elif name == "message-with-ack" and ack is not None:
            await self._send(client, list(args), packet.ACK, ack)

    def on_disconnect(self, client: ClientSession, reason: str) -> None:
        self.server.clients.remove(client)
        self.reasons.append(reason)

    async def _send(
        self,
        client: ClientSession,
        data: list[Any],
        kind: int = packet.EVENT,
        ack: int | None = None,
    ) -> None:
        """Send a packet; bytes in `data` follow as attachments, each in its own frame."""
        eio_sid = client.connection.eio_sid
        await self.server._send_packet(eio_sid, SocketPacket(kind, data=data, id=ack))

    async def _connected(self, sid: str, _environ: Any, auth: Any) -> None:
        # The library answers CONNECT after its handler.
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: loop.create_task(self._greet(sid, auth)))

    async def _greet(self, sid: str, auth: Any) -> None:
        await self.server.emit("auth", auth or {}, to=sid, namespace=CUSTOM)


def app(engine: EchoEngine, echo: Echo) -> Any:
    inner = Starlette(
        routes=[
            Mount("/engine.io", app=engine.handle_request),
            Mount("/socket.io", app=echo.server.handle_request),
        ]
    )

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        keep_transport(scope, send)
        await inner(scope, receive, send)

    return outer


def main() -> None:
    parser = argparse.ArgumentParser(description="Echo servers for the official test suites.")
    parser.add_argument("--port", type=int, default=3000)
    parser.add_argument("--stock", action="store_true", help="uvicorn's own websocket protocol")
    options = parser.parse_args()

    async def run() -> int:
        config = uvicorn.Config(
            app(EchoEngine(), Echo()),
            ws="websockets-sansio" if options.stock else WebSocketProtocol,
            ws_ping_interval=None,
            ws_per_message_deflate=False,
            lifespan="off",
            log_level="warning",
        )
        with serve.listen("", options.port) as listening:
            await uvicorn.Server(config).serve([listening])
        return 0

    raise SystemExit(serve.until_signalled(run()))


if __name__ == "__main__":
    main()
