from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from bridge.gateway.client import ClientSession
from bridge.gateway.engineio.session import EngineSession
from bridge.gateway.socketio.server import MAX_CONNECTS, SocketServer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.gateway.client import Connection


class Handler:
    """Records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.server: SocketServer | None = None

    async def on_connect(self, connection: Connection, auth: Any) -> None:
        self.calls.append(("connect", connection.eio_sid, auth))

    async def on_event(
        self, client: ClientSession, name: str, args: Sequence[Any], ack: int | None
    ) -> None:
        self.calls.append(("event", client.sid, name, list(args), ack))

    def on_disconnect(self, client: ClientSession, reason: str) -> None:
        assert self.server is not None
        self.server.clients.remove(client)
        self.calls.append(("disconnect", client.sid, reason))


class Server(SocketServer):
    """A server with one connection, `eio`, and the packets that it sent."""

    def __init__(self, handler: Handler, **options: Any) -> None:
        super().__init__(handler=handler, async_mode="asgi", **options)
        handler.server = self
        self.sent: list[str] = []

    async def open(self, eio_sid: str = "eio") -> EngineSession:
        session = self.eio.sockets[eio_sid] = EngineSession(self.eio, eio_sid, 1000)
        await self._handle_eio_connect(eio_sid, {})
        return session

    def register(self, eio_sid: str, sid: str) -> ClientSession:
        connection = self.clients.connection(eio_sid)
        assert connection is not None
        client = ClientSession(sid, connection)
        self.clients.add(client)
        return client

    async def _send_packet(self, _eio_sid: str, packet: Any) -> None:
        self.sent.append(packet.encode())


@pytest.fixture
def handler() -> Handler:
    return Handler()


@pytest.fixture
async def server(handler: Handler) -> Server:
    server = Server(handler)
    await server.open()
    return server


async def test_handler_receives_the_packets_of_a_client(server: Server, handler: Handler) -> None:
    await server._handle_eio_message("eio", '0{"regions":["TX"]}')
    server.register("eio", "sid")
    await server._handle_eio_message("eio", '27["subscribe",{"a":1}]')
    await server._handle_eio_message("eio", '2["connect"]')
    await server._handle_eio_message("eio", "1")
    assert handler.calls == [
        ("connect", "eio", {"regions": ["TX"]}),
        ("event", "sid", "subscribe", [{"a": 1}], 7),
        ("event", "sid", "connect", [], None),
        ("disconnect", "sid", server.reason.CLIENT_DISCONNECT),
    ]


async def test_binary_event_arrives_with_its_attachments(server: Server, handler: Handler) -> None:
    server.register("eio", "sid")
    await server._handle_eio_message("eio", '51-["subscribe",{"_placeholder":true,"num":0}]')
    await server._handle_eio_message("eio", b"\x00")
    assert handler.calls == [("event", "sid", "subscribe", [b"\x00"], None)]


async def test_connection_with_too_many_connect_packets_is_closed(
    server: Server, handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    monkeypatch.setattr(
        server, "close_connection", lambda connection: closed.append(connection.eio_sid)
    )
    for _ in range(MAX_CONNECTS):
        await server._handle_eio_message("eio", '0{"token":"a guess"}')
    assert (len(handler.calls), closed) == (MAX_CONNECTS, [])
    await server._handle_eio_message("eio", '0{"token":"a guess"}')
    assert (len(handler.calls), closed) == (MAX_CONNECTS, ["eio"])
    await server._handle_eio_disconnect("eio", server.reason.TRANSPORT_CLOSE)
    assert list(server.clients.connections) == []


@pytest.mark.parametrize("packet", ['2["subscribe"]', "1"])
async def test_packet_of_a_connection_without_a_client_is_ignored(
    server: Server, handler: Handler, packet: str
) -> None:
    await server._handle_eio_message("eio", packet)
    assert handler.calls == []


async def test_event_named_by_a_number_is_ignored(server: Server, handler: Handler) -> None:
    server.register("eio", "sid")
    await server._handle_eio_message("eio", "2[1]")
    assert handler.calls == []


@pytest.mark.parametrize("packet", ["2[]", "abc", b"\x00"])
async def test_malformed_packet_closes_the_connection(
    server: Server, handler: Handler, packet: Any
) -> None:
    session = server.eio.sockets["eio"]
    server.register("eio", "sid")
    await server._handle_eio_message("eio", packet)
    await server.shutdown()
    assert session.closed
    assert handler.calls == [("disconnect", "sid", server.reason.TRANSPORT_ERROR)]


async def test_text_in_place_of_an_attachment_is_malformed(server: Server) -> None:
    session = server.eio.sockets["eio"]
    server.register("eio", "sid")
    await server._handle_eio_message("eio", '51-["x",{"_placeholder":true,"num":0}]')
    await server._handle_eio_message("eio", '2["y"]')
    await server.shutdown()
    assert session.closed
    assert server._binary_packet == {}


async def test_other_namespace_is_rejected_with_a_message(server: Server, handler: Handler) -> None:
    await server._handle_eio_message("eio", "0/admin,")
    await server._handle_eio_message("eio", "1/admin,")
    assert server.sent == ['4/admin,{"message":"Invalid namespace"}']
    assert handler.calls == []


async def test_second_connect_packet_of_a_client_is_rejected(
    server: Server, handler: Handler
) -> None:
    server.register("eio", "sid")
    await server._handle_eio_message("eio", "0")
    assert server.sent == ['4{"message":"Already connected"}']
    assert handler.calls == []


async def test_connection_without_a_client_is_closed_after_the_timeout(handler: Handler) -> None:
    server = Server(handler, connect_seconds=0.01)
    for name in ("idle", "busy"):
        await server.open(name)
    server.register("busy", "sid")
    async with asyncio.timeout(20):
        while "idle" in server.eio.sockets:
            await asyncio.sleep(0.01)
    assert list(server.eio.sockets) == ["busy"]
    assert [connection.eio_sid for connection in server.clients.connections] == ["busy"]
    await server.shutdown()


async def test_end_of_a_connection_is_not_a_client_disconnect(
    server: Server, handler: Handler
) -> None:
    reason = server.reason
    server.register("eio", "sid")
    # Engine.IO's CLOSE, which is sent both by a page that is reloaded and by one that is dropped.
    await server._handle_eio_disconnect("eio", reason.CLIENT_DISCONNECT)
    assert handler.calls == [("disconnect", "sid", reason.TRANSPORT_CLOSE)]
    await server._handle_eio_disconnect("eio", reason.TRANSPORT_ERROR)
    assert len(handler.calls) == 1


async def test_sid_can_be_used_by_another_connection(server: Server, handler: Handler) -> None:
    server.clients.remove(server.register("eio", "sid"))
    await server.open("later")
    server.register("later", "sid")
    await server._handle_eio_disconnect("eio", server.reason.PING_TIMEOUT)
    assert handler.calls == []
    await server._handle_eio_message("later", '2["x"]')
    assert handler.calls == [("event", "sid", "x", [], None)]


async def test_server_without_a_handler_is_the_librarys_own() -> None:
    server = SocketServer(async_mode="asgi", async_handlers=False)
    sent: list[str] = []

    async def send(_eio_sid: str, packet: Any) -> None:
        sent.append(packet.encode()[:7])

    server._send_packet = send
    server.on("echo", lambda _sid, *args: args)
    await server._handle_eio_connect("eio", {})
    await server._handle_eio_message("eio", "0")
    await server._handle_eio_message("eio", '21["echo",1]')
    await server._handle_eio_message("eio", "1")
    assert sent == ['0{"sid"', "31[1]"]
