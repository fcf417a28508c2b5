"""The private parts of python-engineio that the gateway relies on, and websockets behind ASGI."""

from __future__ import annotations

import asyncio
import inspect
import re
from types import SimpleNamespace
from typing import Any

import engineio
import engineio.async_socket
import engineio.packet as eio
import pytest
from engineio.async_drivers import asgi
from engineio.exceptions import QueueEmpty

from bridge.gateway.engineio.asgi_websocket import HEADERS, AsgiWebSocket, translate_request
from bridge.gateway.engineio.raw_websocket import TRANSPORT
from bridge.gateway.engineio.server import EngineServer
from bridge.gateway.engineio.session import EngineSession
from bridge.gateway.socketio.server import SocketServer

CHANGED = (
    "python-engineio changed something private that bridge/gateway/{engine,session,websocket}.py "
    "rely on (their docstrings list it): "
)


def engine() -> EngineServer:
    return EngineServer(async_mode="asgi")


def parameters(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


# -- what is private and relied on


def test_the_server_makes_our_engine() -> None:
    server = SocketServer(async_mode="asgi", waiting=77)
    assert type(server.eio) is EngineServer, (
        CHANGED + "socketio.AsyncServer._engineio_server_class()"
    )
    assert server.eio._limit == 77
    assert server.eio._async["websocket"] is AsgiWebSocket, CHANGED + 'server._async["websocket"]'
    assert isinstance(server.eio.sockets, dict), CHANGED + "server.sockets"


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
        ("create_queue", ["args", "kwargs"]),
    ],
)
def test_the_servers_methods_are_as_they_were(method: str, expected: list[str]) -> None:
    theirs = getattr(engineio.AsyncServer, method, None)
    assert theirs is not None, CHANGED + f"server.{method}"
    assert parameters(theirs) == expected, CHANGED + f"server.{method}{inspect.signature(theirs)}"


def test_handle_request_calls_what_is_replaced() -> None:
    source = inspect.getsource(engineio.AsyncServer.handle_request)
    assert "self._handle_connect(environ, transport," in source, CHANGED + "_handle_connect"
    assert "socket.handle_get_request(" in source, CHANGED + "socket.handle_get_request"
    assert "socket.handle_post_request(environ)" in source, CHANGED + "socket.handle_post_request"


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
def test_a_sockets_methods_are_as_they_were(method: str, expected: list[str]) -> None:
    theirs = getattr(engineio.async_socket.AsyncSocket, method, None)
    assert theirs is not None, CHANGED + f"socket.{method}"
    assert parameters(theirs) == expected, CHANGED + f"socket.{method}{inspect.signature(theirs)}"


def test_a_socket_of_the_library_has_no_more_than_we_serve() -> None:
    ours = EngineSession(engine(), "sid", 1000)
    stock = engineio.async_socket.AsyncSocket(engine(), "sid")
    assert set(vars(stock)) == {
        "server", "sid", "queue", "last_ping", "connected", "upgrading", "upgraded", "closing",
        "closed", "session",
    }, CHANGED + "the attributes of a socket"  # fmt: skip
    assert set(vars(stock)) <= set(vars(ours))


def test_the_library_puts_into_a_queue_by_put_only() -> None:
    source = inspect.getsource(engineio.async_socket.AsyncSocket._websocket_handler)
    used = {part.split("(")[0] for part in source.split("self.queue.")[1:]}
    assert used == {"put"}, CHANGED + f"socket.queue: {used}"


async def test_a_websocket_is_wrapped_with_the_sockets_own_handler_and_accepted_first() -> None:
    told: list[Any] = []

    class Spy(AsgiWebSocket):
        pass

    it = engine()
    it._async = {**it._async, "websocket": Spy}
    socket = EngineSession(it, "sid", 1000)

    async def handler(ws: Any) -> None:
        told.append(type(ws))

    socket._websocket_handler = handler  # type: ignore[method-assign]

    async def send(message: Any) -> None:
        told.append(message["type"])

    environ: dict[str, Any] = {
        "HTTP_CONNECTION": "Upgrade",
        "HTTP_UPGRADE": "websocket",
        "asgi.receive": None,
        "asgi.send": send,
        "asgi.scope": {},
    }
    await socket.handle_get_request(environ)
    assert told == ["websocket.accept", Spy], CHANGED + 'server._async["websocket"](handler, ..)'
    for name in ("send", "wait", "close"):
        assert hasattr(asgi.WebSocket(None, None), name), CHANGED + f"asgi.WebSocket.{name}"


