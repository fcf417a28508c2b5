"""The private parts of python-socketio that the handshake relies on."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import pytest
import socketio

from bridge.gateway.engineio.server import EngineServer
from bridge.gateway.engineio.session import EngineSession
from bridge.gateway.socketio.server import MAX_CONNECTS, SocketServer

if TYPE_CHECKING:
    from collections.abc import Sequence

CHANGED = (
    "python-socketio changed something private that bridge/gateway/handshake.py relies on "
    "(its docstring lists it): "
)


class Handler:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    async def on_connect(self, eio_sid: str, auth: Any) -> None:
        self.told.append(("arrived", eio_sid, auth))

    async def on_event(self, sid: str, name: str, args: Sequence[Any], ack: int | None) -> None:
        self.told.append(("asked", sid, name, list(args), ack))

    def on_disconnect(self, sid: str, reason: str) -> None:
        self.told.append(("left", sid, reason))


@pytest.fixture
def edge() -> Handler:
    return Handler()


@pytest.fixture
async def server(edge: Handler) -> SocketServer:
    server = SocketServer(handler=edge, async_mode="asgi")
    await server._handle_eio_connect("eio", {})
    return server


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("_engineio_server_class", []),
        ("_handle_eio_connect", ["eio_sid", "environ"]),
        ("_handle_eio_message", ["eio_sid", "data"]),
        ("_handle_eio_disconnect", ["eio_sid", "reason"]),
        ("_send_packet", ["eio_sid", "pkt"]),
        ("_handle_connect", ["eio_sid", "namespace", "data"]),
        ("_handle_event", ["eio_sid", "namespace", "id", "data"]),
        ("_handle_disconnect", ["eio_sid", "namespace", "reason"]),
    ],
)
def test_the_hooks_are_there(name: str, parameters: list[str]) -> None:
    hook = getattr(socketio.AsyncServer, name, None)
    assert hook is not None, CHANGED + name
    assert list(inspect.signature(hook).parameters)[1:] == parameters, CHANGED + name


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("basic_enter_room", ["sid", "namespace", "room", "eio_sid"]),
        ("basic_leave_room", ["sid", "namespace", "room"]),
        ("sid_from_eio_sid", ["eio_sid", "namespace"]),
        ("eio_sid_from_sid", ["sid", "namespace"]),
        ("get_namespaces", []),
    ],
)
def test_the_managers_methods_are_there(name: str, parameters: list[str]) -> None:
    method = getattr(SocketServer(async_mode="asgi").manager, name, None)
    assert method is not None, CHANGED + "manager." + name
    assert list(inspect.signature(method).parameters) == parameters, CHANGED + "manager." + name


def test_the_engine_is_ours() -> None:
    assert type(SocketServer(async_mode="asgi").eio) is EngineServer, (
        CHANGED + "_engineio_server_class()"
    )


async def test_an_edge_hears_of_the_packets(server: SocketServer, edge: Handler) -> None:
    await server._handle_eio_message("eio", '0{"regions":["TX"]}')
    server.register("eio", "sid")
    await server._handle_eio_message("eio", '27["subscribe",{"a":1}]')
    await server._handle_eio_message("eio", '2["connect"]')
    await server._handle_eio_message("eio", "1")
    assert edge.told == [
        ("arrived", "eio", {"regions": ["TX"]}),
        ("asked", "sid", "subscribe", [{"a": 1}], 7),
        ("asked", "sid", "connect", [], None),
        ("left", "sid", server.reason.CLIENT_DISCONNECT),
    ], CHANGED + "how packets reach the hooks"


async def test_a_binary_event_arrives_with_its_attachments(
    server: SocketServer, edge: Handler
) -> None:
    server.register("eio", "sid")
    await server._handle_eio_message("eio", '51-["subscribe",{"_placeholder":true,"num":0}]')
    await server._handle_eio_message("eio", b"\x00")
    assert edge.told == [("asked", "sid", "subscribe", [b"\x00"], None)]


async def test_who_asks_to_be_connected_again_and_again_is_parted_with(
    server: SocketServer, edge: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    parted: list[str] = []
    monkeypatch.setattr(server, "close_connection", parted.append)
    for _ in range(MAX_CONNECTS):
        await server._handle_eio_message("eio", '0{"token":"a guess"}')
    assert (len(edge.told), parted) == (MAX_CONNECTS, [])
    await server._handle_eio_message("eio", '0{"token":"a guess"}')
    assert (len(edge.told), parted) == (MAX_CONNECTS, ["eio"])
    await server._handle_eio_disconnect("eio", server.reason.TRANSPORT_CLOSE)
    assert server._connect_counts == {}


@pytest.mark.parametrize("packet", ['2["subscribe"]', "1"])
async def test_who_is_not_admitted_is_not_heard(
    server: SocketServer, edge: Handler, packet: str
) -> None:
    await server._handle_eio_message("eio", packet)
    assert edge.told == []


async def test_an_event_whose_name_is_a_number_is_passed_over(
    server: SocketServer, edge: Handler
) -> None:
    server.register("eio", "sid")
    await server._handle_eio_message("eio", "2[1]")
    assert edge.told == []


@pytest.mark.parametrize("packet", ["2[]", "abc", b"\x00"])
async def test_who_sends_what_is_no_packet_is_parted_with(
    server: SocketServer, edge: Handler, packet: Any
) -> None:
    socket = server.eio.sockets["eio"] = EngineSession(server.eio, "eio", 1000)
    server.register("eio", "sid")
    await server._handle_eio_message("eio", packet)
    await server.shutdown()
    assert socket.closed
    assert edge.told == [("left", "sid", server.reason.TRANSPORT_ERROR)]


async def test_a_text_in_the_place_of_an_attachment_is_no_packet(
    server: SocketServer, edge: Handler
) -> None:
    socket = server.eio.sockets["eio"] = EngineSession(server.eio, "eio", 1000)
    server.register("eio", "sid")
    await server._handle_eio_message("eio", '51-["x",{"_placeholder":true,"num":0}]')
    await server._handle_eio_message("eio", '2["y"]')
    await server.shutdown()
    assert socket.closed
    assert server._binary_packet == {}


async def test_other_namespaces_are_refused_with_a_message(
    server: SocketServer, edge: Handler
) -> None:
    sent: list[str] = []

    async def send(_eio_sid: str, packet: Any) -> None:
        sent.append(packet.encode())

    server._send_packet = send
    await server._handle_eio_message("eio", "0/admin,")
    await server._handle_eio_message("eio", "1/admin,")
    assert sent == ['4/admin,{"message":"Invalid namespace"}']
    assert edge.told == []


async def test_a_client_connects_once(server: SocketServer, edge: Handler) -> None:
    sent: list[str] = []

    async def send(_eio_sid: str, packet: Any) -> None:
        sent.append(packet.encode())

    server._send_packet = send
    server.register("eio", "sid")
    await server._handle_eio_message("eio", "0")
    assert sent == ['4{"message":"Already connected"}']
    assert edge.told == []


async def test_a_connection_through_which_nobody_comes_is_ended(edge: Handler) -> None:
    server = SocketServer(handler=edge, async_mode="asgi", connect_seconds=0.01)
    for name in ("idle", "busy"):
        server.eio.sockets[name] = EngineSession(server.eio, name, 1000)
        await server._handle_eio_connect(name, {})
    server.register("busy", "sid")
    async with asyncio.timeout(2):
        while "idle" in server.eio.sockets:
            await asyncio.sleep(0)
    assert list(server.eio.sockets) == ["busy"]
    await server.shutdown()


async def test_the_end_of_a_connection_is_no_goodbye(server: SocketServer, edge: Handler) -> None:
    reason = server.reason
    server.register("eio", "sid")
    # Engine.IO's CLOSE, which a page that is reloaded and one that is cut off both send.
    await server._handle_eio_disconnect("eio", reason.CLIENT_DISCONNECT)
    assert edge.told == [("left", "sid", reason.TRANSPORT_CLOSE)], CHANGED + "who calls whom"
    await server._handle_eio_disconnect("eio", reason.TRANSPORT_ERROR)
    assert len(edge.told) == 1


async def test_a_sid_can_be_had_by_another_connection(server: SocketServer, edge: Handler) -> None:
    server.register("eio", "sid")
    server.unregister("sid")
    await server._handle_eio_connect("later", {})
    server.register("later", "sid")
    await server._handle_eio_disconnect("eio", server.reason.PING_TIMEOUT)
    assert edge.told == []
    await server._handle_eio_message("later", '2["x"]')
    assert edge.told == [("asked", "sid", "x", [], None)]


async def test_without_an_edge_it_is_the_librarys_own() -> None:
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
