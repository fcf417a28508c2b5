"""The private parts of uvicorn that a handover relies on, and which handshakes are taken."""

from __future__ import annotations

import inspect
from asyncio import selector_events
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol as Stock
from websockets.server import ServerProtocol

from bridge.gateway.engineio.raw_websocket import HANDOVER, take_over
from bridge.server.websocket_protocol import UpgradeRequest, WebSocketProtocol
from tests.unit.gateway.engineio.test_raw_websocket import Owner, Transport

CHANGED = (
    "uvicorn changed something private that bridge/gateway/handover.py relies on "
    "(its docstring lists it): "
)
HANDSHAKE = (
    b"GET /socket.io/?EIO=4 HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


# -- what is private and relied on


@pytest.mark.parametrize(
    ("method", "part"),
    [
        ("handle_connect", 'self.queue.put_nowait({"type": "websocket.connect"})'),
        ("handle_connect", "task = self.loop.create_task(self.run_asgi())"),
        ("handle_connect", "task.add_done_callback(self.on_task_complete)"),
        ("handle_connect", "self.response = self.conn.accept(event)"),
        ("run_asgi", "self.app(self.scope, self.receive, self.send)"),
        ("run_asgi", "if not self.handshake_complete:"),
        ("connection_made", "self.transport = transport"),
        ("connection_made", "self.connections.add(self)"),
        ("connection_lost", "self.connections.remove(self)"),
        ("send", "self.default_headers"),
        ("shutdown", "self.send_500_response()"),
    ],
)
def test_a_websocket_is_served_as_it_was(method: str, part: str) -> None:
    assert part in inspect.getsource(getattr(Stock, method)), CHANGED + f"{method}: {part}"


def test_after_the_call_uvicorn_only_closes_the_transport() -> None:
    source = inspect.getsource(Stock.run_asgi)
    end = source[source.rindex("if self.close_timer is None:") :]
    assert end.split() == ["if", "self.close_timer", "is", "None:", "self.transport.close()"], (
        CHANGED + "the end of run_asgi()"
    )


@pytest.mark.parametrize("http", [H11Protocol, HttpToolsProtocol])
def test_the_handshake_comes_in_one_piece_before_the_protocol_is_set(http: Any) -> None:
    source = inspect.getsource(http.handle_websocket_upgrade)
    made = source.index("protocol.connection_made(self.transport)")
    given = source.index('protocol.data_received(b"".join(output))')
    assert made < given < source.index("self.transport.set_protocol(protocol)"), (
        CHANGED + f"{http.__name__}.handle_websocket_upgrade()"
    )


def test_a_ping_is_answered_with_what_the_connection_has_to_send() -> None:
    lines = inspect.getsource(Stock.handle_ping).splitlines()
    assert [line.strip() for line in lines[1:]] == [
        "output = self.conn.data_to_send()",
        'self.transport.write(b"".join(output))',
    ], CHANGED + "handle_ping()"


def test_asyncio_reads_as_much_at_a_time_as_its_transport_says() -> None:
    kind: Any = getattr(selector_events, "_SelectorSocketTransport")  # noqa: B009 - is private
    assert "recv(self.max_size)" in inspect.getsource(kind), CHANGED + "max_size"


class Loop:
    """Runs nothing."""

    class Task:
        def add_done_callback(self, _call: Any) -> None: ...

    def create_task(self, work: Any) -> Task:
        work.close()
        return self.Task()


class Carrier(Transport):
    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1) if name.endswith("name") else None


def begun(protocol: type[Any], data: bytes = HANDSHAKE, **options: Any) -> tuple[Any, Carrier]:
    """A protocol that got this handshake."""

    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    options = {"ws_per_message_deflate": False, "ws_ping_interval": None, **options}
    config = uvicorn.Config(app, ws=protocol, **options)
    config.load()
    it, carrier = protocol(config, uvicorn.server.ServerState(), {"x": 1}, _loop=Loop()), Carrier()
    it.connection_made(carrier)
    it.data_received(data)
    return it, carrier


def test_the_application_is_called_as_uvicorn_does() -> None:
    theirs, ours = begun(Stock)[0], begun(WebSocketProtocol)[0]
    extensions = ours.scope["extensions"]
    assert extensions.pop(HANDOVER) is ours
    assert ours.scope == theirs.scope, CHANGED + "scope"
    assert ours.handshake_initiated is theirs.handshake_initiated is True
    assert ours.queue.get_nowait() == theirs.queue.get_nowait() == {"type": "websocket.connect"}
    assert len(ours.tasks) == len(theirs.tasks) == 1


