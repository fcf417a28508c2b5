"""A user with the official JavaScript client is notified once, whatever is killed meanwhile."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest

from tests.acceptance.test_restart import Site, reprice, some

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bridge.sandbox import Sandbox
    from tests.acceptance.conftest import SeedClient, SeedClients, Start
    from tests.acceptance.test_process import RunBridge

ANN, BOB = "a0000000-0000-4000-8000-000000000001", "b0000000-0000-4000-8000-000000000002"


@pytest.fixture
def client(start_js: Start) -> SeedClients:
    return lambda url, **options: start_js("recovery_client.mjs", url, **options)


@pytest.fixture
def site(run_bridge: RunBridge, sandbox: Sandbox, tmp_path: Path) -> Site:
    return Site(
        run_bridge,
        sandbox,
        f"sqlite:///{tmp_path}/log.sqlite3",
        BRIDGE_WATCHERS="public.property_watchers",
    )


@pytest.fixture(autouse=True)
async def users(sandbox: Sandbox) -> AsyncIterator[None]:
    await sandbox.execute("insert into auth.users (id) values (%s), (%s)", (ANN, BOB))
    yield
    await sandbox.execute("delete from auth.users where id in (%s, %s)", (ANN, BOB))


def auth(sandbox: Sandbox, user: str) -> dict[str, Any]:
    """Of a client that hears nothing but what concerns its user, and one property as a mark."""
    return {"token": sandbox.user_token(user), "properties": ["none"]}


async def watch(sandbox: Sandbox, user: str, key: str) -> None:
    await sandbox.execute(
        "insert into property_watchers (user_id, property_id) values (%s, %s)", (user, key)
    )


async def known(site: Site, http: httpx.AsyncClient, watches: int) -> None:
    """Wait until the bridge knows so many."""
    async with asyncio.timeout(15):
        while (await http.get(site.url + "/status")).json()["watchers"]["watches"] != watches:
            await asyncio.sleep(0.02)


async def notifications(client: SeedClient, number: int) -> list[dict[str, Any]]:
    """The data of the next ones."""
    out: list[dict[str, Any]] = []
    while len(out) < number:
        event = await client.event()
        if event["event"] == "property-notification":
            out.append(event["data"])
    return out


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_what_happened_while_the_bridge_was_dead_is_notified_once(
    site: Site, client: SeedClients, sandbox: Sandbox, http: httpx.AsyncClient, number: int
) -> None:
    first, second = [row for row in await some(sandbox, 20) if row["price"] > 1000][:2]
    await watch(sandbox, ANN, first["id"])
    await watch(sandbox, BOB, second["id"])
    async with (
        client(site.url, auth=auth(sandbox, ANN)) as ann,
        client(site.url, auth=auth(sandbox, BOB)) as bob,
    ):
        async with site.up() as process:
            await ann.connected()
            await bob.connected()
            await known(site, http, 2)
            await reprice(sandbox, first["id"], 1000)
            [told] = await notifications(ann, 1)
            assert told["changes"]["price"] == {"old": first["price"], "new": 1000}
            await process.end(number)
        await reprice(sandbox, first["id"], 500)
        await reprice(sandbox, second["id"], 700)
        async with site.up():
            assert (await ann.connected())["recovered"] is True
            assert (await bob.connected())["recovered"] is True
            [missed] = await notifications(ann, 1)
            assert missed["changes"]["price"] == {"old": 1000, "new": 500}
            await notifications(bob, 1)
            await reprice(sandbox, first["id"], 100)
            [live] = await notifications(ann, 1)
            assert live["changes"]["price"] == {"old": 500, "new": 100}
        for one, count in ((ann, 3), (bob, 1)):
            names = [line["event"] for line in one.events]
            assert names.count("property-notification") == count


async def test_a_user_who_lost_the_connection_is_notified_at_the_comeback(
    site: Site, client: SeedClients, sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    [listing] = [row for row in await some(sandbox, 20, "CA") if row["price"] > 1000][:1]
    await watch(sandbox, ANN, listing["id"])
    async with site.up(), client(site.url, auth=auth(sandbox, ANN), reconnectionDelay=500) as ann:
        await ann.connected()
        await known(site, http, 1)
        await reprice(sandbox, listing["id"], 900)
        await notifications(ann, 1)
        ann.tell(drop=True)
        await ann.next("disconnected")
        await reprice(sandbox, listing["id"], 400)
        assert (await ann.connected())["recovered"] is True
        [missed] = await notifications(ann, 1)
        assert missed["changes"]["price"] == {"old": 900, "new": 400}
        await reprice(sandbox, listing["id"], 100)
        [live] = await notifications(ann, 1)
        assert live["changes"]["price"] == {"old": 400, "new": 100}


async def test_the_demo_user_of_bridge_dev_is_notified(
    run_bridge: RunBridge, client: SeedClients, http: httpx.AsyncClient
) -> None:
    async with run_bridge("dev", "--port", "0", "--json", "--no-activity") as process:
        where = await process.next("bridge_url")
        auth = {"token": where["user_token"], "regions": ["none"]}
        async with client(where["bridge_url"], auth=auth) as demo:
            await demo.connected()
            async with asyncio.timeout(15):
                status: Any = {}
                while status.get("watches") != 1:
                    status = (await http.get(where["bridge_url"] + "/status")).json()["watchers"]
            async with await psycopg.AsyncConnection.connect(
                where["database_url"], autocommit=True
            ) as database:
                await database.execute(
                    "insert into properties (name, city, state, price)"
                    " values ('Oak View', 'Austin', 'TX', 900000)"
                )
            [told] = await notifications(demo, 1)
    assert (told["kind"], told["title"]) == ("new-listing", "New listing: Oak View")
