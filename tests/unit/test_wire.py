"""Frames, outboxes, and the private parts of the libraries that the wire relies on."""

from __future__ import annotations

import asyncio
import inspect
import json
from typing import Any

import engineio
import engineio.async_socket
import engineio.packet
import engineio.payload
import pytest
import socketio
from engineio.async_drivers import asgi
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from bridge.gateway import wire
from bridge.gateway.handshake import Server
from bridge.gateway.wire import OVERHEAD, TRANSPORT, Engine, Line, Outbox, keep_transport
from tests.fakes import entry

CHANGED = (
    "python-socketio, python-engineio or uvicorn changed something private that "
    "bridge/gateway/wire.py relies on (its docstring lists it): "
)


def message(text: str) -> engineio.packet.Packet:
    return engineio.packet.Packet(engineio.packet.MESSAGE, text)


# -- frames


def test_an_event_is_one_socketio_packet_whose_one_argument_is_the_envelope() -> None:
    event = entry(1, "TX", note='quotes " and ümlauts').event
    text = wire.packet(event.name, event.envelope, None).encode()
    assert text.startswith('42["property-updated",{')
    decoded = socketio.packet.Packet(encoded_packet=text[1:])
    assert decoded.packet_type == socketio.packet.EVENT
    assert decoded.data == ["property-updated", json.loads(event.envelope)]


def test_an_event_is_encoded_once_for_all_transports() -> None:
    packet = wire.packet("property-created", b"{}", "e-1")
    assert packet.encode() == '42["property-created",{},"e-1"]'
    assert packet.encode() is packet.encode(b64=True)


# -- outboxes


async def test_an_outbox_counts_what_waits() -> None:
    outbox = Outbox(1000)
    outbox.put_nowait(message("x" * 10))
    outbox.put_nowait(engineio.packet.Packet(engineio.packet.PING))
    assert outbox.waiting == 10 + 2 * OVERHEAD
    outbox.get_nowait()
    await outbox.get()
    assert outbox.waiting == 0


async def test_an_outbox_over_its_limit_takes_no_more_and_says_so_once() -> None:
    said = []
    outbox = Outbox(2 * OVERHEAD + 20)
    outbox.on_overflow = lambda: said.append(outbox.waiting)
    for _ in range(5):
        outbox.put_nowait(message("x" * 10))
    assert outbox.qsize() == 2
    assert said == [2 * OVERHEAD + 20]


async def test_the_word_that_ends_a_writer_always_fits() -> None:
    outbox = Outbox(0)
    outbox.put_nowait(message(""))
    outbox.put_nowait(None)
    assert outbox.get_nowait() is None
    assert outbox.empty()


async def test_an_empty_packet_counts_too() -> None:
    outbox = Outbox(3 * OVERHEAD)
    for _ in range(10):
        outbox.put_nowait(engineio.packet.Packet(engineio.packet.NOOP))
    assert outbox.qsize() == 3


# -- lines


class _Socket:
    sid = "eio"

    async def handler(self, line: Any) -> None:
        self.line = line
        await line.wait()


class _Transport:
    aborted = False

    def abort(self) -> None:
        self.aborted = True


async def test_a_cut_line_frees_who_waits_in_it_and_takes_nothing_more() -> None:
    engine = Engine(async_mode="asgi")
    socket, transport, sent = _Socket(), _Transport(), []
    stuck = asyncio.Event()

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(event: Any) -> None:
        sent.append(event["type"])
        if event["type"] == "websocket.send":
            stuck.set()
            await asyncio.Event().wait()

    scope = {"type": "websocket", "extensions": {TRANSPORT: transport}}
    line = Line(socket.handler, engine)
    serving = asyncio.create_task(
        line({"asgi.receive": receive, "asgi.send": send, "asgi.scope": scope})
    )
    writing = asyncio.create_task(line.send("x"))
    await stuck.wait()
    assert engine.lines == {"eio": line}
    line.cut()
    with pytest.raises(OSError, match="cut off"):
        await writing
    with pytest.raises(OSError, match="cut off"):
        await serving
    with pytest.raises(OSError, match="cut off"):
        await line.send("y")
    await line.close()
    assert transport.aborted
    assert engine.lines == {}
    assert "websocket.close" not in sent


