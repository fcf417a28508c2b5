"""The seed document's client, unmodified, against a gateway with synthetic events."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from bridge.gateway.gateway import Gateway
from tests.fakes import build, entry
from tests.serving import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.acceptance.conftest import SeedClients


@pytest.fixture
async def gate() -> AsyncIterator[tuple[Gateway, str]]:
    gateway = build()
    app = Starlette(routes=[Mount("/socket.io", app=gateway)])
    async with served(app, drain=gateway.close) as url:
        yield gateway, url


async def test_client_receives_the_three_events_by_name(
    gate: tuple[Gateway, str], seed_client: SeedClients
) -> None:
    gateway, url = gate
    async with seed_client(url) as client:
        await client.connected()
        gateway.hub.publish(
            [
                entry(1, "TX", name="property-created", city="Austin"),
                entry(2, "TX", name="property-updated"),
                entry(3, "CA", name="property-deleted"),
            ]
        )
        events = [await client.event() for _ in range(3)]
    assert events == [
        {
            "event": "property-created",
            "data": {"property_id": "p1", "seq": 1, "city": "Austin"},
            "args": 2,
        },
        {"event": "property-updated", "data": {"property_id": "p1", "seq": 2}, "args": 2},
        {"event": "property-deleted", "data": {"property_id": "p1", "seq": 3}, "args": 2},
    ]


async def test_upgrade_from_polling_loses_and_repeats_no_event(
    gate: tuple[Gateway, str], seed_client: SeedClients
) -> None:
    gateway, url = gate
    stop, sent = asyncio.Event(), 0

    async def publish() -> None:
        nonlocal sent
        while not stop.is_set():
            gateway.hub.publish([entry(sent, "TX")])
            sent += 1
            await asyncio.sleep(0.005)

    publishing = asyncio.create_task(publish())

    async def listen() -> None:
        async with seed_client(url) as client:
            await client.connected()
            seqs = [(await client.event())["data"]["seq"] for _ in range(200)]
            assert seqs == list(range(seqs[0], seqs[0] + 200))

    await asyncio.gather(*(listen() for _ in range(8)))
    stop.set()
    await publishing


@pytest.mark.once
@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_subscription_is_acknowledged_and_selects_events(
    gate: tuple[Gateway, str], seed_client: SeedClients, transport: str
) -> None:
    gateway, url = gate
    options: dict[str, Any] = {"transports": [transport], "auth": {"regions": ["TX"]}}
    async with seed_client(url, **options) as client:
        await client.connected()
        answer = await client.ack("subscribe", {"properties": [7]})
        assert answer == {"ok": True, "regions": ["TX"], "properties": [7]}
        refused = await client.ack("subscribe", {"regions": "CA"})
        assert refused["error"]["code"] == "bad_request"
        gateway.hub.publish([entry(1, "CA"), entry(2, "TX"), entry(3, "CA", key=7)])
        assert [(await client.event())["data"]["seq"] for _ in range(2)] == [2, 3]


@pytest.mark.once
async def test_rejection_reaches_connect_error(
    gate: tuple[Gateway, str], seed_client: SeedClients
) -> None:
    _, url = gate
    async with seed_client(url, auth={"regions": "TX"}) as client:
        refused = (await client.next("refused"))["refused"]
        assert refused["data"]["code"] == "bad_request"
        assert refused["message"] == refused["data"]["message"]


@pytest.mark.once
async def test_client_reconnects_after_the_server_has_cut_it_off(
    gate: tuple[Gateway, str], seed_client: SeedClients
) -> None:
    gateway, url = gate
    for transport in ("polling", "websocket"):
        async with seed_client(url, transports=[transport], reconnectionDelay=50) as client:
            sid = (await client.connected())["connected"]
            cut = gateway.clients.get(sid)
            assert cut is not None
            gateway.writer.abort(cut)
            assert (await client.next("disconnected"))["disconnected"] != "io server disconnect"
            back = await client.connected()
            assert back["recovered"] is True
            assert back["connected"] == sid
            gateway.hub.publish([entry(1, "TX")])
            assert (await client.event())["data"]["seq"] == 1
