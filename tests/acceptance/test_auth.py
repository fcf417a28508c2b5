"""The official client, unmodified, recovers after the expiry of its token."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from bridge.clock import SystemClock
from tests.acceptance.conftest import SECONDS
from tests.integration.test_auth import OTHER, REGIONS, Site, site, token
from tests.tokens import USER

if TYPE_CHECKING:
    from tests.acceptance.conftest import SeedClient, SeedClients, Start

transports = pytest.mark.parametrize("transport", ["polling", "websocket"])


def short() -> str:
    """Return a token that expires within seconds."""
    return token("TX", life=4, iat=int(SystemClock().wall()))


@pytest.fixture
def auth_client(start_js: Start) -> SeedClients:
    return lambda url, **options: start_js("auth_client.mjs", url, **options)


async def event(client: SeedClient, name: str) -> Any:
    while (line := await client.event())["event"] != name:
        pass
    return line


async def seqs(client: SeedClient, number: int) -> list[int]:
    return [(await event(client, "property-updated"))["data"]["seq"] for _ in range(number)]


async def until_no_clients(at: Site) -> None:
    """Wait until the gateway has no client."""
    async with asyncio.timeout(SECONDS):
        while at.gateway.hub.counts().clients:
            await asyncio.sleep(0.01)


@transports
async def test_client_with_a_fresh_token_reconnects_and_recovers(
    transport: str, auth_client: SeedClients
) -> None:
    async with (
        site(**REGIONS, token_warning_seconds=2) as at,
        auth_client(at.url, token=short(), transports=[transport]) as client,
    ):
        first = await client.connected()
        await at.publish("TX", "CA", "TX")
        assert await seqs(client, 2) == [1, 3]
        expiring = await event(client, "auth-status")
        assert expiring["data"]["state"] == "expiring"
        client.command(token=token("TX"))
        expired = await event(client, "auth-status")
        assert expired["data"]["state"] == "token_expired"
        # The library takes it for a lost connection, and reconnects.
        why = (await client.next("disconnected"))["disconnected"]
        assert why == ("transport close" if transport == "websocket" else "transport error")
        await at.publish("TX", "CA", "TX")
        again = await client.connected()
        assert again == {"connected": first["connected"], "recovered": True}
        await at.publish("TX")
        assert await seqs(client, 3) == [4, 6, 7]


@pytest.mark.once
@transports
async def test_client_with_an_expired_token_is_rejected_and_recovers_with_a_fresh_one(
    transport: str, auth_client: SeedClients
) -> None:
    async with (
        site(**REGIONS, token_warning_seconds=0) as at,
        auth_client(at.url, token=short(), transports=[transport]) as client,
    ):
        await client.connected()
        await at.publish("TX")
        assert await seqs(client, 1) == [1]
        refused = await client.next("refused")
        assert refused["refused"]["code"] == "token_expired"
        assert refused["message"] == refused["refused"]["message"]
        assert refused["active"] is False  # so the page has to call `connect` again
        await at.publish("TX", "CA")
        client.command(token=token("TX"), connect=True)
        assert (await client.connected())["recovered"] is True
        assert await seqs(client, 1) == [2]


@pytest.mark.once
async def test_client_that_refreshes_its_token_in_time_stays_connected(
    auth_client: SeedClients,
) -> None:
    async with (
        site(**REGIONS, token_warning_seconds=3) as at,
        auth_client(at.url, token=short()) as client,
    ):
        await client.connected()
        await event(client, "auth-status")
        answer = await client.ack("authenticate", {"token": token("TX", "CA")})
        assert answer["ok"]
        statuses = [line for line in client.events if line["event"] == "auth-status"]
        assert [line["data"]["state"] for line in statuses] == ["expiring", "changed"]
        await asyncio.sleep(5)  # past the expiry of the first token
        await at.publish("CA")
        assert await seqs(client, 1) == [1]
        assert not any("disconnected" in line for line in client.lines)


async def test_signed_out_client_does_not_reconnect(auth_client: SeedClients) -> None:
    async with (
        site() as at,
        auth_client(at.url, token=token(session_id="s1")) as client,
        auth_client(at.url, token=token(sub=OTHER)) as other,
    ):
        await client.connected()
        await other.connected()
        assert await at.gateway.sign_out(sub=USER) == 1
        assert (await event(client, "auth-status"))["data"]["state"] == "signed_out"
        refused = await client.next("refused")
        assert (refused["refused"]["code"], refused["active"]) == ("signed_out", False)
        await at.publish("TX")
        assert await seqs(other, 1) == [1]


async def test_other_user_on_the_same_page_is_a_new_client(auth_client: SeedClients) -> None:
    async with site() as at, auth_client(at.url, token=token()) as client:
        first = await client.connected()
        await at.publish("TX")
        assert await seqs(client, 1) == [1]
        client.command(token=token(sub=OTHER))
        for each in list(at.gateway.clients):
            at.gateway.writer.abort(each)
        await until_no_clients(at)
        await at.publish("TX")
        second = await client.connected()
        assert second["recovered"] is False
        assert second["connected"] != first["connected"]
        await at.publish("TX")
        assert await seqs(client, 1) == [3]


@pytest.mark.once
async def test_page_without_a_user_receives_public_events(auth_client: SeedClients) -> None:
    async with site(**REGIONS, anonymous_regions="NV") as at, auth_client(at.url) as client:
        await client.connected()
        await at.publish("TX", "NV")
        assert await seqs(client, 1) == [2]
        assert (await client.ack("authenticate", {"token": token("TX")}))["ok"]
        await at.publish("TX", "NV")
        assert await seqs(client, 1) == [3]
