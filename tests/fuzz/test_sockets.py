"""Attacks that need real sockets: clients that do not read, do not send, or announce too much."""

from __future__ import annotations

import asyncio
import logging
import random
import resource
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from bridge import create_app
from bridge.gateway.engineio import raw_websocket, session
from bridge.gateway.engineio import ws_frames as frames
from bridge.server import websocket_protocol
from tests.fakes import FakeSource, FakeTable, entry, row, settings
from tests.fuzz.client_attacks import packet
from tests.fuzz.http_attacks import request
from tests.fuzz.inputs import mutate_bytes, utf8
from tests.fuzz.target import HANDSHAKE, NO_LIMITS, FaultLog
from tests.raw_client import client
from tests.serving import served
from tests.unit.gateway.engineio.test_ws_frames import masked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge import Bridge


UNUSUAL = HANDSHAKE.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: x\r\n\r\n")
"""A handshake whose websocket is not taken over."""

FLOODS = 3
ITERATIONS = 20
"""Maximum iterations of the event loop that one HTTP request takes, client included."""


class ServedBridge:
    def __init__(self, bridge: Bridge, url: str) -> None:
        self.bridge = bridge
        self.url = url
        host, port = url.removeprefix("http://").split(":")
        self.address = (host, int(port))

    @property
    def gateway(self) -> Any:
        running = self.bridge._running
        assert running is not None
        return running.gateway

    async def websocket(self, handshake: bytes = HANDSHAKE) -> socket.socket:
        """Open a websocket with a small receive buffer."""
        loop = asyncio.get_running_loop()
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await loop.sock_connect(client, self.address)
        await loop.sock_sendall(client, handshake)
        async with asyncio.timeout(20):
            assert (await loop.sock_recv(client, 300)).startswith(b"HTTP/1.1 101 ")
        return client

    async def websockets(self, number: int) -> None:
        """Wait until so many websockets are open."""
        async with asyncio.timeout(10):
            while len(self.gateway.server.eio.websockets) != number:
                await asyncio.sleep(0.01)

    def unsent(self) -> int:
        return sum(websocket.unsent for websocket in self.gateway.server.eio.websockets)


@asynccontextmanager
async def served_bridge(**overrides: Any) -> AsyncIterator[ServedBridge]:
    bridge = create_app(
        settings(**{**NO_LIMITS, **overrides}), source=FakeSource(), table=FakeTable(row("a"))
    )
    async with served(bridge, drain=bridge.drain, proxy_headers=False) as url:
        async with asyncio.timeout(10):
            while not bridge.operations.readiness().ready:
                await asyncio.sleep(0.01)
        yield ServedBridge(bridge, url)


async def test_compression_is_not_negotiated_and_compressed_frames_are_rejected() -> None:
    offer = HANDSHAKE.replace(
        b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    )
    async with served_bridge() as target:
        reader, writer = await asyncio.open_connection(*target.address)
        writer.write(offer)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"sec-websocket-extensions" not in head.lower()
        bomb = bytearray(masked(b"\x00" * 100))
        bomb[0] |= 0x40  # compressed
        writer.write(bomb)
        async with asyncio.timeout(20):
            assert (await reader.read()).endswith(frames.close(frames.PROTOCOL_ERROR))
        writer.close()


@pytest.mark.parametrize("size", [65_537, 2**31, 2**63 - 1, 2**64 - 1])
async def test_frame_over_the_limit_is_rejected_with_its_header(size: int) -> None:
    async with served_bridge() as target:
        reader, writer = await asyncio.open_connection(*target.address)
        writer.write(HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x81\xff" + size.to_bytes(8, "big") + b"mask")
        async with asyncio.timeout(20):
            assert (await reader.read()).endswith(frames.close(frames.TOO_BIG))
        writer.close()


async def test_client_that_pings_and_does_not_read_fills_no_buffer() -> None:
    async with served_bridge() as target:
        flood = await target.websocket()
        loop = asyncio.get_running_loop()
        pings = masked(b"x" * 125, frames.PING) * 1000
        with flood:
            for _ in range(60):  # 8 MB of pings; the pongs are not read
                async with asyncio.timeout(10):
                    await loop.sock_sendall(flood, pings)
            await asyncio.sleep(0.1)
            assert target.unsent() < 512 * 1024
        await target.websockets(0)


async def send_endlessly(client: socket.socket, data: bytes) -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(30):
        while True:
            await loop.sock_sendall(client, data)


async def test_slow_client_that_sends_requests_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "THROTTLE_SECONDS", 0)  # otherwise it takes minutes
    async with served_bridge(client_bytes=65_536) as target:
        flood = await target.websocket()
        loop = asyncio.get_running_loop()
        requests = masked(b'421["subscribe",{"regions":1}]') * 500
        with flood:
            await loop.sock_sendall(flood, masked(b"40"))
            with pytest.raises(ConnectionError):
                await send_endlessly(flood, requests)
            assert target.unsent() < 1024 * 1024
        await target.websockets(0)


