"""Clients that don't hurry, or say too much, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount
from websockets.asyncio.client import connect

from bridge.server import http_protocol as http
from tests.fakes import build
from tests.serving import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope, Send

LARGE = 8 * 1024 * 1024


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    if scope["path"] == "/large":
        await Response(b"x" * LARGE)(scope, receive, send)
        return
    if scope["path"] == "/body":
        while (message := await receive())["type"] == "http.request" and message.get("more_body"):
            pass
    await PlainTextResponse("well")(scope, receive, send)


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with served(app, lifespan="off") as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            yield reader, writer
        finally:
            writer.close()


async def end_of(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the server ends the connection."""
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionResetError:
        return b""


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "REQUEST_SECONDS", 0.05)
    monkeypatch.setattr(http, "UNREAD_SECONDS", 0.05)


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"G",
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"x" * 1000,
        b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc",
        b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"\r\n\r\n",
    ],
    ids=["nothing", "method", "line", "header", "body", "chunk", "empty lines"],
)
async def test_a_request_that_does_not_come_is_given_up(begun: bytes) -> None:
    async with connected() as (reader, writer):
        writer.write(begun)
        assert await end_of(reader) == b""


@pytest.mark.usefixtures("hurry")
async def test_so_is_one_that_comes_drop_by_drop() -> None:
    async with connected() as (reader, writer):
        ending = asyncio.create_task(end_of(reader))
        writer.write(b"GET / HTTP/1.1\r\n")
        while not ending.done():
            writer.write(b"X-A: b\r\n")
            await asyncio.sleep(0.01)
        assert ending.result() == b""


@pytest.mark.usefixtures("hurry")
async def test_so_is_what_follows_an_answer_and_is_no_request() -> None:
    async with connected() as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await reader.readuntil(b"well")
        writer.write(b"\r\n")
        assert await end_of(reader) == b""


async def test_a_request_that_has_come_may_be_answered_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "REQUEST_SECONDS", 0.05)

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.2)
        await PlainTextResponse("well")(scope, receive, send)

    monkeypatch.setitem(globals(), "app", slow)
    async with connected() as (reader, writer):
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            async with asyncio.timeout(5):
                await reader.readuntil(b"well")


async def test_a_websocket_is_no_request_that_has_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "REQUEST_SECONDS", 0.5)
    gateway = build()
    mounted = Starlette(routes=[Mount("/socket.io", app=gateway)])
    async with served(mounted, lifespan="off", drain=gateway.close) as url:
        address = f"{url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket"
        async with connect(address, ping_interval=None) as websocket:
            assert str(await websocket.recv()).startswith("0{")
            with pytest.raises(TimeoutError):  # and not ConnectionClosed
                async with asyncio.timeout(1.5):
                    await websocket.recv()


def request(*headers: bytes, target: bytes = b"/") -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (target, b"".join(headers))


@pytest.mark.parametrize(
    "sent",
    [
        request(b"X: " + b"x" * 40_000 + b"\r\n"),
        request(*(b"X-%d: " % n + b"x" * 1000 + b"\r\n" for n in range(40))),
        request(*(b"X-%d: y\r\n" % n for n in range(101))),
        request(target=b"/?" + b"x" * 40_000),
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 300_000,
        b"GET /" + b"x" * 300_000,
        b"\r\n" * 200_000,
        b"POST /body HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 300_000,
        b"POST /body HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"x" * 300_000,
    ],
    ids=["header", "headers", "many", "target", "endless", "line", "lines", "chunk", "trailer"],
)
async def test_a_head_that_is_too_long_ends_the_connection(sent: bytes) -> None:
    async with connected() as (reader, writer):
        ending = asyncio.create_task(end_of(reader))
        writer.write(sent)
        answer = await ending
        assert answer == b"" or answer.split(b" ")[1] in (b"400", b"431")


async def test_a_head_that_is_long_enough_for_a_token_is_read() -> None:
    async with connected() as (reader, writer):
        writer.write(request(b"Authorization: Bearer " + b"x" * 16_000 + b"\r\n"))
        async with asyncio.timeout(5):
            await reader.readuntil(b"well")


async def test_requests_that_come_before_their_turn_are_answered_in_order_if_they_are_few() -> None:
    async with connected() as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * (http.PIPELINED + 1))
        for _ in range(http.PIPELINED + 1):
            assert (await reader.readuntil(b"well")).startswith(b"HTTP/1.1 200 ")


async def test_so_many_that_they_would_fill_the_memory_end_the_connection() -> None:
    async with connected() as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 5000)
        assert (await end_of(reader)).count(b"HTTP/1.1 ") < http.PIPELINED


async def test_a_body_is_no_head() -> None:
    async with connected() as (reader, writer):
        for _ in range(3):
            writer.write(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n")
            writer.write(b"x" * 200_000)
            async with asyncio.timeout(5):
                await reader.readuntil(b"well")


@pytest.mark.usefixtures("hurry")
async def test_a_client_that_reads_nothing_is_cut_off() -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        async with served(app, lifespan="off") as url:
            host, port = url.removeprefix("http://").split(":")
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, (host, int(port)))
            await loop.sock_sendall(client, request(target=b"/large"))
            got = 0
            await asyncio.sleep(0.5)  # it reads nothing for longer than it may
            try:
                async with asyncio.timeout(10):
                    while part := await loop.sock_recv(client, 65536):
                        got += len(part)
            except ConnectionResetError:
                pass
            assert got < LARGE


async def test_a_client_that_reads_slowly_but_reads_gets_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "UNREAD_SECONDS", 2.0)
    async with connected() as (reader, writer):
        writer.write(request(b"Connection: close\r\n", target=b"/large"))
        got = 0
        async with asyncio.timeout(20):
            while part := await reader.read(1024 * 1024):
                got += len(part)
                await asyncio.sleep(0.01)
        assert got > LARGE


def test_what_is_private_in_uvicorn_is_still_there() -> None:
    import inspect

    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    source = inspect.getsource(HttpToolsProtocol)
    for name in (
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
    ):
        assert name in source
    protocol: Any = http.HttpProtocol
    assert issubclass(protocol, HttpToolsProtocol)