async def test_who_accepts_by_asgi_gets_what_uvicorn_answers() -> None:
    answers = []
    for protocol in (Stock, WebSocketProtocol):
        it, carrier = begun(protocol)
        await it.send({"type": "websocket.accept", "headers": [(b"x-more", b"1")]})
        await it.send({"type": "websocket.send", "text": "hello"})
        answers.append(carrier.written)
    assert answers[0] == answers[1]
    assert answers[0].startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize("end", ["send_500_response", "shutdown"])
def test_without_an_answer_it_ends_as_uvicorn_does(end: str) -> None:
    answers = []
    for protocol in (Stock, WebSocketProtocol):
        it, carrier = begun(protocol)
        getattr(it, end)()
        answers.append((carrier.written.partition(b"Date")[0], carrier.calls))
    assert answers[0] == answers[1]


# -- a handover


def test_a_websocket_is_handed_over_accepted() -> None:
    it, carrier = begun(WebSocketProtocol)
    line = take_over(it.scope, Owner(), 1000, lambda: b"first")
    assert carrier.written.endswith(b"\r\n\r\nfirst")
    assert carrier.protocol is line
    assert it.connections == {line}
    assert HANDOVER not in it.scope["extensions"]
    head = carrier.written.split(b"\r\n")
    assert head[0] == b"HTTP/1.1 101 Switching Protocols"
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
    it.transport.close()
    assert it.transport.is_closing()
    assert carrier.calls == []


async def test_after_something_was_sent_or_came_it_is_too_late() -> None:
    it, _ = begun(WebSocketProtocol)
    await it.send({"type": "websocket.accept"})
    assert take_over(it.scope, Owner(), 1000) is None
    it, _ = begun(WebSocketProtocol)
    it.data_received(b"\x81")
    assert take_over(it.scope, Owner(), 1000) is None
    it, carrier = begun(WebSocketProtocol)
    carrier.close()
    assert take_over(it.scope, Owner(), 1000) is None


def test_where_frames_may_be_compressed_nothing_is_handed_over() -> None:
    it, _ = begun(WebSocketProtocol, ws_per_message_deflate=True)
    assert take_over(it.scope, Owner(), 1000) is None


def test_nothing_is_taken_over_where_nobody_offers_it() -> None:
    for extensions in ({}, {HANDOVER: object()}):
        assert take_over({"type": "websocket", "extensions": extensions}, Owner(), 1) is None
    assert take_over({"type": "websocket"}, Owner(), 1) is None


# -- which handshakes


def test_a_usual_handshake_is_read() -> None:
    request = UpgradeRequest.read(
        HANDSHAKE.replace(b"connection: Upgrade", b"Connection: x, UPGRADE")
    )
    assert request is not None
    assert request.target == "/socket.io/?EIO=4"
    assert request.headers[0] == (b"host", b"x")


@pytest.mark.parametrize(
    ("part", "instead"),
    [
        (b"GET", b"POST"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"/socket.io", b"/socket io"),
        (b"/socket.io", b"/\xc3\xbc"),
        (b"upgrade: websocket", b"upgrade: h2c"),
        (b"connection: Upgrade", b"connection: close"),
        (b"version: 13", b"version: 8"),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"c2hvcnQ="),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZSBub25jZQ"),
        (b"host: x", b"host: x\r\nhost: y"),
        (b"host: x", b"host: \xff"),
        (b"host: x", b"host:x"),
        (b"host: x", b"sec-websocket-protocol: chat"),
    ],
)
def test_an_unusual_handshake_is_left_to_the_library(part: bytes, instead: bytes) -> None:
    assert part in HANDSHAKE
    assert UpgradeRequest.read(HANDSHAKE.replace(part, instead)) is None


def test_all_that_is_read_is_accepted_by_the_library_too() -> None:
    library = ServerProtocol()
    library.receive_data(HANDSHAKE)
    [request] = library.events_received()
    theirs = library.accept(request)  # type: ignore[arg-type]
    ours = UpgradeRequest.read(HANDSHAKE)
    assert ours is not None
    accept = theirs.headers["Sec-WebSocket-Accept"].encode()
    assert b"Sec-WebSocket-Accept: %b\r\n" % accept in ours.accept([(b"date", b"now")])
