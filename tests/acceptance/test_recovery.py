"""The unmodified official client loses its connection, in every way, and misses nothing."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from bridge import create_app
from bridge.gateway.engineio.raw_websocket import keep_transport
from bridge.gateway.gateway import Gateway
from bridge.log.memory import MemoryEventLog
from tests.fakes import FakeSource, FakeTable, build, entry, row, settings
from tests.serving import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope, Send

    from tests.acceptance.conftest import SeedClient, SeedClients, Start


class Line:
    """A TCP proxy on loopback: the network between a client and the server."""

    def __init__(self, target: str) -> None:
        host, port = target.removeprefix("http://").split(":")
        self._target = (host, int(port))
        self._through: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = []
        self._frozen: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """The network is cut: both ends are told."""
        for ends in self._through:
            for writer in ends:
                writer.transport.abort()
        self._through.clear()

    def freeze(self) -> None:
        """The network swallows what goes over the connections of this moment; nobody is told."""
        for ends in self._through:
            self._frozen.update(ends)

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, onward = await asyncio.open_connection(*self._target)
        self._through.append((writer, onward))
        for pair in ((reader, onward), (there, writer)):
            task = asyncio.create_task(self._pump(*pair))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                if writer not in self._frozen:
                    writer.write(data)
        if writer not in self._frozen:
            writer.close()


class Site:
    """A gateway behind a network that can fail."""

    def __init__(self, gateway: Gateway, log: MemoryEventLog, line: Line) -> None:
        self.gateway, self.log, self.line = gateway, log, line
        self.url = line.url
        self.count = 0

    async def publish(self, number: int = 1, region: str = "TX") -> None:
        for _ in range(number):
            self.count += 1
            event = entry(self.count, region).event
            self.gateway.publish((await self.log.append([event], [])).entries)

    def cut(self) -> None:
        """The server ends every connection."""
        for client in list(self.gateway.clients):
            self.gateway.writer.abort(client)


@asynccontextmanager
async def site(**overrides: Any) -> AsyncIterator[Site]:
    configured = settings(**overrides)
    log = MemoryEventLog(configured.log_events, configured.log_seconds)
    gateway = build(configured, log=log)
    inner = Starlette(routes=[Mount("/socket.io", app=gateway)])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        keep_transport(scope, send)
        await inner(scope, receive, send)

    async with served(app, drain=gateway.close) as url:
        line = Line(url)
        await line.open()
        try:
            yield Site(gateway, log, line)
        finally:
            await line.close()


@pytest.fixture
def recovery_client(start_js: Start) -> SeedClients:
    return lambda url, **options: start_js("recovery_client.mjs", url, **options)


async def seqs(client: SeedClient, number: int) -> list[int]:
    return [(await client.event())["data"]["seq"] for _ in range(number)]


ways = pytest.mark.parametrize("way", ["server", "network", "client", "half-open"])
transports = pytest.mark.parametrize("transport", ["polling", "websocket"])


async def lose(site: Site, client: SeedClient, way: str) -> None:
    """The client's connection ends."""
    await asyncio.sleep(0.1)  # until a client that polls has a poll open, which can be cut
    if way == "server":
        site.cut()
    elif way == "network":
        site.line.cut()
    elif way == "half-open":
        site.line.freeze()
        client.tell(drop=True)
    else:
        client.tell(drop=True)


@transports
@ways
async def test_a_lost_connection_costs_nothing(
    recovery_client: SeedClients, transport: str, way: str
) -> None:
    async with site() as here:
        options = {"transports": [transport], "auth": {"regions": ["TX"]}}
        async with recovery_client(here.url, **options) as client:
            sid = (await client.connected())["connected"]
            assert (await client.ack("subscribe", {"regions": ["NV"]}))["ok"]
            await here.publish(3)
            assert await seqs(client, 3) == [1, 2, 3]
            for turn in range(2):  # twice in a row
                await lose(here, client, way)
                await here.publish(2)
                await here.publish(1, "CA")
                await here.publish(1, "NV")
                back = await client.connected()
                assert back["recovered"] is True
                assert back["connected"] == sid
                await here.publish()
                base = 3 + 5 * turn
                assert await seqs(client, 4) == [base + 1, base + 2, base + 4, base + 5]
            assert here.gateway.hub.counts().clients == 1


