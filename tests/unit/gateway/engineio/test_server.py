"""The Engine.IO server, its sessions, and websockets behind ASGI."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import engineio.packet as eio
import pytest
from engineio.exceptions import QueueEmpty

from bridge.gateway.engineio.asgi_websocket import AsgiWebSocket
from bridge.gateway.engineio.raw_websocket import TRANSPORT
from bridge.gateway.engineio.server import EngineServer
from bridge.gateway.engineio.session import EngineSession
from bridge.gateway.socketio.server import SocketServer


def engine() -> EngineServer:
    return EngineServer(async_mode="asgi")


def test_socketio_server_has_an_engine_server_with_its_queue_limit() -> None:
    server = SocketServer(async_mode="asgi", max_queued_bytes=77)
    assert type(server.eio) is EngineServer
    assert server.eio._limit == 77


# -- sessions


async def test_session_without_a_websocket_queues_packets_for_polls() -> None:
    session = EngineSession(engine(), "sid", 1000)
    await session.send(eio.Packet(eio.MESSAGE, "a"))
    session.ping()
    assert [packet.encode() for packet in await session.poll()] == ["4a", "2"]
    await session.close()
    assert [packet.encode() for packet in await session.poll()] == ["1"]
    assert await session.poll() == []


async def test_poll_without_packets_raises_queue_empty() -> None:
    server = engine()
    server.ping_interval = server.ping_timeout = 0.01
    with pytest.raises(QueueEmpty):
        await EngineSession(server, "sid", 1000).poll()


async def test_session_calls_before_send_once_its_client_is_attached() -> None:
    server = engine()
    flushed: list[Any] = []
    server.before_send = flushed.append
    session = EngineSession(server, "sid", 1000)
    session.ping()
    session.client = "client"
    session.ping()
    await session.send(eio.Packet(eio.NOOP))
    assert flushed == [session.queue, session.queue]


async def test_server_finds_sessions_until_they_are_closed() -> None:
    server = engine()
    session = server.sockets["sid"] = EngineSession(server, "sid", 1000)
    assert server.find_session("sid") is session
    assert server.open_sessions() == [session]
    await session.close()
    assert server.find_session("sid") is None
    assert server.open_sessions() == []


async def test_session_closes_once() -> None:
    server = engine()
    reasons: list[str] = []

    async def disconnect(_sid: str, reason: str) -> None:
        reasons.append(reason)

    server.on("disconnect", disconnect)
    session = server.sockets["sid"] = EngineSession(server, "sid", 1000)
    await asyncio.gather(session.close(reason="one"), session.close(reason="two"))
    session.abort()
    await server.shutdown()
    assert reasons == ["one"]
    assert session.closed
    assert server.sockets == {}


# -- websockets behind ASGI


class AbortableTransport:
    aborted = False

    def abort(self) -> None:
        self.aborted = True


async def test_aborted_websocket_ends_waiting_tasks_and_rejects_later_sends() -> None:
    server = engine()
    transport, sent, stuck = AbortableTransport(), [], asyncio.Event()

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
    ws = AsgiWebSocket(handler, server.websockets)
    serving = asyncio.create_task(
        ws({"asgi.receive": receive, "asgi.send": send, "asgi.scope": scope})
    )
    writing = asyncio.create_task(ws.send("x"))
    await stuck.wait()
    assert server.websockets == {ws}
    ws.abort()
    with pytest.raises(OSError, match="aborted"):
        await writing
    with pytest.raises(OSError, match="aborted"):
        await serving
    with pytest.raises(OSError, match="aborted"):
        await ws.send("y")
    await ws.close()
    assert transport.aborted
    assert server.websockets == set()
    assert "websocket.close" not in sent


async def test_task_that_waits_in_a_websocket_can_be_cancelled() -> None:
    async def forever() -> Any:
        await asyncio.Event().wait()

    ws = AsgiWebSocket(SimpleNamespace(), set())
    ws.asgi_receive = forever
    waiting = asyncio.create_task(ws.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
