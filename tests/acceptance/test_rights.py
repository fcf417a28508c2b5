"""The official client with a user's token receives what its rights allow, and recovers only with
the same rights.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from bridge import create_app
from bridge.clock import SystemClock
from tests.fakes import FakeSource, FakeTable, row, settings
from tests.serving import served
from tests.tokens import SECRET, claims, legacy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge import Bridge
    from tests.acceptance.conftest import SeedClient, SeedClients

ISSUER = "http://127.0.0.1:9/auth/v1"
OTHER = "9a1f0000-0000-4000-8000-000000000002"


def auth(role: str, *regions: str, **changed: Any) -> dict[str, Any]:
    now = int(SystemClock().wall())
    given = {"role": role, "regions": list(regions)}
    return {
        "token": legacy(claims(ISSUER, exp=now + 3600, iat=now - 60, app_metadata=given, **changed))
    }


MEMBER = auth("broker", "TX")


class Site:
    def __init__(self, bridge: Bridge, source: FakeSource, table: FakeTable, url: str) -> None:
        self.bridge, self.source, self.table, self.url = bridge, source, table, url

    async def write(self, key: str, **columns: Any) -> None:
        """Write a row, and wait until its event is published."""
        self.put(key, **columns)
        head = ""
        while head != (head := self._head()):
            await asyncio.sleep(0.1)

    def put(self, key: str, **columns: Any) -> None:
        self.source.put(self.table.write(listing(key, **columns)))

    def _head(self) -> str:
        gateway = self.bridge._gateway()
        assert gateway is not None
        return str(gateway.log.head)


def listing(key: str, **columns: Any) -> dict[str, Any]:
    return row(key, **{"owner_contact": "owner", **columns})


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    source, table = FakeSource(), FakeTable(listing("p1"), listing("p2", state="CA"))
    configured = settings(
        supabase_jwt_secret=SECRET,
        regions_claim="app_metadata.regions",
        member_roles="broker",
        member_columns="owner_contact",
        watch_interval=600,
        settle=600,
        sweep_interval=600,
    )
    bridge = create_app(configured, source=source, table=table)
    async with served(bridge, drain=bridge.drain) as url:
        yield Site(bridge, source, table, url)


async def next_data(client: SeedClient, name: str) -> dict[str, Any]:
    event = await client.event()
    assert event["event"] == f"property-{name}", event
    data: dict[str, Any] = event["data"]
    return data


async def rows(client: SeedClient) -> dict[str, dict[str, Any]]:
    answer = await client.ack("subscribe", {"snapshot": True})
    return {each["property_id"]: each for each in answer["snapshot"]}


async def test_member_receives_and_recovers_member_columns(
    seed_client: SeedClients,
) -> None:
    async with (
        site() as here,
        seed_client(here.url, auth=MEMBER) as member,
        seed_client(here.url) as public,
    ):
        await member.connected()
        await public.connected()
        assert {k: v["owner_contact"] for k, v in (await rows(member)).items()} == {"p1": "owner"}
        assert set(await rows(public)) == {"p1", "p2"}
        await here.write("p1", owner_contact="first")
        assert list((await next_data(member, "updated"))["changes"]) == ["owner_contact"]
        member.command(drop=True)
        await member.next("disconnected")
        await here.write("p1", owner_contact="second")
        await here.write("p1", owner_contact="second", state="CA")
        assert (await member.connected())["recovered"] is True
        assert (await next_data(member, "updated"))["changes"] == {
            "owner_contact": {"old": "first", "new": "second"}
        }
        assert (await next_data(member, "deleted"))["property_id"] == "p1"
        moved = await next_data(public, "updated")
        assert (moved["moved"], list(moved["changes"])) == (
            {"from": ["TX"], "to": ["CA"]},
            ["state"],
        )
        assert "owner_contact" not in public.text


@pytest.mark.once
@pytest.mark.parametrize(
    "now",
    [
        auth("broker", "TX", "CA"),
        auth("broker", "CA"),
        auth("visitor", "TX"),
        auth("broker", "TX", sub=OTHER),
        {},
    ],
    ids=["more regions", "another region", "another view", "another user", "no token"],
)
async def test_client_with_other_rights_is_fresh_after_a_reconnect(
    seed_client: SeedClients, now: dict[str, Any]
) -> None:
    later = {"reconnectionDelay": 1500, "randomizationFactor": 0}
    async with site() as here, seed_client(here.url, auth=MEMBER, **later) as client:
        before = (await client.connected())["connected"]
        await rows(client)
        client.command(auth={**now, "of": "the next connection"})
        client.command(drop=True)
        await client.next("disconnected")
        here.put("p1", name="missed")
        await here.write("p2", state="CA", name="missed")
        back = await client.connected()
        assert back["recovered"] is False
        assert back["connected"] != before
        assert client.events == []
        await rows(client)
        assert client.events == []
