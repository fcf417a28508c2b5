"""Connections are handed to the process that has their session, whole and once."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn

from bridge.server import serve
from bridge.server.handoff import Handoff, receiving_protocol
from tests.serving import started

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.types import Receive, Scope, Send

OWN, OTHER = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


class Process:
    """A server that answers each request with its name and the client's port."""

    def __init__(self, name: str, handoff: Handoff, port: int) -> None:
        self.name = name
        self.handoff = handoff
        self.port = port


async def answer(name: str, scope: Scope, receive: Receive, send: Send) -> None:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    text = f"{name} {scope['client'][1]} {len(body)}".encode()
    headers = [(b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


@asynccontextmanager
async def process(directory: Path, name: str, **options: Any) -> AsyncIterator[Process]:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(name, scope, receive, send)

    handoff = Handoff(directory, name, **options)
    config = uvicorn.Config(
        app, http=receiving_protocol(handoff), lifespan="off", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    server.capture_signals = _no_signals  # type: ignore[method-assign]
    with serve.listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        task = asyncio.create_task(server.serve([listening]))
        await started(server, task)
        handoff.open(
            lambda: config.http_protocol_class(  # type: ignore[call-arg,arg-type,return-value]
                config=config, server_state=server.server_state, app_state={}
            )
        )
        yield Process(name, handoff, port)
        handoff.close()
        server.should_exit = True
        await task


def _no_signals() -> Any:
    import contextlib

    return contextlib.nullcontext()


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.port = writer.get_extra_info("sockname")[1]

    async def ask(self, *parts: bytes) -> list[str]:
        """Send a request in parts; return the words of the response."""
        for part in parts:
            self._writer.write(part)
            await self._writer.drain()
            await asyncio.sleep(0.02)
        async with asyncio.timeout(20):
            head = await self._reader.readuntil(b"\r\n\r\n")
            [size] = [
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            ]
            return (await self._reader.readexactly(size)).decode().split(" ")

    def close(self) -> None:
        self._writer.close()


async def connect(port: int) -> Connection:
    return Connection(*await asyncio.open_connection("127.0.0.1", port))


def get(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Process, Process]]:
    async with process(tmp_path, OWN) as own, process(tmp_path, OTHER) as other:
        yield own, other


async def test_request_of_another_processes_session_is_served_there(
    pair: tuple[Process, Process],
) -> None:
    own, _ = pair
    connection = await connect(own.port)
    for _ in range(3):  # the connection stays there
        words = await connection.ask(get(f"/socket.io/?EIO=4&sid={OTHER}.xyz"))
        assert words == [OTHER, str(connection.port), "0"]
    connection.close()


async def test_connection_returns_for_a_request_of_the_first_processes_session(
    pair: tuple[Process, Process],
) -> None:
    """A proxy sends the requests of many clients over one connection."""
    own, _ = pair
    connection = await connect(own.port)
    for name in (OWN, OTHER, OWN, OTHER):
        assert (await connection.ask(get(f"/socket.io/?sid={name}.x&EIO=4")))[0] == name
    connection.close()


async def test_body_that_arrives_in_parts_is_received_whole(
    pair: tuple[Process, Process],
) -> None:
    own, _ = pair
    connection = await connect(own.port)
    head = f"POST /socket.io/?sid={OTHER}.x HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nabc"
    assert await connection.ask(head.encode(), b"de", b"fgh") == [
        OTHER,
        str(connection.port),
        "8",
    ]
    connection.close()


@pytest.mark.parametrize(
    "target",
    [f"/socket.io/?sid={OWN}.x", "/socket.io/?EIO=4", "/socket.io/?sid=x", "/?a=sid", "/readyz"],
)
async def test_other_requests_are_served_where_they_arrive(
    pair: tuple[Process, Process], target: str
) -> None:
    own, _ = pair
    connection = await connect(own.port)
    assert (await connection.ask(get(target)))[0] == OWN
    connection.close()


async def test_request_of_a_process_that_is_gone_is_served_where_it_arrives(
    tmp_path: Path,
) -> None:
    async with process(tmp_path, OWN) as own:
        # A killed process leaves its socket behind.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left:
            left.bind(str(tmp_path / f"{OTHER}.handoff"))
        for name in (OTHER, "cccccccccccc"):
            connection = await connect(own.port)
            assert (await connection.ask(get(f"/socket.io/?sid={name}.x")))[0] == OWN
            connection.close()


async def test_operators_requests_are_served_by_the_leader_process(tmp_path: Path) -> None:
    async with process(tmp_path, OWN) as own, process(tmp_path, "leader", leads=True):
        connection = await connect(own.port)
        for target in ("/status", "/status/stream", "/metrics", "/status?a", "/admin/sign-out"):
            assert (await connection.ask(get(target)))[0] == "leader"
        # On the same connection, as a proxy may do.
        for target in ("/properties", "/statusx", f"/socket.io/?sid={OWN}.x"):
            assert (await connection.ask(get(target)))[0] == OWN
        connection.close()


async def test_connections_wait_while_the_other_processes_queue_is_full(tmp_path: Path) -> None:
    async with process(tmp_path, OWN) as own, process(tmp_path, OTHER) as other:
        loop = asyncio.get_running_loop()
        received = other.handoff._socket
        assert received is not None
        loop.remove_reader(received)  # as a process that is busy
        connections = [await connect(own.port) for _ in range(40)]
        asking = [
            asyncio.create_task(connection.ask(get(f"/socket.io/?sid={OTHER}.x")))
            for connection in connections
        ]
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in asking)
        loop.add_reader(received, other.handoff._receive)
        answers = await asyncio.gather(*asking)
        assert {words[0] for words in answers} == {OTHER}
        for connection in connections:
            connection.close()