@transports
@ways
async def test_so_it_is_for_who_got_no_event_before(
    recovery_client: SeedClients, transport: str, way: str
) -> None:
    async with site() as here, recovery_client(here.url, transports=[transport]) as client:
        await client.connected()
        for turn in range(3):
            await lose(here, client, way)
            if turn == 2:
                await here.publish(2)
            assert (await client.connected())["recovered"] is True
        assert await seqs(client, 2) == [1, 2]


@transports
async def test_past_the_window_it_is_a_new_client(
    recovery_client: SeedClients, transport: str
) -> None:
    async with (
        site(recovery_seconds=0.02) as here,
        recovery_client(here.url, transports=[transport]) as client,
    ):
        sid = (await client.connected())["connected"]
        await here.publish()
        assert await seqs(client, 1) == [1]
        await lose(here, client, "client")
        await here.publish(5)
        back = await client.connected()
        assert back["recovered"] is False
        assert back["connected"] != sid
        await here.publish()
        assert await seqs(client, 1) == [7]


async def test_who_leaves_and_comes_is_a_new_client(recovery_client: SeedClients) -> None:
    async with site() as here, recovery_client(here.url) as client:
        await client.connected()
        client.tell(goodbye=True)
        assert (await client.connected())["recovered"] is False


async def test_the_seeds_own_client_gets_what_it_missed(seed_client: SeedClients) -> None:
    """It takes its listeners off on `disconnect` and sets them up again on `connect`."""
    async with site() as here, seed_client(here.url, reconnectionDelay=50) as client:
        await client.connected()
        await here.publish(2)
        assert await seqs(client, 2) == [1, 2]
        await lose(here, client, "network")
        await client.next("disconnected")
        await here.publish(3)
        assert (await client.connected())["recovered"] is True
        assert await seqs(client, 3) == [3, 4, 5]


async def test_a_batch_brings_what_was_missed(recovery_client: SeedClients) -> None:
    async with site() as here, recovery_client(here.url, auth={"batch": True}) as client:
        await client.connected()
        await lose(here, client, "network")
        for key in "ab":
            event = entry(1, "TX", key=key, name="property-created").event
            here.gateway.publish((await here.log.append([event], [])).entries)
        assert (await client.connected())["recovered"] is True
        told = await client.event()
        assert told["event"] == "properties-batch"
        assert [event["data"]["property_id"] for event in told["data"]["events"]] == ["a", "b"]
        assert told["position"] == str(here.log.head)


@transports
@pytest.mark.parametrize("batch", [False, True])
async def test_a_snapshot_and_what_follows_come_to_the_table(
    recovery_client: SeedClients, transport: str, batch: bool
) -> None:
    source = FakeSource()
    table = FakeTable(*(row(f"p{n}", state=("TX", "CA")[n % 2]) for n in range(300)))
    bridge = create_app(settings(snapshot_bytes=4096), source=source, table=table)
    async with served(bridge, drain=bridge.drain) as url:
        options = {"transports": [transport], "auth": {"regions": ["none"], "batch": batch}}
        async with recovery_client(url, **options) as client:
            await client.connected()
            first = await client.event()
            assert first["event"] == "bridge-status"  # its listeners were there before it connected
            assert first["data"]["contract"] == "1.0"

            async def trade(numbers: range) -> None:
                for n in numbers:
                    key = f"p{n % 310}"
                    source.put(table.write(row(key, price=n, state=("TX", "CA")[n % 3 % 2])))
                    if n % 10 == 9:
                        source.put(table.remove(key))
                        await asyncio.sleep(0.01)

            client.tell(snapshot=["TX"])
            trading = asyncio.create_task(trade(range(200)))
            ack = (await client.next("ack"))["ack"]
            assert ack["regions"] == ["none", "TX"]
            await trading
            client.tell(drop=True)
            await trade(range(200, 400))
            assert (await client.connected())["recovered"] is True
            async with asyncio.timeout(5):
                while True:
                    client.tell(show=True)
                    known = (await client.next("known"))["known"]
                    prices = {key: known[key]["price"] for key in known}
                    if prices == {
                        key: its["price"]
                        for key, its in table.contents.items()
                        if its["state"] == "TX"
                    }:
                        break
                    await asyncio.sleep(0.05)