async def test_a_websockets_request_has_all_that_the_library_looks_at() -> None:
    headers = [
        (b"host", b"here:1"), (b"origin", b"http://there"), (b"connection", b"keep-alive"),
        (b"connection", b"Upgrade"), (b"upgrade", b"WebSocket"), (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", b"there"), (b"cookie", b"of no interest"),
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
    theirs = engineio.AsyncServer
    for function in (
        theirs.handle_request,
        theirs._cors_allowed_origins,
        theirs._cors_headers,
        EngineSession.handle_get_request,
    ):
        source = inspect.getsource(function)
        looked_at = set(re.findall(r"['\"](HTTP_\w+)['\"]", source))
        known = {*HEADERS.values(), "HTTP_ACCEPT_ENCODING", "HTTP_ACCESS_CONTROL_REQUEST_HEADERS"}
        assert looked_at <= known, CHANGED + f"a header is looked at: {looked_at - known}"


# -- a socket


async def test_a_socket_without_a_websocket_holds_what_it_is_told_for_polls() -> None:
    socket = EngineSession(engine(), "sid", 1000)
    await socket.send(eio.Packet(eio.MESSAGE, "a"))
    socket.ping()
    assert [packet.encode() for packet in await socket.poll()] == ["4a", "2"]
    await socket.close()
    assert [packet.encode() for packet in await socket.poll()] == ["1"]
    assert await socket.poll() == [], CHANGED + "an empty poll ends a writer"


async def test_a_poll_in_which_nothing_comes_ends_as_the_library_expects() -> None:
    it = engine()
    it.ping_interval = it.ping_timeout = 0.01
    with pytest.raises(QueueEmpty):
        await EngineSession(it, "sid", 1000).poll()


async def test_events_come_before_anything_else_that_is_said_after_them() -> None:
    it = engine()
    caught_up: list[Any] = []
    it.before_send = caught_up.append
    socket = EngineSession(it, "sid", 1000)
    socket.ping()
    socket.client = "client"
    socket.ping()
    await socket.send(eio.Packet(eio.NOOP))
    assert caught_up == [socket.queue, socket.queue]


async def test_a_socket_closes_once() -> None:
    it = engine()
    reasons: list[str] = []

    async def disconnect(_sid: str, reason: str) -> None:
        reasons.append(reason)

    it.on("disconnect", disconnect)
    socket = it.sockets["sid"] = EngineSession(it, "sid", 1000)
    await asyncio.gather(socket.close(reason="one"), socket.close(reason="two"))
    socket.abort()
    await it.shutdown()
    assert reasons == ["one"]
    assert socket.closed
    assert it.sockets == {}


# -- websockets behind ASGI


class _Transport:
    aborted = False

    def abort(self) -> None:
        self.aborted = True


async def test_a_cut_websocket_frees_who_waits_in_it_and_takes_nothing_more() -> None:
    it = engine()
    transport, sent, stuck = _Transport(), [], asyncio.Event()

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(event: Any) -> None:
        sent.append(event["type"])
        if event["type"] == "websocket.send":
            stuck.set()
            await asyncio.Event().wait()

    async def handler(ws: Any) -> None:
        await ws.wait()

    scope = {"type": "websocket", "extensions": {TRANSPORT: transport}}
    ws = AsgiWebSocket(handler, it)
    serving = asyncio.create_task(
        ws({"asgi.receive": receive, "asgi.send": send, "asgi.scope": scope})
    )
    writing = asyncio.create_task(ws.send("x"))
    await stuck.wait()
    assert it.websockets == {ws}
    ws.abort()
    with pytest.raises(OSError, match="cut off"):
        await writing
    with pytest.raises(OSError, match="cut off"):
        await serving
    with pytest.raises(OSError, match="cut off"):
        await ws.send("y")
    await ws.close()
    assert transport.aborted
    assert it.websockets == set()
    assert "websocket.close" not in sent


async def test_a_websocket_that_is_not_cut_can_be_cancelled_as_ever() -> None:
    async def forever() -> Any:
        await asyncio.Event().wait()

    ws = AsgiWebSocket(SimpleNamespace(), engine())
    ws.asgi_receive = forever
    waiting = asyncio.create_task(ws.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
