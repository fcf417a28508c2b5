"""The official client, unmodified, recovers every event after every kind of disconnect."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
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
from tests.support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope, Send

    from tests.acceptance.conftest import SeedClient, SeedClients, Start


class ProxiedGateway:
    """A gateway behind a TCP proxy that can fail."""

    def __init__(self, gateway: Gateway, log: MemoryEventLog, proxy: TcpProxy) -> None:
        self.gateway, self.log, self.proxy = gateway, log, proxy
        self.url = proxy.url
        self.count = 0

    async def publish(self, number: int = 1, region: str = "TX") -> None:
        for _ in range(number):
            self.count += 1
            event = entry(self.count, region).event
            self.gateway.publish((await self.log.append([event], [])).entries)

    def cut(self) -> None:
        """End every connection on the server's side."""
        for client in list(self.gateway.clients):
            self.gateway.writer.abort(client)


@asynccontextmanager
async def proxied(**overrides: Any) -> AsyncIterator[ProxiedGateway]:
    configured = settings(**overrides)
    log = MemoryEventLog(configured.log_events, configured.log_seconds)
    gateway = build(configured, log=log)
    inner = Starlette(routes=[Mount("/socket.io", app=gateway)])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        keep_transport(scope, send)
        await inner(scope, receive, send)

    async with (
        served(app, drain=gateway.close) as url,
        TcpProxy.open(int(url.rpartition(":")[2])) as proxy,
    ):
        yield ProxiedGateway(gateway, log, proxy)


@pytest.fixture
def recovery_client(start_js: Start) -> SeedClients:
    return lambda url, **options: start_js("recovery_client.mjs", url, **options)


async def seqs(client: SeedClient, number: int) -> list[int]:
    return [(await client.event())["data"]["seq"] for _ in range(number)]


ways = pytest.mark.parametrize(
    "way",
    [
        "server",
        pytest.param("network", marks=pytest.mark.once),
        pytest.param("client", marks=pytest.mark.once),
        pytest.param("half-open", marks=pytest.mark.once),
    ],
)
transports = pytest.mark.parametrize("transport", ["polling", "websocket"])


async def disconnect(here: ProxiedGateway, client: SeedClient, way: str) -> None:
    """End the client's connection."""
    await asyncio.sleep(0.1)  # until a polling client has an open poll, which can be cut
    if way == "server":
        here.cut()
    elif way == "network":
        here.proxy.reset()
    elif way == "half-open":
        here.proxy.half_open()
        client.command(drop=True)
    else:
        client.command(drop=True)


@transports
@ways
async def test_client_recovers_every_event_after_a_disconnect(
    recovery_client: SeedClients, transport: str, way: str
) -> None:
    async with proxied() as here:
        options = {"transports": [transport], "auth": {"regions": ["TX"]}}
        async with recovery_client(here.url, **options) as client:
            sid = (await client.connected())["connected"]
            assert (await client.ack("subscribe", {"regions": ["NV"]}))["ok"]
            await here.publish(3)
            assert await seqs(client, 3) == [1, 2, 3]
            for turn in range(2):  # twice in a row
                await disconnect(here, client, way)
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


@pytest.mark.once
@transports
@ways
async def test_client_without_an_earlier_event_recovers(
    recovery_client: SeedClients, transport: str, way: str
) -> None:
    async with proxied() as here, recovery_client(here.url, transports=[transport]) as client:
        await client.connected()
        for turn in range(3):
            await disconnect(here, client, way)
            if turn == 2:
                await here.publish(2)
            assert (await client.connected())["recovered"] is True
        assert await seqs(client, 2) == [1, 2]


@pytest.mark.once
@transports
async def test_client_is_fresh_beyond_the_recovery_window(
    recovery_client: SeedClients, transport: str
) -> None:
    async with (
        proxied(recovery_seconds=0.02) as here,
        recovery_client(here.url, transports=[transport]) as client,
    ):
        sid = (await client.connected())["connected"]
        await here.publish()
        assert await seqs(client, 1) == [1]
        await disconnect(here, client, "client")
        await here.publish(5)
        back = await client.connected()
        assert back["recovered"] is False
        assert back["connected"] != sid
        await here.publish()
        assert await seqs(client, 1) == [7]


@pytest.mark.once
@transports
async def test_client_that_disconnects_itself_is_fresh(
    recovery_client: SeedClients, transport: str
) -> None:
    """Without an upgrade: during one, the official client sends its disconnect packet only after
    the upgrade, which may be after its next handshake.
    """
    async with (
        proxied() as here,
        recovery_client(here.url, transports=[transport]) as client,
    ):
        await client.connected()
        client.command(goodbye=True)
        assert (await client.connected())["recovered"] is False


@pytest.mark.once
async def test_seed_client_receives_missed_events(seed_client: SeedClients) -> None:
    """The client removes its listeners on `disconnect` and adds them on `connect`. It does not
    upgrade: if the network ends during an upgrade, the official client detects it by the ping
    timeout, 45 s later.
    """
    options = {"reconnectionDelay": 50, "transports": ["websocket"]}
    async with proxied() as here, seed_client(here.url, **options) as client:
        await client.connected()
        await here.publish(2)
        assert await seqs(client, 2) == [1, 2]
        await disconnect(here, client, "network")
        await client.next("disconnected")
        await here.publish(3)
        assert (await client.connected())["recovered"] is True
        assert await seqs(client, 3) == [3, 4, 5]


@pytest.mark.once
async def test_batching_client_receives_missed_events_in_a_batch(
    recovery_client: SeedClients,
) -> None:
    options = {"auth": {"batch": True}, "transports": ["websocket"]}
    async with proxied() as here, recovery_client(here.url, **options) as client:
        await client.connected()
        await disconnect(here, client, "network")
        for key in "ab":
            event = entry(1, "TX", key=key, name="property-created").event
            here.gateway.publish((await here.log.append([event], [])).entries)
        assert (await client.connected())["recovered"] is True
        received = await client.event()
        assert received["event"] == "properties-batch"
        assert [event["data"]["property_id"] for event in received["data"]["events"]] == ["a", "b"]
        assert received["position"] == str(here.log.head)


@pytest.mark.once
@transports
@pytest.mark.parametrize("batch", [False, True])
async def test_snapshot_and_later_events_converge_to_the_table(
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
            assert first["event"] == "bridge-status"  # its listeners are added before it connects
            assert first["data"]["contract"] == "1.0"

            async def write(numbers: range) -> None:
                for n in numbers:
                    key = f"p{n % 310}"
                    source.put(table.write(row(key, price=n, state=("TX", "CA")[n % 3 % 2])))
                    if n % 10 == 9:
                        source.put(table.remove(key))
                        await asyncio.sleep(0.01)

            client.command(snapshot=["TX"])
            writing = asyncio.create_task(write(range(200)))
            ack = (await client.next("ack"))["ack"]
            assert ack["regions"] == ["none", "TX"]
            await writing
            client.command(drop=True)
            await write(range(200, 400))
            assert (await client.connected())["recovered"] is True
            async with asyncio.timeout(20):
                while True:
                    client.command(show=True)
                    known = (await client.next("known"))["known"]
                    prices = {key: known[key]["price"] for key in known}
                    if prices == {
                        key: its["price"]
                        for key, its in table.contents.items()
                        if its["state"] == "TX"
                    }:
                        break
                    await asyncio.sleep(0.05)
