"""Private names of uvicorn that bridge/server uses.

A failure names the part that changed; bridge/README.md, "Private names", lists its uses.
"""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.h11_impl import RequestResponseCycle as H11Cycle
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from bridge.gateway.engineio.raw_websocket import HANDOVER, TRANSPORT, keep_transport
from bridge.server.http_protocol import HttpProtocol
from bridge.server.websocket_protocol import WebSocketProtocol
from tests.unit.server.handshake import begun

CHANGED = 'uvicorn changed a name listed in bridge/README.md, "Private names": '


# -- Server


@pytest.mark.parametrize(
    ("method", "part"),
    [
        ("shutdown", "for connection in list(self.server_state.connections):"),
        ("shutdown", "connection.shutdown()"),
        ("_wait_tasks_to_complete", "while self.server_state.connections"),
    ],
)
def test_server_shuts_its_connections_down_and_waits_for_them(method: str, part: str) -> None:
    source = inspect.getsource(getattr(uvicorn.Server, method))
    assert part in source, CHANGED + f"Server.{method}(): {part}"


def test_server_captures_signals_in_one_method() -> None:
    assert "with self.capture_signals():" in inspect.getsource(uvicorn.Server.serve), (
        CHANGED + "Server.capture_signals()"
    )


def test_server_shuts_down_by_one_method() -> None:
    assert list(inspect.signature(uvicorn.Server.shutdown).parameters) == ["self", "sockets"], (
        CHANGED + "Server.shutdown()"
    )


def test_server_starts_in_one_method_and_makes_protocols_of_known_parts() -> None:
    assert list(inspect.signature(uvicorn.Server.startup).parameters) == ["self", "sockets"], (
        CHANGED + "Server.startup()"
    )
    source = inspect.getsource(uvicorn.Server.startup)
    for part in (
        "await self.lifespan.startup()",
        "return config.http_protocol_class(",
        "config=config,",
        "server_state=self.server_state,",
        "app_state=self.lifespan.state,",
    ):
        assert part in source, CHANGED + f"Server.startup(): {part}"
    listening = source.index("create_server")
    assert source.index("await self.lifespan.startup()") < listening, CHANGED + "Server.startup()"


def test_server_raises_system_exit_if_the_lifespan_failed() -> None:
    source = inspect.getsource(uvicorn.Server.startup)
    assert "if self.lifespan.should_exit:\n            sys.exit(" in source, (
        CHANGED + "the end of a server whose lifespan failed"
    )


# -- HttpToolsProtocol


@pytest.mark.parametrize(
    "part",
    [
        "def on_message_begin(self)",
        "def on_header(self, name: bytes, value: bytes)",
        "def on_headers_complete(self)",
        "def on_body(self, body: bytes)",
        "def on_message_complete(self)",
        "def handle_websocket_upgrade(self)",
        "def timeout_keep_alive_handler(self)",
        "self._unset_keepalive_if_required()",
        "self.timeout_keep_alive_task = self.loop.call_later",
        "self.cycle.response_complete",
        "self.url += url",
        "self.headers.append",
        "self.pipeline.appendleft(",
        "def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application)",
    ],
)
def test_http_protocol_keeps_its_parts(part: str) -> None:
    assert part in inspect.getsource(HttpToolsProtocol), CHANGED + part
    assert issubclass(HttpProtocol, HttpToolsProtocol)


def test_http_protocol_only_feeds_the_parser_with_received_data() -> None:
    lines = inspect.getsource(HttpToolsProtocol.data_received).splitlines()
    assert [line.strip() for line in lines[1:] if line] == [
        "self._unset_keepalive_if_required()",
        "try:",
        "self.parser.feed_data(data)",
        "except httptools.HttpParserError:",
        'msg = "Invalid HTTP request received."',
        "self.logger.warning(msg)",
        "self.send_400_response(msg)",
        "return",
        "except httptools.HttpParserUpgrade:",
        "if self._should_upgrade():",
        "self.handle_websocket_upgrade()",
        "else:",
        "self._unsupported_upgrade_warning()",
    ], CHANGED + "data_received()"


