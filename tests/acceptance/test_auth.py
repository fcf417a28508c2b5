"""The unmodified official client keeps its place through the end of its tokens."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from bridge.clock import SystemClock
from tests.integration.test_auth import OTHER, REGIONS, Site, site, token
from tests.tokens import USER

if TYPE_CHECKING:
    from tests.acceptance.conftest import SeedClient, SeedClients, Start

transports = pytest.mark.parametrize("transport", ["polling", "websocket"])


def short() -> str:
    """A token that ends within seconds."""
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


async def gone(at: Site) -> None:
    """Until the server knows that nobody is there."""
    async with asyncio.timeout(10):
        while at.gateway.hub.counts().clients:
            await asyncio.sleep(0.01)


@transports
async def test_who_has_a_fresh_token_comes_back_by_itself_and_misses_nothing(
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
        client.tell(token=token("TX"))
        expired = await event(client, "auth-status")
        assert expired["data"]["state"] == "token_expired"
        # The library takes it for the end of the connection, which it mends by itself.
        why = (await client.next("disconnected"))["disconnected"]
        assert why == ("transport close" if transport == "websocket" else "transport error")
        await at.publish("TX", "CA", "TX")
        again = await client.connected()
        assert again == {"connected": first["connected"], "recovered": True}
        await at.publish("TX")
        assert await seqs(client, 3) == [4, 6, 7]


@transports
async def test_who_has_a_stale_one_is_told_so_and_recovers_once_it_has_a_fresh_one(
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
        assert refused["active"] is False  # so the page has to say when to try again
        await at.publish("TX", "CA")
        client.tell(token=token("TX"), connect=True)
        assert (await client.connected())["recovered"] is True
        assert await seqs(client, 1) == [2]


async def test_who_renews_its_token_in_time_is_not_interrupted(auth_client: SeedClients) -> None:
    async with (
        site(**REGIONS, token_warning_seconds=3) as at,
        auth_client(at.url, token=short()) as client,
    ):
        await client.connected()
        await event(client, "auth-status")
        answer = await client.ack("authenticate", {"token": token("TX", "CA")})
        assert answer["ok"]
        told = [line for line in client.events if line["event"] == "auth-status"]
        assert [line["data"]["state"] for line in told] == ["expiring", "changed"]
        await asyncio.sleep(5)  # past the first one's end
        await at.publish("CA")
        assert await seqs(client, 1) == [1]
        assert not any("disconnected" in line for line in client.lines)


async def test_who_is_signed_out_does_not_come_back(auth_client: SeedClients) -> None:
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


async def test_another_user_on_the_same_page_is_another_client(auth_client: SeedClients) -> None:
    async with site() as at, auth_client(at.url, token=token()) as client:
        first = await client.connected()
        await at.publish("TX")
        assert await seqs(client, 1) == [1]
        client.tell(token=token(sub=OTHER))
        for each in list(at.gateway.clients):
            at.gateway.writer.abort(each)
        await gone(at)
        await at.publish("TX")
        second = await client.connected()
        assert second["recovered"] is False
        assert second["connected"] != first["connected"]
        await at.publish("TX")
        assert await seqs(client, 1) == [3]


async def test_a_page_without_a_user_hears_what_is_public(auth_client: SeedClients) -> None:
    async with site(**REGIONS, anonymous_regions="NV") as at, auth_client(at.url) as client:
        await client.connected()
        await at.publish("TX", "NV")
        assert await seqs(client, 1) == [2]
        assert (await client.ack("authenticate", {"token": token("TX")}))["ok"]
        await at.publish("TX", "NV")
        assert await seqs(client, 1) == [3]
