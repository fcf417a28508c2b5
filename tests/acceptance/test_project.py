"""`bridge serve` before a project, from a row to the official clients.

Every test runs against the sandbox, and again against the project that `SUPABASE_URL` and
`SUPABASE_SECRET_KEY` name (`supabase start --workdir deploy`), where rows are written through its
API. Rows are their tests' own: nothing else in the table is touched.
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
from tests.acceptance.conftest import BridgeProcess, SeedClient, SeedClients, bridge_process
from tests.acceptance.test_process import free_port
from tests.conftest import options

RunBridge = Callable[..., AbstractAsyncContextManager[BridgeProcess]]
READY_SECONDS = 60.0


@dataclass
class Project:
    """A Supabase project, and a way to write to its table."""

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

    async def _write(self, what: str, key: str, values: dict[str, Any]) -> None:
        if self.client is not None:
            table = self.client.table("properties")
            if what == "insert":
                await table.insert({"id": key, **values}).execute()
            elif what == "update":
                await table.update(values).eq("id", key).execute()
            else:
                await table.delete().eq("id", key).execute()
            return
        assert self.sandbox is not None
        names, marks = ", ".join(values), ", ".join(["%s"] * len(values))
        arguments = [*values.values(), key]
        if what == "insert":
            statement = f"insert into properties ({names}, id) values ({marks}, %s)"
        elif what == "update":
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
            "run `supabase start --workdir deploy` and set what `supabase status -o env` says"
        )
    async with httpx.AsyncClient(timeout=20) as http:
        client = await acreate_client(url, key, options(http))
        yield Project(url, key, client=client)


@pytest.fixture(scope="module")
async def bridge_url(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    """`bridge serve` as a process of its own, ready."""
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
    seed_client: SeedClients, url: str, *asked: dict[str, Any]
) -> AsyncIterator[list[SeedClient]]:
    """Seed clients, connected, one for each set of `io()` options."""
    async with AsyncExitStack() as stack:
        made = [await stack.enter_async_context(seed_client(url, **one)) for one in asked]
        for client in made:
            await client.connected()
        yield made


async def of(client: SeedClient, key: str) -> dict[str, Any]:
    """The client's next event of one property; a real project may have others."""
    while True:
        event = await client.event()
        if event["data"]["property_id"] == key:
            return event


async def test_the_seed_documents_client_hears_a_listings_whole_life(
    project: Project, bridge_url: str, seed_client: SeedClients
) -> None:
    async with clients(seed_client, bridge_url, {}) as [client]:
        key = await project.insert(name="Oak View", city="Austin", state="TX", price=10000000)
        created = await of(client, key)
        await project.update(key, price=9800000, status="pending")
        updated = await of(client, key)
        await project.delete(key)
        deleted = await of(client, key)
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


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_a_region_hears_its_own_listings_only(
    project: Project, bridge_url: str, seed_client: SeedClients, transport: str
) -> None:
    asked = [{"auth": {"regions": [r]}, "transports": [transport]} for r in ("TX", "CA")]
    async with clients(seed_client, bridge_url, *asked) as [texas, california]:
        in_texas = await project.insert(name="Lone Star", state="TX")
        in_california = await project.insert(name="Golden Gate", state="CA")
        await of(texas, in_texas)
        await of(california, in_california)
        await project.delete(in_texas)
        await project.delete(in_california)
        await of(texas, in_texas)
        await of(california, in_california)
        told = [{event["data"]["property_id"] for event in c.events} for c in (texas, california)]
    assert in_california not in told[0]
    assert in_texas not in told[1]


async def test_a_move_is_heard_in_both_regions_and_once_by_who_is_in_both(
    project: Project, bridge_url: str, seed_client: SeedClients
) -> None:
    asked = [{"auth": {"regions": regions}} for regions in (["TX"], ["CA"], ["TX", "CA"])]
    async with clients(seed_client, bridge_url, *asked) as [texas, california, both]:
        key = await project.insert(name="Wanderer", state="TX")
        await of(texas, key)
        await project.update(key, state="CA")
        heard = [await of(texas, key), await of(california, key)]
        await project.delete(key)
        assert (await of(california, key))["event"] == "property-deleted"
        for name in ("property-created", "property-updated", "property-deleted"):
            assert (await of(both, key))["event"] == name
        assert [e["event"] for e in texas.events if e["data"]["property_id"] == key] == [
            "property-created",
            "property-updated",
        ]
    for event in heard:
        assert event["data"]["moved"] == {"from": ["TX"], "to": ["CA"]}
        assert event["data"]["property"]["name"] == "Wanderer"


async def test_a_region_joined_later_is_heard_from_then_on(
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
        await of(client, after)
        answer = await client.ack("unsubscribe", {"regions": ["AZ"]})
        assert answer["regions"] == ["CA"]
        for key in (before, after):
            await project.delete(key)


async def test_what_is_not_published_is_never_told(
    project: Project, bridge_url: str, seed_client: SeedClients
) -> None:
    async with clients(seed_client, bridge_url, {}) as [client]:
        key = await project.insert(name="Discreet", state="TX", internal_notes="s3cret")
        await of(client, key)
        await project.update(key, internal_notes="s3cret again")
        await project.delete(key)
        assert (await of(client, key))["event"] == "property-deleted"
    assert "s3cret" not in client.text


async def test_the_python_client_hears_the_same(project: Project, bridge_url: str) -> None:
    heard: asyncio.Queue[Any] = asyncio.Queue()
    client = socketio.AsyncClient()
    client.on("property-created", heard.put)
    await client.connect(bridge_url, auth={"regions": ["GA"]})
    try:
        key = await project.insert(name="Peachtree", state="GA")
        async with asyncio.timeout(15):
            while (event := await heard.get())["data"]["property_id"] != key:
                pass
        assert event["data"]["name"] == "Peachtree"
        await project.delete(key)
    finally:
        await client.disconnect()
