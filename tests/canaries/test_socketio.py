"""Private parts of python-socketio that `bridge.gateway.socketio` uses; see bridge/README.md.

Checked with 5.18.1. A test that fails here after an upgrade names what has changed.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest
import socketio
from socketio import packet

from bridge.gateway.client import ClientSession
from bridge.gateway.clients import ClientRegistry
from bridge.gateway.engineio.server import EngineServer
from bridge.gateway.socketio.packet import SocketPacket
from bridge.gateway.socketio.server import RegistryManager, SocketServer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.gateway.client import Connection

CHANGED = "python-socketio changed something private that bridge/gateway/socketio uses: "


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
def test_server_has_the_hook(name: str, parameters: list[str]) -> None:
    hook = getattr(socketio.AsyncServer, name, None)
    assert hook is not None, CHANGED + name
    assert list(inspect.signature(hook).parameters)[1:] == parameters, CHANGED + name


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("sid_from_eio_sid", ["eio_sid", "namespace"]), ("get_namespaces", [])],
)
def test_manager_has_the_method(name: str, parameters: list[str]) -> None:
    method = getattr(socketio.AsyncManager, name, None)
    assert method is not None, CHANGED + "manager." + name
    assert list(inspect.signature(method).parameters)[1:] == parameters, CHANGED + "manager." + name


def test_server_has_the_attributes() -> None:
    server = socketio.AsyncServer(async_mode="asgi")
    assert server.handlers == server.namespace_handlers == {}, CHANGED + "handlers"
    assert server._binary_packet == {}, CHANGED + "_binary_packet"


def test_engine_is_of_the_class_that_the_hook_names() -> None:
    server = SocketServer(async_mode="asgi")
    assert type(server.eio) is EngineServer, CHANGED + "_engineio_server_class()"


def test_manager_keeps_its_callbacks_by_sid_and_id() -> None:
    assert socketio.AsyncManager().callbacks == {}, CHANGED + "manager.callbacks"
    source = inspect.getsource(socketio.AsyncManager.trigger_callback)
    assert "callback = self.callbacks[sid][id]" in source, CHANGED + "manager.trigger_callback()"


def test_manager_is_the_one_that_was_passed() -> None:
    server = SocketServer(clients=ClientRegistry(), async_mode="asgi")
    assert type(server.manager) is RegistryManager, CHANGED + "client_manager"


async def test_packets_reach_the_hooks() -> None:
    calls: list[tuple[Any, ...]] = []

    class Handler:
        async def on_connect(self, connection: Connection, auth: Any) -> None:
            calls.append(("connect", auth))
            server.clients.add(ClientSession("sid", connection))

        async def on_event(
            self, client: ClientSession, name: str, args: Sequence[Any], ack: int | None
        ) -> None:
            calls.append(("event", client.sid, name, list(args), ack))

        def on_disconnect(self, client: ClientSession, reason: str) -> None:
            calls.append(("disconnect", client.sid, reason))

    server = SocketServer(handler=Handler(), async_mode="asgi")
    await server._handle_eio_connect("eio", {})
    await server._handle_eio_message("eio", '0{"regions":["TX"]}')
    await server._handle_eio_message("eio", '27["subscribe",{"a":1}]')
    await server._handle_eio_message("eio", '51-["x",{"_placeholder":true,"num":0}]')
    await server._handle_eio_message("eio", b"\x00")
    await server._handle_eio_message("eio", "1")
    await server.shutdown()
    assert calls == [
        ("connect", {"regions": ["TX"]}),
        ("event", "sid", "subscribe", [{"a": 1}], 7),
        ("event", "sid", "x", [b"\x00"], None),
        ("disconnect", "sid", server.reason.CLIENT_DISCONNECT),
    ], CHANGED + "how packets reach the hooks"


@pytest.mark.parametrize(
    ("name", "parameter"), [("decode", "encoded_packet"), ("add_attachment", "attachment")]
)
def test_packet_has_the_method(name: str, parameter: str) -> None:
    method = getattr(packet.Packet, name, None)
    assert method is not None, CHANGED + f"Packet.{name}"
    assert list(inspect.signature(method).parameters) == ["self", parameter], (
        CHANGED + f"Packet.{name}"
    )


def test_packet_decodes_into_the_attributes() -> None:
    decoded = SocketPacket(encoded_packet='51-/n,7["x",{"_placeholder":true,"num":0}]')
    read = (decoded.packet_type, decoded.namespace, decoded.id, decoded.attachment_count)
    assert read == (packet.BINARY_EVENT, "/n", 7, 1), CHANGED + "Packet's attributes"
