"""Limits on slow and oversized HTTP requests, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount
from websockets.asyncio.client import connect

from bridge.gateway.engineio.raw_websocket import TRANSPORT, keep_transport
from bridge.gateway.engineio.server import EngineServer
from bridge.server import http_protocol as http
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
    await PlainTextResponse("done")(scope, receive, send)


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with served(app, lifespan="off") as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            yield reader, writer
        finally:
            writer.close()


async def read_to_end(reader: asyncio.StreamReader) -> bytes:
    """Everything that the server sends until it closes the connection."""
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionResetError:
        return b""


@pytest.fixture
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "REQUEST_SECONDS", 0.05)
    monkeypatch.setattr(http, "UNREAD_SECONDS", 0.05)


@pytest.mark.usefixtures("short_limits")
@pytest.mark.parametrize(
    "sent",
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
async def test_incomplete_request_is_aborted(sent: bytes) -> None:
    async with connected() as (reader, writer):
        writer.write(sent)
        assert await read_to_end(reader) == b""


@pytest.mark.usefixtures("short_limits")
async def test_request_that_arrives_in_small_parts_is_aborted() -> None:
    async with connected() as (reader, writer):
        reading = asyncio.create_task(read_to_end(reader))
        writer.write(b"GET / HTTP/1.1\r\n")
        while not reading.done():
            writer.write(b"X-A: b\r\n")
            await asyncio.sleep(0.01)
        assert reading.result() == b""


@pytest.mark.usefixtures("short_limits")
async def test_bytes_after_a_response_that_are_no_request_are_aborted() -> None:
    async with connected() as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await reader.readuntil(b"done")
        writer.write(b"\r\n")
        assert await read_to_end(reader) == b""


async def test_received_request_may_be_answered_after_request_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "REQUEST_SECONDS", 0.05)

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(4 * http.REQUEST_SECONDS)
        await PlainTextResponse("done")(scope, receive, send)

    monkeypatch.setitem(globals(), "app", slow)
    async with connected() as (reader, writer):
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            async with asyncio.timeout(20):
                await reader.readuntil(b"done")


async def test_websocket_is_not_aborted_after_request_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "REQUEST_SECONDS", 0.1)
    engine = EngineServer(async_mode="asgi", ping_interval=0.4)
    mounted = Starlette(routes=[Mount("/engine.io", app=engine.handle_request)])
    async with served(mounted, lifespan="off", drain=engine.shutdown) as url:
        address = f"{url.replace('http', 'ws')}/engine.io/?EIO=4&transport=websocket"
        async with connect(address, ping_interval=None) as websocket, asyncio.timeout(10):
            assert str(await websocket.recv()).startswith("0{")
            assert await websocket.recv() == "2"  # Engine.IO's ping, long after the limit


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
async def test_request_with_too_long_a_head_is_rejected(sent: bytes) -> None:
    async with connected() as (reader, writer):
        reading = asyncio.create_task(read_to_end(reader))
        writer.write(sent)
        answer = await reading
        assert answer == b"" or answer.split(b" ")[1] in (b"400", b"431")


async def test_request_with_a_long_token_is_accepted() -> None:
    async with connected() as (reader, writer):
        writer.write(request(b"Authorization: Bearer " + b"x" * 16_000 + b"\r\n"))
        async with asyncio.timeout(20):
            await reader.readuntil(b"done")


async def test_pipelined_requests_are_answered_in_order_up_to_the_limit() -> None:
    async with connected() as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * (http.PIPELINED + 1))
        for _ in range(http.PIPELINED + 1):
            assert (await reader.readuntil(b"done")).startswith(b"HTTP/1.1 200 ")


async def test_pipelined_requests_beyond_the_limit_end_the_connection() -> None:
    async with connected() as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 5000)
        assert (await read_to_end(reader)).count(b"HTTP/1.1 ") < http.PIPELINED


async def test_body_does_not_count_as_head() -> None:
    async with connected() as (reader, writer):
        for _ in range(3):
            writer.write(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n")
            writer.write(b"x" * 200_000)
            async with asyncio.timeout(20):
                await reader.readuntil(b"done")


@pytest.mark.usefixtures("short_limits")
async def test_client_that_does_not_read_its_response_is_aborted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    aborted = asyncio.Event()
    on_unread_timeout = http.HttpProtocol._on_unread_timeout

    def on_timeout(protocol: http.HttpProtocol) -> None:
        on_unread_timeout(protocol)
        aborted.set()

    monkeypatch.setattr(http.HttpProtocol, "_on_unread_timeout", on_timeout)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        async with served(app, lifespan="off") as url:
            host, port = url.removeprefix("http://").split(":")
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, (host, int(port)))
            await loop.sock_sendall(client, request(target=b"/large"))
            received = 0
            async with asyncio.timeout(10):
                await aborted.wait()
            try:
                async with asyncio.timeout(10):
                    while part := await loop.sock_recv(client, 65536):
                        received += len(part)
            except ConnectionResetError:
                pass
            assert received < LARGE


async def test_client_that_reads_slowly_gets_the_whole_response(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "UNREAD_SECONDS", 2.0)
    async with connected() as (reader, writer):
        writer.write(request(b"Connection: close\r\n", target=b"/large"))
        received = 0
        async with asyncio.timeout(20):
            while part := await reader.read(1024 * 1024):
                received += len(part)
                await asyncio.sleep(0.01)
        assert received > LARGE


async def test_response_without_a_length_to_http_1_0_ends_with_the_connection() -> None:
    async def parts(scope: Scope, receive: Receive, send: Send) -> None:
        keep_transport(scope, send)
        assert TRANSPORT in scope["extensions"]
        await send({"type": "http.response.start", "status": 200})
        for part in (b"one ", b"two ", b""):
            await send({"type": "http.response.body", "body": part, "more_body": bool(part)})

    async with served(parts, lifespan="off") as url:
        for version, ending in (("1.0", b"\r\n\r\none two "), ("1.1", b"0\r\n\r\n")):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.split(":")[-1]))
            writer.write(b"GET / HTTP/%b\r\nConnection: close\r\n\r\n" % version.encode())
            answer = await read_to_end(reader)
            assert answer.endswith(ending)
            assert (b"transfer-encoding" in answer) == (version == "1.1")
            writer.close()


@pytest.mark.parametrize("target", [b"/", b"/large"])
async def test_response_with_a_length_to_http_1_0_keeps_it(target: bytes) -> None:
    async with connected() as (reader, writer):
        writer.write(b"GET %b HTTP/1.0\r\n\r\n" % target)
        head, _, body = (await read_to_end(reader)).partition(b"\r\n\r\n")
        assert b"content-length: %d" % len(body) in head
        assert len(body) == (LARGE if target == b"/large" else 4)
