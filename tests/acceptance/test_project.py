"""`bridge serve` with a Supabase project, from a row to the official clients.

Every test runs against the sandbox, and again against the project that `SUPABASE_URL` and
`SUPABASE_SECRET_KEY` name (`supabase start --workdir deploy`), where rows are written through its
API. Each test writes rows of its own, and no others.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import socketio
from supabase import AsyncClient, acreate_client

from bridge.sandbox import Sandbox
from tests.acceptance.conftest import (
    SECONDS,
    BridgeProcess,
    SeedClient,
    SeedClients,
    bridge_process,
)
from tests.conftest import options
from tests.support.ports import free_port

RunBridge = Callable[..., AbstractAsyncContextManager[BridgeProcess]]
READY_SECONDS = 60.0


@dataclass
class Project:
    """A Supabase project, and writes to its table."""

    url: str
    key: str
    sandbox: Sandbox | None = None
    client: AsyncClient | None = None

    async def insert(self, **values: Any) -> str:
        key = str(uuid.uuid4())
        await self._write("insert", key, values)
        return key

    async def update(self, key: str, **values: Any) -> None:
        await self._write("update", key, values)

    async def delete(self, key: str) -> None:
        await self._write("delete", key, {})

    async def _write(self, operation: str, key: str, values: dict[str, Any]) -> None:
        if self.client is not None:
            table = self.client.table("properties")
            if operation == "insert":
                await table.insert({"id": key, **values}).execute()
            elif operation == "update":
                await table.update(values).eq("id", key).execute()
            else:
                await table.delete().eq("id", key).execute()
            return
        assert self.sandbox is not None
        names, marks = ", ".join(values), ", ".join(["%s"] * len(values))
        arguments = [*values.values(), key]
        if operation == "insert":
            statement = f"insert into properties ({names}, id) values ({marks}, %s)"
        elif operation == "update":
            sets = ", ".join(f"{name} = %s" for name in values)
            statement = f"update properties set {sets} where id = %s"
        else:
            statement = "delete from properties where id = %s"
        await self.sandbox.execute(statement, arguments)


@pytest.fixture(
    params=["sandbox", pytest.param("supabase", marks=pytest.mark.supabase)], scope="module"
)
async def project(request: pytest.FixtureRequest) -> AsyncIterator[Project]:
    if request.param == "sandbox":
        async with Sandbox.open() as sandbox:
            yield Project(sandbox.supabase_url, sandbox.supabase_key, sandbox)
        return
    url = os.environ.get("SUPABASE_URL")
    key = os.environ.get("SUPABASE_SECRET_KEY") or os.environ.get("SUPABASE_SERVICE_ROLE_KEY")
    if not (url and key):
        pytest.skip(
            "SUPABASE_URL and SUPABASE_SECRET_KEY name no project: "
            "run `supabase start --workdir deploy` and set what `supabase status -o env` prints"
        )
    async with httpx.AsyncClient(timeout=20) as http:
        client = await acreate_client(url, key, options(http))
        yield Project(url, key, client=client)


@pytest.fixture(scope="module")
async def bridge_url(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    """Run `bridge serve` as a process, and return its URL when it is ready."""
    url = f"http://127.0.0.1:{free_port()}"
    async with (
        bridge_process(
            tmp_path_factory.mktemp("bridge"),
            "serve",
            "--port",
            url.rpartition(":")[2],
            SUPABASE_URL=project.url,
            SUPABASE_SECRET_KEY=project.key,
        ),
        httpx.AsyncClient() as http,
        asyncio.timeout(READY_SECONDS),
    ):
        yield await _ready(http, url)


async def _ready(http: httpx.AsyncClient, url: str) -> str:
    while True:
        try:
            if (await http.get(url + "/readyz")).status_code == 200:
                return url
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.05)


@asynccontextmanager
async def clients(
    seed_client: SeedClients, url: str, *options_: dict[str, Any]
) -> AsyncIterator[list[SeedClient]]:
    """Connect a seed client for each set of `io()` options."""
    async with AsyncExitStack() as stack:
        made = [await stack.enter_async_context(seed_client(url, **one)) for one in options_]
        for client in made:
            await client.connected()
        yield made


async def next_of(client: SeedClient, key: str) -> dict[str, Any]:
    """Return the next event of one property; a real project may have others."""
    while True:
        event = await client.event()
        if event["data"]["property_id"] == key:
            return event


async def test_seed_client_receives_insert_update_and_delete(
    project: Project, bridge_url: str, seed_client: SeedClients
) -> None:
    async with clients(seed_client, bridge_url, {}) as [client]:
        key = await project.insert(name="Oak View", city="Austin", state="TX", price=10000000)
        created = await next_of(client, key)
        await project.update(key, price=9800000, status="pending")
        updated = await next_of(client, key)
        await project.delete(key)
        deleted = await next_of(client, key)
    assert created["event"] == "property-created"
    assert created["data"]["city"] == "Austin"
    assert updated["event"] == "property-updated"
    assert updated["data"]["changes"] == {
        "price": {"old": 10000000, "new": 9800000},
        "status": {"old": "available", "new": "pending"},
    }
    assert updated["data"]["updated_at"].endswith("Z")
    assert deleted["event"] == "property-deleted"
    assert set(deleted["data"]) == {"property_id", "deleted_at"}


@pytest.mark.once
@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_client_of_a_region_receives_its_listings_only(
    project: Project, bridge_url: str, seed_client: SeedClients, transport: str
) -> None:
    asked = [{"auth": {"regions": [r]}, "transports": [transport]} for r in ("TX", "CA")]
    async with clients(seed_client, bridge_url, *asked) as [texas, california]:
        in_texas = await project.insert(name="Lone Star", state="TX")
        in_california = await project.insert(name="Golden Gate", state="CA")
        await next_of(texas, in_texas)
        await next_of(california, in_california)
        await project.delete(in_texas)
        await project.delete(in_california)
        await next_of(texas, in_texas)
        await next_of(california, in_california)
        received = [
            {event["data"]["property_id"] for event in c.events} for c in (texas, california)
        ]
    assert in_california not in received[0]
    assert in_texas not in received[1]


@pytest.mark.once
async def test_move_is_received_in_both_regions_and_once_by_a_client_of_both(
    project: Project, bridge_url: str, seed_client: SeedClients
) -> None:
    asked = [{"auth": {"regions": regions}} for regions in (["TX"], ["CA"], ["TX", "CA"])]
    async with clients(seed_client, bridge_url, *asked) as [texas, california, both]:
        key = await project.insert(name="Wanderer", state="TX")
        await next_of(texas, key)
        await project.update(key, state="CA")
        moves = [await next_of(texas, key), await next_of(california, key)]
        await project.delete(key)
        assert (await next_of(california, key))["event"] == "property-deleted"
        for name in ("property-created", "property-updated", "property-deleted"):
            assert (await next_of(both, key))["event"] == name
        assert [e["event"] for e in texas.events if e["data"]["property_id"] == key] == [
            "property-created",
            "property-updated",
        ]
    for event in moves:
        assert event["data"]["moved"] == {"from": ["TX"], "to": ["CA"]}
        assert event["data"]["property"]["name"] == "Wanderer"


@pytest.mark.once
async def test_subscribe_adds_the_events_of_a_region_from_then_on(
    project: Project, bridge_url: str, seed_client: SeedClients
) -> None:
    async with clients(seed_client, bridge_url, {"auth": {"regions": ["CA"]}}) as [client]:
        before = await project.insert(name="Before", state="AZ")
        assert await client.ack("subscribe", {"regions": ["AZ"]}) == {
            "ok": True,
            "regions": ["CA", "AZ"],
            "properties": [],
        }
        after = await project.insert(name="After", state="AZ")
        await next_of(client, after)
        answer = await client.ack("unsubscribe", {"regions": ["AZ"]})
        assert answer["regions"] == ["CA"]
        for key in (before, after):
            await project.delete(key)


async def test_unpublished_columns_are_never_sent(
    project: Project, bridge_url: str, seed_client: SeedClients
) -> None:
    async with clients(seed_client, bridge_url, {}) as [client]:
        key = await project.insert(name="Discreet", state="TX", internal_notes="s3cret")
        await next_of(client, key)
        await project.update(key, internal_notes="s3cret again")
        await project.delete(key)
        assert (await next_of(client, key))["event"] == "property-deleted"
    assert "s3cret" not in client.text


async def test_python_client_receives_the_same_events(project: Project, bridge_url: str) -> None:
    received: asyncio.Queue[Any] = asyncio.Queue()
    client = socketio.AsyncClient()
    client.on("property-created", received.put)
    await client.connect(bridge_url, auth={"regions": ["GA"]})
    try:
        key = await project.insert(name="Peachtree", state="GA")
        async with asyncio.timeout(SECONDS):
            while (event := await received.get())["data"]["property_id"] != key:
                pass
        assert event["data"]["name"] == "Peachtree"
        await project.delete(key)
    finally:
        await client.disconnect()