async def test_connections_without_a_socketio_handshake_are_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with served_bridge() as target:
        monkeypatch.setattr(target.gateway.server, "_connect_seconds", 0.05)
        # Nor do they answer a close frame.
        monkeypatch.setattr(raw_websocket, "CLOSE_SECONDS", 0.05)
        silent = [await target.websocket() for _ in range(50)]
        try:
            await target.websockets(0)
            assert target.bridge.admission.connections.total == 0
        finally:
            for each in silent:
                each.close()


class Work:
    """Counts the bytes that the server reads of websockets, and the messages that it handles."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes = 0
        self.messages = 0
        for protocol in (raw_websocket.RawWebSocket, websocket_protocol.WebSocketProtocol):
            monkeypatch.setattr(protocol, "data_received", self._counting(protocol.data_received))
        receive = session.EngineSession.receive

        async def counted_receive(session: Any, pkt: Any) -> None:
            self.messages += 1
            await receive(session, pkt)

        monkeypatch.setattr(session.EngineSession, "receive", counted_receive)

    def _counting(self, data_received: Any) -> Any:
        def counted_data_received(protocol: Any, data: bytes) -> None:
            self.bytes += len(data)
            data_received(protocol, data)

        return counted_data_received

    async def of_a_request(self, http: aiohttp.ClientSession, url: str) -> tuple[int, int]:
        """Return both counts while one HTTP request is served."""
        self.bytes = self.messages = 0
        async with asyncio.timeout(30), http.get(url + "/livez") as response:
            assert response.status == 200
        return self.bytes, self.messages


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(masked(b"", frames.PING), id="pings"),
        pytest.param(masked(b"3"), id="Engine.IO pongs"),
        pytest.param(masked(b'42["x"]'), id="unknown events"),
        pytest.param(masked(b'421["subscribe"]'), id="requests"),
        pytest.param(masked(b'40{"token":"x"}'), id="tokens"),
        pytest.param(masked(b"40") + masked(b"41"), id="connects and disconnects"),
    ],
)
@pytest.mark.parametrize("handshake", [HANDSHAKE, UNUSUAL], ids=["ours", "uvicorn's"])
async def test_flooding_clients_do_not_delay_a_request(
    monkeypatch: pytest.MonkeyPatch, message: bytes, handshake: bytes
) -> None:
    work = Work(monkeypatch)
    async with served_bridge() as target, aiohttp.ClientSession() as http:
        floods = [await target.websocket(handshake) for _ in range(FLOODS)]
        loop = asyncio.get_running_loop()
        for flood in floods:
            await loop.sock_sendall(flood, masked(b"40"))
        sending = [asyncio.create_task(send_endlessly(flood, message * 20_000)) for flood in floods]
        try:
            await asyncio.sleep(0.2)
            for _ in range(10):
                # At most one read of 4 KB and one message per flood and iteration of the loop.
                read, messages = await work.of_a_request(http, target.url)
                assert read <= ITERATIONS * FLOODS * 4096
                assert messages <= ITERATIONS * FLOODS
        finally:
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)
            for flood in floods:
                flood.close()


async def attack_once(target: ServedBridge, dice: random.Random) -> None:
    """Open one connection, send random packets or a random request, and abort it."""
    reader, writer = await asyncio.open_connection(*target.address)
    try:
        if dice.random() < 0.5:
            writer.write(HANDSHAKE)
            await reader.readuntil(b"\r\n\r\n")
            for _ in range(dice.randrange(1, 10)):
                sent = packet(dice)
                frame = masked(sent if isinstance(sent, bytes) else utf8(sent))
                writer.write(mutate_bytes(dice, frame) if dice.random() < 0.1 else frame)
        else:
            writer.write(request(dice))
        if dice.random() < 0.5:
            await writer.drain()
        if dice.random() < 0.3:
            async with asyncio.timeout(0.05):
                await reader.read(100)
    except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
        pass  # closed by the server
    finally:
        writer.transport.abort()


async def test_attacking_clients_do_not_affect_a_well_behaved_one() -> None:
    log, dice = FaultLog(), random.Random(7)
    logging.getLogger().addHandler(log)
    try:
        async with (
            served_bridge() as target,
            client(target.url, auth={"regions": ["OBSERVER"]}) as observer,
        ):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            for number in range(1, 31):
                await asyncio.gather(*(attack_once(target, dice) for _ in range(20)))
                target.gateway.hub.publish([entry(number, "OBSERVER"), entry(-number, "TX")])
            assert await observer.until_seqs(30) == list(range(1, 31))
            await target.websockets(1)
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
            async with client(target.url) as newcomer, aiohttp.ClientSession() as http:
                assert (await newcomer.request("subscribe", {"snapshot": True}))["ok"]
                async with http.get(target.url + "/readyz") as response:
                    assert response.status == 200
    finally:
        logging.getLogger().removeHandler(log)
    assert log.faults == []
