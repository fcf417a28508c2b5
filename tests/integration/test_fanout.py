"""Faults between a server and thousands of clients, produced over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from bridge.gateway.engineio import raw_websocket as transport
from bridge.gateway.engineio.raw_websocket import HANDOVER
from bridge.gateway.gateway import Gateway
from tests.bench.rig import JS, NODE, install_node
from tests.fakes import build, entry, settings
from tests.serving import served
from tests.unit.gateway.engineio.test_ws_frames import masked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope, Send

UPGRADE = (
    b"GET /socket.io/?EIO=4&transport=websocket%b HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Served:
    """A gateway on a port."""

    def __init__(self, gateway: Gateway, url: str) -> None:
        self.gateway = gateway
        self.url = url
        self.engine = gateway.server.eio
        self.wire = gateway.writer

    @property
    def polling(self) -> str:
        return self.url + "/socket.io/?EIO=4&transport=polling"

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def publish(self, *seqs: int, pad: str = "") -> None:
        self.gateway.hub.publish([entry(seq, "TX", pad=pad, at=time.monotonic()) for seq in seqs])

    async def until(self, clients: int) -> None:
        async with asyncio.timeout(20):
            while self.gateway.hub.counts().clients != clients:
                await asyncio.sleep(0.005)

    async def nothing_open(self) -> None:
        """Wait until no connection is open."""
        until = time.monotonic() + 20
        while self.engine.websockets or self.engine.sockets:
            open_now = (len(self.engine.websockets), len(self.engine.sockets))
            assert time.monotonic() < until, f"{open_now} websockets and sessions are still open"
            await asyncio.sleep(0.005)


@asynccontextmanager
async def gateway(
    client_bytes: int = 1_000_000, wrap: Any = None, *, drain: bool = True, **options: Any
) -> AsyncIterator[Served]:
    gate = build(settings(client_bytes=client_bytes))
    app = wrap(gate) if wrap is not None else gate
    closing = gate.close if drain else None
    async with served(app, lifespan="off", drain=closing, **options) as url:
        yield Served(gate, url)
    await gate.close()


class Raw:
    """A websocket client that sends exactly the bytes of the test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, text: str) -> None:
        self.writer.write(masked(text.encode()))

    async def frame(self) -> tuple[int, bytes]:
        async with asyncio.timeout(10):
            first, size = await self.reader.readexactly(2)
            if size > 125:
                width = 2 if size == 126 else 8
                size = int.from_bytes(await self.reader.readexactly(width), "big")
            return first & 15, await self.reader.readexactly(size)

    async def text(self) -> str:
        """Return the next packet that is neither a status nor a ping."""
        while True:
            opcode, payload = await self.frame()
            assert opcode == 1, (opcode, payload)
            text = payload.decode()
            if not text.startswith(('42["bridge-status"', "2")):
                return text

    async def seq(self) -> int:
        seq: int = json.loads((await self.text())[2:])[1]["data"]["seq"]
        return seq

    @property
    def socket(self) -> socket.socket:
        its: socket.socket = self.writer.get_extra_info("socket")
        return its


