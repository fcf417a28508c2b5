"""Websocket protocols of uvicorn that have received a handshake, on an in-memory transport."""

from __future__ import annotations

from typing import Any

import uvicorn

from tests.unit.gateway.engineio.fakes import FakeTransport

HANDSHAKE = (
    b"GET /socket.io/?EIO=4 HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class NoTasksLoop:
    """An event loop for protocols that runs no task."""

    class Task:
        def add_done_callback(self, _call: Any) -> None: ...

    def create_task(self, work: Any) -> Task:
        work.close()
        return self.Task()


def begun(
    protocol: type[Any], data: bytes = HANDSHAKE, **options: Any
) -> tuple[Any, FakeTransport]:
    """A protocol that has received `data`, and its transport. `options` are uvicorn's."""

    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    options = {"ws_per_message_deflate": False, "ws_ping_interval": None, **options}
    config = uvicorn.Config(app, ws=protocol, **options)
    config.load()
    state = uvicorn.server.ServerState()
    websocket, transport = protocol(config, state, {"x": 1}, _loop=NoTasksLoop()), FakeTransport()
    websocket.connection_made(transport)
    websocket.data_received(data)
    return websocket, transport
