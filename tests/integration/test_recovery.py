"""Connection state recovery, by packets as the official JavaScript client sends them."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import socketio
from starlette.applications import Starlette
from starlette.routing import Mount

from bridge.gateway.engineio.raw_websocket import keep_transport
from bridge.gateway.gateway import Gateway
from bridge.gateway.socketio import server as handshake
from bridge.log.memory import MemoryEventLog
from tests.fakes import build, property_event, settings
from tests.raw_client import client
from tests.serving import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope, Send

    from bridge.events import EventName


class Served:
    """A gateway over a log, on a port."""

    def __init__(self, gateway: Gateway, log: MemoryEventLog, url: str) -> None:
        self.gateway, self.log, self.url = gateway, log, url
        self.count = 0

    async def publish(self, *regions: str, number: int = 1) -> None:
        """Publish `number` events of `regions`, with the next numbers."""
        for _ in range(number):
            self.count += 1
            await self.event(*regions, data={"property_id": "p1", "seq": self.count})

    async def event(
        self,
        *regions: str,
        key: str = "p1",
        name: EventName = "property-updated",
        data: dict[str, Any],
    ) -> None:
        event = property_event(name, key, regions, data)
        self.gateway.publish((await self.log.append([event], [])).entries)


@asynccontextmanager
async def gateway(**overrides: Any) -> AsyncIterator[Served]:
    configured = settings(**overrides)
    log = MemoryEventLog(configured.log_events, configured.log_seconds)
    gate = build(configured, log=log)
    inner = Starlette(routes=[Mount("/socket.io", app=gate)])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        keep_transport(scope, send)
        await inner(scope, receive, send)

    async with served(app, drain=gate.close) as url:
        yield Served(gate, log, url)


transports = pytest.mark.parametrize("transport", ["polling", "websocket"])


@transports
async def test_dropped_client_recovers_with_all_missed_events(transport: str) -> None:
    async with gateway() as served, client(served.url, transport, {"regions": ["TX"]}) as one:
        assert one.pid
        sid, pid = one.sid, one.pid
        await served.publish("TX")
        await one.until_seqs(1)
        for turn in range(3):  # as often as it likes
            await one.close()
            await served.publish("TX", number=2)
            await served.publish("CA")
            await one.connect()
            assert (one.recovered, one.sid, one.pid) == (True, sid, pid)
            await served.publish("TX")
            assert len(await one.until_seqs(1 + 3 * (turn + 1))) == 1 + 3 * (turn + 1)
        assert one.seqs == [1, 2, 3, 5, 6, 7, 9, 10, 11, 13]
        assert served.gateway.hub.counts().clients == 1


async def test_event_ends_with_its_position() -> None:
    async with gateway() as served, client(served.url) as one:
        await served.publish("TX")
        await one.until_seqs(1)
        name, envelope, position = one.events[0]
        assert name == envelope["event"] == "property-updated"
        assert position == str(served.log.head)


async def test_client_without_an_event_recovers_from_its_connect() -> None:
    async with gateway() as served:
        await served.publish("TX", number=5)
        async with client(served.url) as one:
            await one.close()
            await served.publish("TX")
            assert one.offset is None
            await one.connect()
            assert one.recovered
            assert await one.until_seqs(1) == [6]


@transports
async def test_missed_events_are_sent_a_fifth_of_a_second_after_connect(transport: str) -> None:
    """Time for a page to set up its listeners after `connect`: React renders, and runs effects."""
    async with gateway() as served, client(served.url, transport) as one:
        await one.close()
        await served.publish("TX")
        started = time.monotonic()
        await one.connect()
        assert one.recovered
        await served.publish("TX")
        await one.until_seqs(1)
        assert time.monotonic() - started >= 0.2
        await served.publish("TX")
        assert await one.until_seqs(3) == [1, 2, 3]


@transports
async def test_a_half_open_connection_is_evicted(transport: str) -> None:
    async with gateway() as served, client(served.url, transport) as one:
        await served.publish("TX")
        await one.until_seqs(1)
        old, one._ws = one._ws, None
        await served.publish("TX", number=3)
        await one.connect()
        assert one.recovered
        await served.publish("TX")
        assert await one.until_seqs(5) == [1, 2, 3, 4, 5]
        assert served.gateway.hub.counts().clients == 1
        if old is not None:
            async with asyncio.timeout(20):
                while not old.closed:
                    await old.receive()
        # The end of the old connection, whenever it is noticed, is not the end of the client.
        await asyncio.sleep(0.05)
        await served.publish("TX")
        assert (await one.until_seqs(6))[-1] == 6


async def test_event_queued_for_the_old_connection_is_not_sent_twice() -> None:
    """The event still waits for the end of the iteration in which the client reconnects."""
    async with gateway() as served, client(served.url) as one, aiohttp.ClientSession() as http:
        later = await http.ws_connect(one.url)
        eio_sid = json.loads((await later.receive_str())[1:])["sid"]
        await served.publish("TX")
        auth = {"pid": one.pid}
        connection = served.gateway.clients.connection(eio_sid)
        assert connection is not None
        accepted = served.gateway.connect_handler.accept(connection, auth)
        assert accepted is not None
        assert accepted.sid == one.sid
        await served.publish("TX")
        assert (await later.receive_str()).startswith("40")
        seqs: list[int] = []
        while len(seqs) < 2 or seqs[-1] < 2:
            seqs.append(json.loads((await later.receive_str())[2:])[1]["data"]["seq"])
        assert seqs == [1, 2]
        await later.close()


async def test_recovery_restores_the_subscription_and_filters_by_its_history() -> None:
    async with gateway() as served, client(served.url, auth={"regions": ["TX"]}) as one:
        await served.publish("TX")  # 1
        await served.publish("CA")  # 2, before it subscribes
        await one.until_seqs(1)
        await one.request("subscribe", {"regions": ["CA"]})
        await served.publish("CA")  # 3
        await served.publish("TX")  # 4
        await asyncio.sleep(0.05)
        await one.request("unsubscribe", {"regions": ["TX"]})
        await served.publish("TX")  # 5
        await one.close()
        await served.publish("CA")  # 6
        await served.publish("TX")  # 7
        one.seqs, one.offset = [], one.events[0][2]  # as if only the first had arrived
        await one.connect()
        assert one.recovered
        assert await one.until_seqs(3) == [3, 4, 6]
        answer = await one.request("subscribe", {"properties": ["x"]})
        assert answer == {"ok": True, "regions": ["CA"], "properties": ["x"]}


async def test_client_that_sent_disconnect_does_not_recover() -> None:
    async with gateway() as served, client(served.url) as one:
        await one.send("41")
        await one.close()
        sid, pid = one.sid, one.pid
        await one.connect()
        assert not one.recovered
        assert one.sid != sid
        assert one.pid != pid


async def test_engine_close_packet_does_not_end_the_session() -> None:
    async with gateway() as served, client(served.url, "polling") as one:
        await one.send("1")
        await served.publish("TX")
        await one.connect()
        assert one.recovered
        assert await one.until_seqs(1) == [1]


@pytest.mark.parametrize(
    "overrides",
    [
        {"recovery_events": 9},
        {"recovery_bytes": 400},
        {"recovery_seconds": 0.01},
        {"recovery_clients": 0},
        {"log_events": 9},
        {"log_seconds": 0.01},
    ],
    ids=lambda overrides: next(iter(overrides)),
)
async def test_recovery_above_a_limit_makes_a_new_client_without_events(overrides: Any) -> None:
    async with gateway(**overrides) as served, client(served.url) as one:
        pid, sid = one.pid, one.sid
        await one.close()
        await asyncio.sleep(0.05)
        await served.publish("TX", number=10)
        await asyncio.sleep(0.05)
        await one.connect()
        assert not one.recovered
        assert one.pid
        assert one.pid != pid
        assert one.sid != sid
        await served.publish("TX")
        assert await one.until_seqs(1) == [11]


@pytest.mark.parametrize("change", ["future", "garbage", "epoch", "digits", "type", "pid"])
async def test_forged_or_foreign_offer_makes_a_new_client_without_events(change: str) -> None:
    async with gateway() as served, client(served.url) as one:
        await served.publish("TX")
        await one.until_seqs(1)
        await one.close()
        await served.publish("TX", number=3)
        assert one.pid
        head = str(served.log.head)
        epoch = head.rpartition("-")[0]
        sid, pid = one.sid, one.pid
        offset: Any = {
            "future": f"{epoch}-5",
            "garbage": "x",
            "epoch": "0123456789ab-1",
            "digits": f"{epoch}-" + "1" * 5000,
            "type": 1,
            "pid": one.offset,
        }[change]
        one.offset = offset
        if change == "pid":
            one.pid = pid[:-1]
        await one.connect()
        assert not one.recovered
        assert one.sid != sid
        await served.publish("TX")
        assert (await one.until_seqs(2))[1:] == [5]


async def test_an_offset_from_before_the_session_counts_as_none() -> None:
    async with gateway() as served:
        await served.publish("TX", number=3)
        before = str(served.log.head)
        await served.publish("TX", number=3)
        async with client(served.url) as one:
            await one.close()
            await served.publish("TX")
            one.offset = before  # the official client keeps it until its next event
            await one.connect()
            assert one.recovered
            assert await one.until_seqs(1) == [7]


async def test_auth_is_checked_again() -> None:
    async with gateway() as served, client(served.url) as one:
        await one.close()
        one.auth = {"regions": "TX"}
        with pytest.raises(AssertionError, match=r"^44.*bad_request"):
            await one.connect()
        one.auth = {}
        await one.connect()
        assert one.recovered


async def test_gateway_without_recovery_sends_no_pid() -> None:
    async with gateway(recovery_seconds=0) as served, client(served.url) as one:
        assert one.pid is None
        assert len(served.gateway.sessions) == 0


async def test_batching_client_recovers_with_one_batch() -> None:
    async with (
        gateway(batch_seconds=0.01) as served,
        client(served.url, auth={"batch": True}) as one,
    ):
        await served.publish("TX")
        await one.until_seqs(1)
        await one.close()
        for key in "abc":
            await served.event("TX", key=key, data={"property_id": key, "seq": ord(key)})
        await one.connect()
        assert one.recovered
        assert await one.until_seqs(4) == [1, 97, 98, 99]
        assert len(one.events) == 2
        assert one.offset == str(served.log.head)


@pytest.mark.filterwarnings("ignore:Unclosed connection:ResourceWarning")
@transports
async def test_python_client_receives_events_without_positions(transport: str) -> None:
    """It passes all arguments to handlers, so a handler with one parameter would fail."""
    async with gateway() as served, aiohttp.ClientSession() as http:
        sio = socketio.AsyncClient(reconnection=False, handle_sigint=False, http_session=http)
        heard: asyncio.Queue[Any] = asyncio.Queue()

        async def one_parameter(envelope: Any) -> None:
            await heard.put(envelope)

        sio.on("property-updated", one_parameter)
        await sio.connect(served.url, transports=[transport])
        await served.publish("TX")
        async with asyncio.timeout(20):
            envelope = await heard.get()
        assert envelope["data"]["seq"] == 1
        assert len(served.gateway.sessions) == 0
        await sio.disconnect()


def test_python_client_is_recognised_by_its_url() -> None:
    """If this fails, python-engineio's client builds its URLs in another way: find out how it
    differs from the JavaScript client now, for `socketio.server.is_python_client`.
    """
    client = socketio.AsyncClient().eio
    for transport in ("polling", "websocket"):
        for url in ("http://x", "http://x?token=1"):
            query = client._get_engineio_url(url, "socket.io", transport).partition("?")[2]
            assert handshake.is_python_client(query), query
    for query in (
        "EIO=4&transport=polling&t=abc",
        "EIO=4&transport=websocket&sid=x",
        "x=1&EIO=4&transport=polling",
        "x=transport=polling&EIO=4",
    ):
        assert not handshake.is_python_client(query)
