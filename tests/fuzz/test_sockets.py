"""What takes real sockets: clients that read nothing, say nothing, or promise too much."""

from __future__ import annotations

import asyncio
import random
import resource
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from bridge import create_app
from bridge.gateway.engineio import raw_websocket as transport
from bridge.gateway.engineio import session
from bridge.gateway.engineio import ws_frames as frames
from tests.fakes import FakeSource, FakeTable, entry, row, settings
from tests.fuzz.client_attacks import packet
from tests.fuzz.http_attacks import request
from tests.fuzz.material import flipped, utf8
from tests.fuzz.stand import HANDSHAKE, ROOMY, Notes
from tests.raw_client import client
from tests.serving import served
from tests.unit.gateway.engineio.test_ws_frames import masked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge import Bridge


UNUSUAL = HANDSHAKE.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: x\r\n\r\n")
"""A handshake whose websocket is not taken over."""

PATIENCE = 0.5
"""Seconds to an answer, while clients say as much as they can in the same process."""


class Here:
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
        """A websocket that reads little at a time."""
        loop = asyncio.get_running_loop()
        it = socket.socket()
        it.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        it.setblocking(False)
        await loop.sock_connect(it, self.address)
        await loop.sock_sendall(it, handshake)
        async with asyncio.timeout(5):
            assert (await loop.sock_recv(it, 300)).startswith(b"HTTP/1.1 101 ")
        return it

    async def lines(self, number: int) -> None:
        async with asyncio.timeout(10):
            while len(self.gateway.server.eio.websockets) != number:
                await asyncio.sleep(0.01)

    def unsent(self) -> int:
        return sum(line.unsent for line in self.gateway.server.eio.websockets)


@asynccontextmanager
async def here(**overrides: Any) -> AsyncIterator[Here]:
    bridge = create_app(
        settings(**{**ROOMY, **overrides}), source=FakeSource(), table=FakeTable(row("a"))
    )
    async with served(bridge, drain=bridge.drain, proxy_headers=False) as url:
        async with asyncio.timeout(10):
            while not bridge.operations.readiness().ready:
                await asyncio.sleep(0.01)
        yield Here(bridge, url)


async def test_compression_is_not_agreed_on_and_compressed_frames_end_the_connection() -> None:
    offer = HANDSHAKE.replace(
        b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    )
    async with here() as it:
        reader, writer = await asyncio.open_connection(*it.address)
        writer.write(offer)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"sec-websocket-extensions" not in head.lower()
        bomb = bytearray(masked(b"\x00" * 100))
        bomb[0] |= 0x40  # compressed
        writer.write(bomb)
        async with asyncio.timeout(5):
            assert (await reader.read()).endswith(frames.close(frames.PROTOCOL_ERROR))
        writer.close()


@pytest.mark.parametrize("size", [65_537, 2**31, 2**63 - 1, 2**64 - 1])
async def test_a_frame_that_promises_too_much_is_refused_before_it_comes(size: int) -> None:
    async with here() as it:
        reader, writer = await asyncio.open_connection(*it.address)
        writer.write(HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x81\xff" + size.to_bytes(8, "big") + b"mask")
        async with asyncio.timeout(5):
            assert (await reader.read()).endswith(frames.close(frames.TOO_BIG))
        writer.close()


async def test_who_pings_and_reads_nothing_fills_no_buffer() -> None:
    async with here() as it:
        flood = await it.websocket()
        loop = asyncio.get_running_loop()
        pings = masked(b"x" * 125, frames.PING) * 1000
        with flood:
            for _ in range(60):  # 8 MB of pings, whose answers nobody reads
                async with asyncio.timeout(10):
                    await loop.sock_sendall(flood, pings)
            await asyncio.sleep(0.1)
            assert it.unsent() < 512 * 1024
        await it.lines(0)


async def endlessly(it: socket.socket, data: bytes) -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(30):
        while True:
            await loop.sock_sendall(it, data)


async def test_who_asks_and_reads_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "THROTTLE_SECONDS", 0)  # else it takes minutes
    async with here(client_bytes=65_536) as it:
        flood = await it.websocket()
        loop = asyncio.get_running_loop()
        asks = masked(b'421["subscribe",{"regions":1}]') * 500
        with flood:
            await loop.sock_sendall(flood, masked(b"40"))
            with pytest.raises(ConnectionError):
                await endlessly(flood, asks)
            assert it.unsent() < 1024 * 1024
        await it.lines(0)