async def test_a_line_that_is_not_cut_can_be_cancelled_as_ever() -> None:
    engine = Engine(async_mode="asgi")

    async def forever(_event: Any = None) -> Any:
        await asyncio.Event().wait()

    line = Line(_Socket().handler, engine)
    line.asgi_receive = forever
    waiting = asyncio.create_task(line.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_a_transport_is_kept_where_the_server_shows_it() -> None:
    class Protocol:
        transport = _Transport()

        async def send(self, message: Any) -> None: ...

    scope: dict[str, Any] = {"type": "websocket"}
    keep_transport(scope, Protocol().send)
    assert scope["extensions"][TRANSPORT] is Protocol.transport


def test_a_transport_is_not_invented() -> None:
    async def send(message: Any) -> None: ...

    scope: dict[str, Any] = {"type": "websocket"}
    keep_transport(scope, send)
    assert "extensions" not in scope
    scope = {"type": "lifespan"}
    keep_transport(scope, send)
    assert scope == {"type": "lifespan"}


# -- what is private and relied on


def test_the_servers_are_ours() -> None:
    assert hasattr(socketio.AsyncServer, "_engineio_server_class"), (
        CHANGED + "socketio.AsyncServer._engineio_server_class()"
    )
    parameters = inspect.signature(socketio.AsyncServer._handle_eio_disconnect).parameters
    assert list(parameters)[1:] == ["eio_sid", "reason"], CHANGED + "_handle_eio_disconnect()"
    server = Server(async_mode="asgi")
    assert type(server.eio) is Engine, CHANGED + "socketio.AsyncServer._engineio_server_class()"
    assert isinstance(server.eio.sockets, dict), CHANGED + "engineio server.sockets"
    assert server.eio._async["websocket"] is Line, CHANGED + 'engineio server._async["websocket"]'


def test_a_servers_queues_are_outboxes() -> None:
    socket = engineio.async_socket.AsyncSocket(Engine(async_mode="asgi"), "sid")
    assert isinstance(socket.queue, Outbox), CHANGED + "engineio server.create_queue()"
    for name in ("closed", "upgraded"):
        assert getattr(socket, name) is False, CHANGED + f"engineio socket.{name}"
    parameters = inspect.signature(socket.close).parameters
    assert {"wait", "abort"} <= set(parameters), CHANGED + "engineio socket.close(wait=, abort=)"


async def test_a_websocket_is_made_with_the_sockets_own_method() -> None:
    engine = Engine(async_mode="asgi")
    made = []

    class Spy(Line):
        async def __call__(self, environ: dict[str, Any]) -> Any:
            made.append((self._sid, environ))

    engine._async = {**engine._async, "websocket": Spy}
    socket = engineio.async_socket.AsyncSocket(engine, "sid")
    environ = {"HTTP_CONNECTION": "Upgrade", "HTTP_UPGRADE": "websocket"}
    await socket.handle_get_request(environ)
    assert made == [("sid", environ)], CHANGED + 'engineio server._async["websocket"](handler, ..)'
    for name in ("asgi_receive", "asgi_send", "send", "wait", "close"):
        assert hasattr(asgi.WebSocket(None, None), name), CHANGED + f"asgi.WebSocket.{name}"


async def test_a_writer_ends_at_none() -> None:
    socket = engineio.async_socket.AsyncSocket(Engine(async_mode="asgi"), "sid")
    socket.queue.put_nowait(None)
    assert await socket.poll() == [], CHANGED + "None in socket.queue ends a writer"


def test_the_manager_knows_clients_by_both_sids() -> None:
    manager = Server(async_mode="asgi").manager
    for name in ("eio_sid_from_sid", "is_connected"):
        assert list(inspect.signature(getattr(manager, name)).parameters) == [
            "sid",
            "namespace",
        ], CHANGED + f"manager.{name}(sid, namespace)"


def test_uvicorn_sends_by_a_method_of_what_has_the_transport() -> None:
    source = inspect.getsource(WebSocketsSansIOProtocol)
    assert "self.app(self.scope, self.receive, self.send)" in source, CHANGED + "uvicorn's send"
    assert "self.transport = transport" in source, CHANGED + "uvicorn's protocol.transport"


def test_handlers_and_packets_of_one_client_are_not_suspended_between() -> None:
    """A handler's return and its ack, or CONNECT, are one step of the loop: nothing that is
    published comes between them. True as long as putting into an outbox never waits."""
    source = inspect.getsource(engineio.async_socket.AsyncSocket.send)
    assert "await self.queue.put(pkt)" in source, CHANGED + "engineio socket.send()"
    step = Outbox(10_000).put(message("x"))
    with pytest.raises(StopIteration):
        step.send(None)