@asynccontextmanager
async def opened(server: Served, sid: str = "", limit: int = 2**16) -> AsyncIterator[Raw]:
    """A websocket that was accepted; `sid` is the session that it is to be an upgrade of."""
    sock = socket.create_connection(("127.0.0.1", server.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=limit)
    writer.write(UPGRADE % (f"&sid={sid}".encode() if sid else b""))
    answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 101 "), answer
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def connected(server: Served, **options: Any) -> AsyncIterator[Raw]:
    async with opened(server, **options) as raw:
        assert (await raw.text()).startswith("0{")
        raw.send('40{"regions":["TX"]}')
        assert (await raw.text()).startswith("40{")
        yield raw


# -- upgrades


async def test_upgrades_under_load_lose_and_repeat_nothing_without_a_reconnect() -> None:
    """100 official clients upgrade from polling to websockets at 200 events a second."""
    assert install_node(), "Node comes with the development dependencies"
    async with gateway() as server:
        assert NODE is not None
        fleet = await asyncio.create_subprocess_exec(
            NODE / "bin" / "node",
            JS / "fleet.mjs",
            server.url,
            "100",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert fleet.stdout is not None
        assert fleet.stdin is not None
        upgraded = asyncio.create_task(fleet.stdout.readline())
        seq, start = 0, time.monotonic()
        try:
            async with asyncio.timeout(60):
                end = None
                while end is None or time.monotonic() < end:
                    server.publish(seq)
                    seq += 1
                    if end is None and upgraded.done():
                        assert json.loads(upgraded.result()) == {"upgraded": 100}
                        end = time.monotonic() + 1
                    await asyncio.sleep(max(0.0, start + seq / 200 - time.monotonic()))
                report = {"behind": -1}
                while report["behind"] < seq - 1:
                    fleet.stdin.write(b"?\n")
                    report = json.loads(await fleet.stdout.readline())
        finally:
            fleet.kill()
            await fleet.wait()
        wrong = {key: report[key] for key in ("gaps", "repeats", "reconnects")}
        assert wrong == {"gaps": 0, "repeats": 0, "reconnects": 0}
        assert report["websockets"] == 100
        assert report["events"] > 100 * 200
        assert server.gateway.slow_clients_closed == 0


async def test_waiting_poll_is_answered_when_its_client_upgrades() -> None:
    async with gateway() as server, aiohttp.ClientSession() as http:
        async with http.get(server.polling) as response:
            sid = json.loads((await response.text())[1:])["sid"]
        poll = f"{server.polling}&sid={sid}"
        async with http.post(poll, data='40{"regions":["TX"]}') as response:
            assert response.status == 200
        async with http.get(poll) as response:
            assert (await response.text()).startswith("40{")

        async def get() -> str:
            async with http.get(poll) as response:
                return await response.text()

        async with asyncio.timeout(20), opened(server, sid) as raw:
            waiting = asyncio.create_task(get())
            await asyncio.sleep(0.05)
            server.publish(1)
            assert '"seq":1' in await waiting
            stray = asyncio.create_task(get())
            await asyncio.sleep(0.05)
            raw.send("2probe")
            assert await raw.text() == "3probe"
            assert await stray == "6"
            server.publish(2)  # polls go on until the websocket is chosen
            assert '"seq":2' in await get()
            server.publish(3)
            raw.send("5")
            assert await raw.seq() == 3
            server.publish(4)
            assert await raw.seq() == 4


@pytest.mark.parametrize("end", ["3probe", "40", "close"])
async def test_abandoned_upgrade_leaves_the_client_polling(end: str) -> None:
    async with gateway() as server, aiohttp.ClientSession() as http:
        async with http.get(server.polling) as response:
            sid = json.loads((await response.text())[1:])["sid"]
        poll = f"{server.polling}&sid={sid}"
        async with http.post(poll, data='40{"regions":["TX"]}') as response:
            assert response.status == 200
        async with opened(server, sid) as raw:
            raw.send("2probe")
            assert (await raw.frame())[1] == b"3probe"
            server.publish(1)
            if end != "close":
                raw.send(end)
                assert (await raw.frame())[0] == 8
        async with asyncio.timeout(20):
            while server.engine.sockets[sid].upgrading:
                await asyncio.sleep(0.005)
        async with http.get(poll) as response:
            assert '"seq":1' in await response.text()


# -- order


async def test_acks_and_single_events_keep_their_place_among_broadcasts() -> None:
    async with gateway() as server, connected(server) as one, connected(server) as other:
        await server.until(2)
        first = next(iter(server.gateway.clients))
        for turn in range(20):
            at = turn * 10
            server.publish(at, at + 1)
            server.wire.send_event(first, "direct", b'{"data":{"seq":%d}}' % (at + 2), None)
            server.publish(at + 3)
            server.wire.send_packet(first, f"3{turn}[]")
            server.publish(at + 4)
            if turn % 3 == 0:
                await asyncio.sleep(0)
            if turn % 3 == 1:
                server.wire.flush()
        for turn in range(20):
            at = turn * 10
            assert [await one.seq() for _ in range(4)] == [at, at + 1, at + 2, at + 3]
            assert await one.text() == f"43{turn}[]"
            assert await one.seq() == at + 4
            assert [await other.seq() for _ in range(4)] == [at, at + 1, at + 3, at + 4]


async def test_ack_follows_everything_sent_before_it() -> None:
    async with gateway() as server, connected(server) as one:
        for turn in range(50):
            one.send(f'42{turn}["subscribe",{{"regions":["TX"]}}]')
            server.publish(turn)
            assert await one.seq() == turn
            assert (await one.text()).startswith(f"43{turn}[")


# -- clients that are slow, and bursts


async def test_burst_disconnects_only_slow_clients() -> None:
    async with (
        gateway(client_bytes=500_000) as server,
        connected(server) as healthy,
        connected(server, limit=1024) as stalled,
    ):
        stalled.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await server.until(2)
        server.publish(
            *range(8000), pad="x" * 1000
        )  # many times the bound, and what systems buffer
        assert [await healthy.seq() for _ in range(8000)] == list(range(8000))
        await server.until(1)
        assert server.gateway.slow_clients_closed == 1
        server.publish(8000)
        assert await healthy.seq() == 8000


async def test_a_stalled_client_costs_the_others_nothing() -> None:
    async with gateway(client_bytes=300_000) as server, connected(server, limit=1024) as stalled:
        stalled.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        late: list[list[float]] = [[], []]
        async with connected(server) as one, connected(server) as other:
            await server.until(3)

            async def listen(raw: Raw) -> None:
                for _ in range(800):
                    told = json.loads((await raw.text())[2:])[1]["data"]
                    late[told["seq"] >= 400].append(time.monotonic() - told["at"])

            async with asyncio.timeout(20), asyncio.TaskGroup() as listening:
                listening.create_task(listen(one))
                listening.create_task(listen(other))
                start = time.monotonic()
                for seq in range(800):
                    if seq == 400:
                        stalled.writer.transport.pause_reading()  # type: ignore[attr-defined]
                    server.publish(seq, pad="x" * 20_000)
                    await asyncio.sleep(max(0.0, start + seq / 200 - time.monotonic()))
            await server.until(2)
        before, after = (sorted(times)[len(times) * 99 // 100] for times in late)
        assert after < before * 2 + 0.02, (before, after)
        assert server.gateway.slow_clients_closed == 1


async def test_queue_of_a_stalled_client_shares_the_frames_of_others() -> None:
    """The queue holds references; only the transport's buffer is a copy of its own."""
    async with gateway(client_bytes=10**9) as server:
        async with connected(server, limit=1024) as one, connected(server, limit=1024) as two:
            for raw in (one, two):
                raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await server.until(2)
            server.publish(*range(20_000), pad="x" * 1000)
            await asyncio.sleep(0.05)
            first, second = (its.queue for its in server.engine.sockets.values())
            assert first.queued_bytes > 5_000_000
            assert len(set(first._queued) & set(second._queued)) > 50
            for box in (first, second):
                assert box.unsent - box.queued_bytes < 300_000
        await server.nothing_open()


# -- ends


async def test_client_without_a_pong_is_disconnected() -> None:
    async with gateway() as server:
        server.engine.ping_interval = server.engine.ping_timeout = 0.2
        async with connected(server) as silent, connected(server) as awake:
            await server.until(2)

            async def answer() -> None:
                while True:
                    assert (await awake.frame())[1] in (b"2", b"1"), "no ping"
                    awake.send("3")

            answering = asyncio.create_task(answer())
            await server.until(1)
            async with asyncio.timeout(20):
                while not silent.reader.at_eof():
                    await silent.reader.read(1000)
            await asyncio.sleep(0.5)
            assert server.gateway.hub.counts().clients == 1
            answering.cancel()


@pytest.mark.parametrize("how", ["reset", "half", "closed"])
async def test_broadcast_to_a_lost_connection_is_harmless(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with gateway() as server, connected(server) as healthy:
        for turn in range(5):
            async with connected(server) as gone:
                await server.until(2)
                if how == "reset":
                    gone.socket.setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
                    gone.writer.transport.abort()
                elif how == "half":
                    gone.writer.write_eof()
                else:
                    gone.writer.write(masked(b"\x03\xe8", 8))
                for n in range(20):
                    server.publish(turn * 20 + n, pad="x" * 10_000)
                    if n % 3 == 0:
                        await asyncio.sleep(0)
                assert [await healthy.seq() for _ in range(20)] == list(
                    range(turn * 20, turn * 20 + 20)
                )
                await server.until(1)
        assert len(server.engine.websockets) == 1
    assert [record for record in caplog.records if record.levelname != "INFO"] == []


async def test_a_half_closed_connection_that_is_not_read_does_not_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport, "CLOSE_SECONDS", 0.2)
    async with gateway() as server, connected(server, limit=1024) as stalled:
        stalled.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await server.until(1)
        server.publish(*range(5000), pad="x" * 2000)
        await asyncio.sleep(0.1)
        stalled.writer.write_eof()
        await server.nothing_open()


@pytest.mark.parametrize(
    "data", [b"\x81\x00", masked(b"x"), masked(b"\xff"), masked(b"y" * 70_000)]
)
async def test_connection_with_malformed_frames_is_closed(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "CLOSE_SECONDS", 0.2)
    async with gateway() as server, connected(server) as one:
        one.writer.write(data)
        await server.until(0)
        await server.nothing_open()


@pytest.mark.parametrize("drain", [True, False])
async def test_stopping_server_closes_its_connections(drain: bool) -> None:
    """By draining, as `bridge serve` does, and by uvicorn's shutdown of each connection."""
    async with gateway(drain=drain) as server, connected(server) as one:
        await server.until(1)
        server.publish(1)
        server.publish(2)
        stopping = asyncio.create_task(server.gateway.close() if drain else asyncio.sleep(0))
        if not drain:
            await stopping
            [line] = server.engine.websockets
            line.shutdown()  # as uvicorn calls it
        assert [(await one.frame())[0] for _ in range(3)] == [1, 1, 8]
        await stopping
        await server.nothing_open()


# -- other servers


def _wrapping(app: Any) -> Any:
    """Middleware that inspects everything that is sent, so it removes the handover."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        scope.get("extensions", {}).pop(HANDOVER, None)

        async def seen(message: Any) -> None:
            await send(message)

        await app(scope, receive, seen)

    return wrapped


@pytest.mark.parametrize(
    "options",
    [
        {"ws": "websockets-sansio"},
        {"ws": "wsproto"},
        {"ws_per_message_deflate": True},
        {"wrap": _wrapping},
    ],
    ids=["stock", "wsproto", "deflate", "wrapped"],
)
async def test_gateway_works_without_a_handover(options: dict[str, Any]) -> None:
    async with (
        gateway(**options) as server,
        aiohttp.ClientSession() as http,
        http.ws_connect(server.url + "/socket.io/?EIO=4&transport=websocket", compress=15) as ws,
    ):
        assert (await ws.receive_str()).startswith("0{")
        await ws.send_str('40{"regions":["TX"]}')
        assert (await ws.receive_str()).startswith("40{")
        server.publish(*range(100))
        for seq in range(100):
            assert f'"seq":{seq},' in await ws.receive_str()
        await ws.send_str('421["subscribe",{"regions":["CA"]}]')
        assert (await ws.receive_str()).startswith("431[")
        assert [type(line).__name__ for line in server.engine.websockets] == ["AsgiWebSocket"]
        await ws.close()
        await server.nothing_open()