async def test_who_says_nothing_after_its_handshake_is_parted_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with here() as it:
        monkeypatch.setattr(it.gateway.server, "_connect_seconds", 0.05)
        monkeypatch.setattr(transport, "CLOSE_SECONDS", 0.05)  # nor does it say goodbye
        quiet = [await it.websocket() for _ in range(50)]
        try:
            await it.lines(0)
            assert it.bridge.admission.connections.total == 0
        finally:
            for each in quiet:
                each.close()


async def seconds_to_answer(it: Here, times: int = 10) -> float:
    """The longest that somebody else waited for an answer."""
    loop = asyncio.get_running_loop()
    longest = 0.0
    async with aiohttp.ClientSession() as http:
        for _ in range(times):
            began = loop.time()
            async with http.get(it.url + "/livez") as response:
                assert response.status == 200
            longest = max(longest, loop.time() - began)
    return longest


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(masked(b"", frames.PING), id="pings"),
        pytest.param(masked(b"3"), id="pongs of Engine.IO"),
        pytest.param(masked(b'42["x"]'), id="events that nobody knows"),
        pytest.param(masked(b'421["subscribe"]'), id="requests"),
        pytest.param(masked(b'40{"token":"x"}'), id="tokens"),
        pytest.param(masked(b"40") + masked(b"41"), id="comings and goings"),
    ],
)
@pytest.mark.parametrize("handshake", [HANDSHAKE, UNUSUAL], ids=["ours", "uvicorn's"])
async def test_who_says_very_much_keeps_nobody_waiting(message: bytes, handshake: bytes) -> None:
    async with here() as it:
        floods = [await it.websocket(handshake) for _ in range(3)]
        loop = asyncio.get_running_loop()
        try:
            for flood in floods:
                await loop.sock_sendall(flood, masked(b"40"))
            sending = [asyncio.create_task(endlessly(flood, message * 20_000)) for flood in floods]
            await asyncio.sleep(0.2)
            assert await seconds_to_answer(it) < PATIENCE
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)
        finally:
            for flood in floods:
                flood.close()


async def hostile(it: Here, dice: random.Random) -> None:
    """One connection that says what comes to mind, and goes when it is tired or thrown out."""
    reader, writer = await asyncio.open_connection(*it.address)
    try:
        if dice.random() < 0.5:
            writer.write(HANDSHAKE)
            await reader.readuntil(b"\r\n\r\n")
            for _ in range(dice.randrange(1, 10)):
                said = packet(dice)
                it_is = masked(said if isinstance(said, bytes) else utf8(said))
                writer.write(flipped(dice, it_is) if dice.random() < 0.1 else it_is)
        else:
            writer.write(request(dice))
        if dice.random() < 0.5:
            await writer.drain()
        if dice.random() < 0.3:
            async with asyncio.timeout(0.05):
                await reader.read(100)
    except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
        pass  # thrown out
    finally:
        writer.transport.abort()


async def test_a_crowd_of_hostile_clients_is_not_noticed_by_one_who_behaves() -> None:
    import logging

    notes, dice = Notes(), random.Random(7)
    logging.getLogger().addHandler(notes)
    try:
        async with here() as it, client(it.url, auth={"regions": ["WITNESS"]}) as witness:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            for number in range(1, 31):
                await asyncio.gather(*(hostile(it, dice) for _ in range(20)))
                it.gateway.hub.publish([entry(number, "WITNESS"), entry(-number, "TX")])
            assert await witness.until(30) == list(range(1, 31))
            await it.lines(1)
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
            async with client(it.url) as newcomer, aiohttp.ClientSession() as http:
                assert (await newcomer.ask("subscribe", {"snapshot": True}))["ok"]
                async with http.get(it.url + "/readyz") as response:
                    assert response.status == 200
    finally:
        logging.getLogger().removeHandler(notes)
    assert notes.faults == []
