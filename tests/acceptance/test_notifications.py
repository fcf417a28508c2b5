"""A user of the official JavaScript client is notified once, across restarts and reconnects."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest

from tests.acceptance.conftest import SECONDS
from tests.acceptance.restartable_bridge import RestartableBridge
from tests.acceptance.test_restart import pick, set_price

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
def restartable(run_bridge: RunBridge, sandbox: Sandbox, tmp_path: Path) -> RestartableBridge:
    return RestartableBridge(
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
    """Return the `auth` of a client that receives the notifications of its user alone."""
    return {"token": sandbox.user_token(user), "properties": ["none"]}


async def watch(sandbox: Sandbox, user: str, key: str) -> None:
    await sandbox.execute(
        "insert into property_watchers (user_id, property_id) values (%s, %s)", (user, key)
    )


async def notifications(client: SeedClient, number: int) -> list[dict[str, Any]]:
    """Return the data of the next notifications."""
    out: list[dict[str, Any]] = []
    while len(out) < number:
        event = await client.event()
        if event["event"] == "property-notification":
            out.append(event["data"])
    return out


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGKILL, marks=pytest.mark.once), signal.SIGTERM]
)
async def test_change_during_an_outage_of_the_bridge_is_notified_once(
    restartable: RestartableBridge, client: SeedClients, sandbox: Sandbox, number: int
) -> None:
    first, second = [row for row in await pick(sandbox, 20) if row["price"] > 1000][:2]
    await watch(sandbox, ANN, first["id"])
    await watch(sandbox, BOB, second["id"])
    async with (
        client(restartable.url, auth=auth(sandbox, ANN)) as ann,
        client(restartable.url, auth=auth(sandbox, BOB)) as bob,
    ):
        async with restartable.running() as process:
            await ann.connected()
            await bob.connected()
            await restartable.until_watches_loaded()
            await set_price(sandbox, first["id"], 1000)
            [notified] = await notifications(ann, 1)
            assert notified["changes"]["price"] == {"old": first["price"], "new": 1000}
            await process.end(number)
        await set_price(sandbox, first["id"], 500)
        await set_price(sandbox, second["id"], 700)
        async with restartable.running():
            assert (await ann.connected())["recovered"] is True
            assert (await bob.connected())["recovered"] is True
            [missed] = await notifications(ann, 1)
            assert missed["changes"]["price"] == {"old": 1000, "new": 500}
            await notifications(bob, 1)
            await set_price(sandbox, first["id"], 100)
            [live] = await notifications(ann, 1)
            assert live["changes"]["price"] == {"old": 500, "new": 100}
        for one, count in ((ann, 3), (bob, 1)):
            names = [line["event"] for line in one.events]
            assert names.count("property-notification") == count


@pytest.mark.once
async def test_user_is_notified_of_missed_changes_after_a_reconnect(
    restartable: RestartableBridge, client: SeedClients, sandbox: Sandbox
) -> None:
    [listing] = [row for row in await pick(sandbox, 20, "CA") if row["price"] > 1000][:1]
    await watch(sandbox, ANN, listing["id"])
    async with (
        restartable.running(),
        client(restartable.url, auth=auth(sandbox, ANN), reconnectionDelay=500) as ann,
    ):
        await ann.connected()
        await restartable.until_watches_loaded()
        await set_price(sandbox, listing["id"], 900)
        await notifications(ann, 1)
        ann.command(drop=True)
        await ann.next("disconnected")
        await set_price(sandbox, listing["id"], 400)
        assert (await ann.connected())["recovered"] is True
        [missed] = await notifications(ann, 1)
        assert missed["changes"]["price"] == {"old": 900, "new": 400}
        await set_price(sandbox, listing["id"], 100)
        [live] = await notifications(ann, 1)
        assert live["changes"]["price"] == {"old": 400, "new": 100}


@pytest.mark.once
async def test_demo_user_of_bridge_dev_is_notified(
    run_bridge: RunBridge, client: SeedClients, http: httpx.AsyncClient
) -> None:
    async with run_bridge("dev", "--port", "0", "--json", "--no-activity") as process:
        addresses = await process.next("bridge_url")
        auth = {"token": addresses["user_token"], "regions": ["none"]}
        async with client(addresses["bridge_url"], auth=auth) as demo:
            await demo.connected()
            async with asyncio.timeout(SECONDS):
                status: Any = {}
                while status.get("watches") != 1:
                    status = (await http.get(addresses["bridge_url"] + "/status")).json()[
                        "watchers"
                    ]
            async with await psycopg.AsyncConnection.connect(
                addresses["database_url"], autocommit=True
            ) as database:
                await database.execute(
                    "insert into properties (name, city, state, price)"
                    " values ('Oak View', 'Austin', 'TX', 900000)"
                )
            [notified] = await notifications(demo, 1)
    assert (notified["kind"], notified["title"]) == ("new-listing", "New listing: Oak View")
