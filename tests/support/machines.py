"""Several bridges over one log and one table, each on a port, as machines do."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx

from bridge import create_app
from bridge.clock import timestamp
from tests.fakes import FakeSource, FakeTable, row, settings
from tests.serving import served
from tests.support.ports import free_port
from tests.support.shared_log import SharedHistory, SharedLease, SharedLog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge import Bridge
    from bridge.changes import Change
    from bridge.gateway.gateway import Gateway
    from tests.raw_client import Client

SECONDS = 30

UPDATED_AT = 1_766_603_600
"""With the first price this is `updated_at` of the first row, in Unix seconds."""


class Machine:
    """One bridge with its own source of the common table."""

    def __init__(self, machines: Machines) -> None:
        self.source = FakeSource()
        self.watch_source = FakeSource()
        self.backend = machines.history.backend()
        self._port = free_port() if machines.peers else 0
        peer_url = f"http://127.0.0.1:{self._port}" if machines.peers else ""
        self.bridge: Bridge = create_app(
            settings(**machines.settings, peer_url=peer_url),
            source=self.source,
            table=machines.table,
            watching=(self.watch_source, machines.watch_table),
            backend=self.backend,
        )
        self.bridge.on_failure = lambda _error: None
        self.url = ""
        self._closing = AsyncExitStack()

    @property
    def log(self) -> SharedLog:
        assert isinstance(self.backend.log, SharedLog)
        return self.backend.log

    @property
    def lease(self) -> SharedLease:
        assert isinstance(self.backend.lease, SharedLease)
        return self.backend.lease

    @property
    def gateway(self) -> Gateway:
        assert self.bridge._running is not None
        return self.bridge._running.gateway

    @property
    def leads(self) -> bool:
        return self.bridge._running is not None and self.bridge._running.ingest is not None

    async def start(self) -> None:
        self.url = await self._closing.enter_async_context(
            served(self.bridge, drain=self.bridge.drain, port=self._port)
        )

    async def stop(self) -> None:
        await self._closing.aclose()

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient() as http:
            return await http.get(self.url + path)

    async def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = (await self.get("/status")).json()
        return answer

    async def ready(self) -> None:
        async with asyncio.timeout(SECONDS):
            while (await self.get("/readyz")).status_code != 200:
                await asyncio.sleep(0.02)

    async def snapshots_ready(self) -> None:
        async with asyncio.timeout(SECONDS):
            await self.gateway.snapshots.ready.wait()


class Machines:
    """The machines, what they share, and changes of the table."""

    def __init__(self, *watches: dict[str, Any], peers: bool = False, **overrides: Any) -> None:
        """`peers`: whether the machines forward polls to each other."""
        self.peers = peers
        self.history = SharedHistory()
        self.table = FakeTable(row("p1"))
        self.watch_table = FakeTable(*watches)
        self.settings = {"drain_seconds": 0, "watch_grace": 0.3, "watch_interval": 0.5, **overrides}
        self.all: list[Machine] = []
        self.price = 1_000_000

    async def add(self) -> Machine:
        """Start one more machine. The first one leads."""
        machine = Machine(self)
        self.all.append(machine)
        await machine.start()
        return machine

    @property
    def leader(self) -> Machine | None:
        return next((each for each in self.all if each.leads and each.lease.leading), None)

    async def until_led(self, by: Machine | None = None) -> Machine:
        """Wait until a machine leads and its first scan is done."""
        async with asyncio.timeout(SECONDS):
            while (leader := self.leader) is None or (by is not None and leader is not by):
                await asyncio.sleep(0.01)
            running = leader.bridge._running
            assert running is not None
            assert running.ingest is not None
            await running.ingest.pipeline.reconciled()
        return leader

    async def change(self, number: int = 1) -> None:
        """Change the price of p1, and wait until the change is in the log."""
        for _ in range(number):
            change = self.change_unseen()
            head = self.history.head.seq
            leader = self.leader
            assert leader is not None
            leader.source.put(change)
            async with asyncio.timeout(SECONDS):
                while self.history.head.seq == head:
                    await asyncio.sleep(0.001)

    def change_unseen(self) -> Change:
        """Change the price of p1 without an event of any source; return what it would be."""
        self.price += 1
        at = timestamp(UPDATED_AT + self.price)
        return self.table.write(row("p1", price=self.price, updated_at=at))


@asynccontextmanager
async def machines(
    number: int, *watches: dict[str, Any], peers: bool = False, **overrides: Any
) -> AsyncIterator[Machines]:
    """Start machines; inside, the first one leads and all have snapshots."""
    here = Machines(*watches, peers=peers, **overrides)
    try:
        for _ in range(number):
            await here.add()
            await here.until_led()
        for machine in here.all:
            await machine.snapshots_ready()
        yield here
    finally:
        for machine in reversed(here.all):
            await machine.stop()


def prices(client: Client) -> list[tuple[int, int]]:
    """Return old and new price of each event that the client received."""
    changes = [
        event["data"]["changes"]["price"]
        for _, envelope, *_ in client.events
        for event in envelope["data"].get("events", [envelope])
        if event["event"] == "property-updated"
    ]
    return [(change["old"], change["new"]) for change in changes]


async def receive_prices(client: Client, number: int) -> list[tuple[int, int]]:
    """Receive until there are `number` changes of prices, and return all."""
    async with asyncio.timeout(SECONDS):
        while len(prices(client)) < number:
            client.receive_packet(await client.next_packet())
    return prices(client)


def move(client: Client, machine: Machine) -> None:
    """Have the client's next connect go to this machine."""
    client.url = machine.url + client.url[client.url.index("/socket.io") :]