@pytest.mark.parametrize("http", [H11Protocol, HttpToolsProtocol])
def test_handshake_is_received_in_one_piece_before_the_protocol_is_set(http: Any) -> None:
    source = inspect.getsource(http.handle_websocket_upgrade)
    made = source.index("protocol.connection_made(self.transport)")
    given = source.index('protocol.data_received(b"".join(output))')
    assert made < given < source.index("self.transport.set_protocol(protocol)"), (
        CHANGED + f"{http.__name__}.handle_websocket_upgrade()"
    )


@pytest.mark.parametrize(
    "part",
    [
        "if self.chunked_encoding is None and",
        'if name == b"content-length" and self.chunked_encoding is None:',
        "num_bytes > self.expected_content_length",
        "self.expected_content_length -= num_bytes",
        "if self.expected_content_length != 0:",
    ],
)
def test_response_is_chunked_and_measured_by_two_attributes(part: str) -> None:
    assert part in inspect.getsource(RequestResponseCycle.send), CHANGED + part


# -- WebSocketsSansIOProtocol


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
        ("connection_lost", "self.disconnected = True"),
        ("send", "self.default_headers"),
        ("send", "self.close_sent = True"),
        ("shutdown", "self.send_500_response()"),
    ],
)
def test_websocket_protocol_keeps_its_parts(method: str, part: str) -> None:
    source = inspect.getsource(getattr(WebSocketsSansIOProtocol, method))
    assert part in source, CHANGED + f"{method}(): {part}"


def test_websocket_protocol_only_closes_the_transport_after_the_asgi_call() -> None:
    source = inspect.getsource(WebSocketsSansIOProtocol.run_asgi)
    end = source[source.rindex("if self.close_timer is None:") :]
    assert end.split() == ["if", "self.close_timer", "is", "None:", "self.transport.close()"], (
        CHANGED + "the end of run_asgi()"
    )


def test_websocket_protocol_answers_a_ping_with_the_connections_data() -> None:
    lines = inspect.getsource(WebSocketsSansIOProtocol.handle_ping).splitlines()
    assert [line.strip() for line in lines[1:]] == [
        "output = self.conn.data_to_send()",
        'self.transport.write(b"".join(output))',
    ], CHANGED + "handle_ping()"


def test_websocket_protocol_makes_the_same_scope_as_ours() -> None:
    theirs, ours = begun(WebSocketsSansIOProtocol)[0], begun(WebSocketProtocol)[0]
    extensions = ours.scope["extensions"]
    assert extensions.pop(HANDOVER) is ours
    assert ours.scope == theirs.scope, CHANGED + "scope"
    assert ours.handshake_initiated is theirs.handshake_initiated is True
    assert ours.queue.get_nowait() == theirs.queue.get_nowait() == {"type": "websocket.connect"}
    assert len(ours.tasks) == len(theirs.tasks) == 1


# -- the transport under a request


def test_send_of_a_websocket_is_a_method_of_an_object_with_the_transport() -> None:
    websocket, transport = begun(WebSocketsSansIOProtocol)
    scope: dict[str, Any] = {"type": "websocket"}
    keep_transport(scope, websocket.send)
    assert scope["extensions"][TRANSPORT] is transport, CHANGED + "send.__self__.transport"


@pytest.mark.parametrize("cycle", [RequestResponseCycle, H11Cycle])
def test_send_of_a_request_is_a_method_of_an_object_with_the_transport(cycle: Any) -> None:
    assert inspect.iscoroutinefunction(cycle.send), CHANGED + f"{cycle.__module__}: send"
    assert "self.transport = transport" in inspect.getsource(cycle.__init__), (
        CHANGED + f"{cycle.__module__}: transport"
    )
    called = "".join(inspect.getsource(cycle.run_asgi).split())
    assert "self.scope,self.receive,self.send" in called, (
        CHANGED + f"{cycle.__module__}: run_asgi()"
    )
