"""Private names of python-engineio that bridge/gateway/engineio uses.

A failure names the part that changed; bridge/README.md, "Private names", lists its uses.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import engineio
import engineio.async_socket
import engineio.packet as eio
import pytest
from engineio import payload
from engineio.async_drivers import asgi
from engineio.async_socket import AsyncSocket

from bridge.gateway.engineio.asgi_websocket import HEADERS, AsgiWebSocket, translate_request
from bridge.gateway.engineio.send_queue import MAX_POLL_PACKETS
from bridge.gateway.engineio.server import EngineServer
from bridge.gateway.engineio.session import EngineSession, SessionHost

CHANGED = 'python-engineio changed a name listed in bridge/README.md, "Private names": '


def engine() -> EngineServer:
    return EngineServer(async_mode="asgi")


def parameters(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


# -- AsyncServer


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("_handle_connect", ["environ", "transport", "jsonp_index"]),
        ("_trigger_event", ["event", "args", "kwargs"]),
        ("_upgrades", ["sid", "transport"]),
        ("_ok", ["packets", "headers", "jsonp_index"]),
        ("_unauthorized", ["message"]),
        ("_bad_request", ["message"]),
        ("_method_not_found", []),
        ("_log_error_once", ["message", "message_key"]),
        ("create_queue", ["args", "kwargs"]),
    ],
)
def test_server_method_keeps_its_parameters(method: str, expected: list[str]) -> None:
    theirs = getattr(engineio.AsyncServer, method, None)
    assert theirs is not None, CHANGED + f"server.{method}"
    assert parameters(theirs) == expected, CHANGED + f"server.{method}{inspect.signature(theirs)}"


@pytest.mark.parametrize(
    "part",
    [
        "self._handle_connect(environ, transport,",
        "socket.handle_get_request(",
        "socket.handle_post_request(environ)",
        "query.get('transport', ['polling'])[0]",
        "r = self._ok(jsonp_index=jsonp_index)",
        "r = self._method_not_found()",
        "await translate_request(*args, **kwargs)",
    ],
)
def test_handle_request_calls_the_overridden_methods(part: str) -> None:
    assert part in inspect.getsource(engineio.AsyncServer.handle_request), CHANGED + part


def test_sockets_are_a_dict_of_sessions_by_sid() -> None:
    assert engine().sockets == {}, CHANGED + "server.sockets"
    source = inspect.getsource(engineio.AsyncServer.handle_request)
    assert "if sid not in self.sockets:" in source, CHANGED + "server.sockets"


def test_async_has_the_websocket_class_and_translate_request() -> None:
    stock = engineio.AsyncServer(async_mode="asgi")._async
    assert stock["websocket"] is asgi.WebSocket, CHANGED + 'server._async["websocket"]'
    assert stock["make_response"] is asgi.make_response, CHANGED + 'server._async["make_response"]'
    assert parameters(asgi.make_response) == ["status", "headers", "payload", "environ"], (
        CHANGED + "make_response()"
    )
    assert stock["translate_request"] is asgi.translate_request, (
        CHANGED + 'server._async["translate_request"]'
    )


@pytest.mark.parametrize("name", ["ping_interval", "ping_timeout", "max_http_buffer_size"])
def test_server_has_the_attributes_of_a_session_host(name: str) -> None:
    assert name in SessionHost.__annotations__
    assert hasattr(engineio.AsyncServer(async_mode="asgi"), name), CHANGED + f"server.{name}"


@pytest.mark.parametrize(
    "reason",
    [
        "CLIENT_DISCONNECT",
        "PING_TIMEOUT",
        "SERVER_DISCONNECT",
        "TRANSPORT_CLOSE",
        "TRANSPORT_ERROR",
    ],
)
def test_server_has_the_reasons_of_a_disconnect(reason: str) -> None:
    assert hasattr(engine().reason, reason), CHANGED + f"server.reason.{reason}"


# -- AsyncSocket


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("handle_get_request", ["environ"]),
        ("handle_post_request", ["environ"]),
        ("poll", []),
        ("send", ["pkt"]),
        ("receive", ["pkt"]),
        ("close", ["wait", "abort", "reason"]),
        ("schedule_ping", []),
        ("_upgrade_websocket", ["environ"]),
        ("_websocket_handler", ["ws"]),
    ],
)
def test_socket_method_keeps_its_parameters(method: str, expected: list[str]) -> None:
    theirs = getattr(AsyncSocket, method, None)
    assert theirs is not None, CHANGED + f"socket.{method}"
    assert parameters(theirs) == expected, CHANGED + f"socket.{method}{inspect.signature(theirs)}"


def test_session_has_all_attributes_of_a_socket() -> None:
    ours = EngineSession(engine(), "sid", 1000)
    stock = AsyncSocket(engine(), "sid")
    assert set(vars(stock)) == {
        "server", "sid", "queue", "last_ping", "connected", "upgrading", "upgraded", "closing",
        "closed", "session",
    }, CHANGED + "the attributes of a socket"  # fmt: skip
    assert set(vars(stock)) <= set(vars(ours))


def test_websocket_handler_uses_only_put_of_the_queue() -> None:
    source = inspect.getsource(AsyncSocket._websocket_handler)
    used = {part.split("(")[0] for part in source.split("self.queue.")[1:]}
    assert used == {"put"}, CHANGED + f"socket.queue: {used}"
    assert "await self.queue.put(None)" in source, CHANGED + "the end of a socket's queue"


@pytest.mark.parametrize(
    "part", ["except exceptions.QueueEmpty:", "if not packets:", "packets = await self.poll()"]
)
def test_writer_of_a_websocket_ends_with_an_empty_poll(part: str) -> None:
    assert part in inspect.getsource(AsyncSocket._websocket_handler), CHANGED + part


def test_websocket_handler_probes_only_a_connected_session() -> None:
    lines = inspect.getsource(AsyncSocket._websocket_handler).splitlines()
    start = lines.index("        if self.connected:")
    end = lines.index("        else:")
    assert all(line.startswith(" " * 12) for line in lines[start + 1 : end] if line), (
        CHANGED + "the probe of a websocket"
    )
    assert [line.strip() for line in lines[end + 1 : end + 3]] == [
        "self.connected = True",
        "self.upgraded = True",
    ], CHANGED + "the start of a websocket"


@pytest.mark.parametrize("part", ["environ.get('CONTENT_LENGTH'", "environ['wsgi.input'].read("])
def test_post_is_read_from_the_environ(part: str) -> None:
    assert part in inspect.getsource(AsyncSocket.handle_post_request), CHANGED + part


@pytest.mark.parametrize(
    "error", ["ContentTooLongError", "QueueEmpty", "UnknownPacketError", "SocketIsClosedError"]
)
def test_errors_of_a_request_are_engineio_errors(error: str) -> None:
    theirs = getattr(engineio.exceptions, error, None)
    assert theirs is not None, CHANGED + f"exceptions.{error}"
    assert issubclass(theirs, engineio.exceptions.EngineIOError), CHANGED + f"exceptions.{error}"
    source = inspect.getsource(engineio.AsyncServer.handle_request)
    assert "except exceptions.EngineIOError:" in source, CHANGED + "errors of a request"


# -- packets


def test_packet_is_decoded_encoded_and_named() -> None:
    packet = eio.Packet(encoded_packet="4a")
    assert (packet.packet_type, packet.data, packet.binary) == (eio.MESSAGE, "a", False)
    assert packet.encode() is packet.encode(), CHANGED + "Packet.encode() caches"
    assert eio.Packet(encoded_packet=b"\x00").binary, CHANGED + "Packet.binary"
    assert len(eio.packet_names) == 7, CHANGED + "packet_names"


@pytest.mark.parametrize(
    ("data", "error"), [("x", ValueError), ("", ValueError), ("4" + "[" * 10**6, RecursionError)]
)
def test_invalid_packet_raises_a_decode_error(data: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        eio.Packet(encoded_packet=data)


def test_client_decodes_as_many_packets_as_a_poll_response_has() -> None:
    assert payload.Payload.max_decode_packets >= MAX_POLL_PACKETS, (
        CHANGED + "Payload.max_decode_packets"
    )


def test_client_builds_urls_with_transport_before_eio() -> None:
    url = engineio.AsyncClient()._get_engineio_url("http://a.example", "socket.io", "polling")
    assert url.endswith("?transport=polling&EIO=4"), CHANGED + "the client's URLs"


# -- websockets behind ASGI


def test_asgi_websocket_has_the_methods_of_the_stock_one() -> None:
    assert parameters(asgi.WebSocket) == ["handler", "server"], CHANGED + "asgi.WebSocket()"
    for name in ("send", "wait", "close"):
        assert hasattr(asgi.WebSocket(None, None), name), CHANGED + f"asgi.WebSocket.{name}"


async def test_websocket_is_made_with_the_sessions_handler_and_accepted_first() -> None:
    events: list[Any] = []
    server = engine()
    session = EngineSession(server, "sid", 1000)

    async def handler(ws: Any) -> None:
        events.append(type(ws))

    session._websocket_handler = handler  # type: ignore[method-assign]

    async def send(message: Any) -> None:
        events.append(message["type"])

    environ: dict[str, Any] = {
        "HTTP_CONNECTION": "Upgrade",
        "HTTP_UPGRADE": "websocket",
        "asgi.receive": None,
        "asgi.send": send,
        "asgi.scope": {},
    }
    await session.handle_get_request(environ)
    assert events == ["websocket.accept", AsgiWebSocket], (
        CHANGED + 'server._async["websocket"](handler, server)'
    )


async def test_environ_of_a_websocket_has_everything_that_the_library_reads() -> None:
    headers = [
        (b"host", b"here:1"), (b"origin", b"http://there"), (b"connection", b"keep-alive"),
        (b"connection", b"Upgrade"), (b"upgrade", b"WebSocket"), (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", b"there"), (b"cookie", b"not read"),
    ]  # fmt: skip
    scope = {
        "type": "websocket",
        "path": "/socket.io/",
        "query_string": b"EIO=4&transport=websocket",
        "headers": headers,
    }

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    theirs = await asgi.translate_request(scope, receive, None)
    ours = await translate_request(scope, receive, None)
    assert {key: theirs.get(key) for key in ours} == ours, CHANGED + "translate_request"
    assert set(theirs) - set(ours) == {
        "wsgi.input", "wsgi.errors", "wsgi.version", "wsgi.async", "wsgi.multithread",
        "wsgi.multiprocess", "wsgi.run_once", "SERVER_SOFTWARE", "PATH_INFO", "RAW_URI",
        "SCRIPT_NAME", "SERVER_PROTOCOL", "REMOTE_ADDR", "REMOTE_PORT", "SERVER_NAME",
        "SERVER_PORT", "HTTP_COOKIE",
    }, CHANGED + "translate_request"  # fmt: skip


def test_library_reads_no_other_header_of_a_websocket() -> None:
    known = {*HEADERS.values(), "HTTP_ACCEPT_ENCODING", "HTTP_ACCESS_CONTROL_REQUEST_HEADERS"}
    server = engineio.AsyncServer
    for function in (
        server.handle_request,
        server._cors_allowed_origins,
        server._cors_headers,
        EngineSession.handle_get_request,
    ):
        read = set(re.findall(r"['\"](HTTP_\w+)['\"]", inspect.getsource(function)))
        assert read <= known, CHANGED + f"a header is read: {read - known}"
