"""The bridge is killed and started again: nobody misses anything, and what changed meanwhile is
told with its true old values.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import socketio

from tests.acceptance.test_process import NOWHERE, alive, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bridge.sandbox import Sandbox
    from tests.acceptance.conftest import BridgeProcess, SeedClient, SeedClients, Start
    from tests.acceptance.test_process import RunBridge


class Site:
    """A bridge that can be killed, always at the same place with the same log."""

    def __init__(self, run: RunBridge, sandbox: Sandbox, log: str, **settings: str) -> None:
        self._run = run
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._settings = {
            "SUPABASE_URL": sandbox.supabase_url,
            "SUPABASE_SECRET_KEY": sandbox.supabase_key,
            "BRIDGE_LOG": log,
            **settings,
        }

    @asynccontextmanager
    async def up(self) -> AsyncIterator[BridgeProcess]:
        """Running, and ready. Killed at the end."""
        async with self._run("serve", "--port", str(self.port), **self._settings) as process:
            async with httpx.AsyncClient() as http:
                await alive(http, self.url)
                async with asyncio.timeout(15):
                    while (await http.get(self.url + "/readyz")).status_code != 200:
                        await asyncio.sleep(0.02)
            yield process


@pytest.fixture
def client(start_js: Start) -> SeedClients:
    return lambda url, **options: start_js("recovery_client.mjs", url, **options)


@pytest.fixture
def site(run_bridge: RunBridge, sandbox: Sandbox, tmp_path: Path) -> Site:
    return Site(run_bridge, sandbox, f"sqlite:///{tmp_path}/log.sqlite3")


async def property_events(client: SeedClient, number: int) -> list[dict[str, Any]]:
    """The next events that are about properties."""
    out: list[dict[str, Any]] = []
    while len(out) < number:
        event = await client.event()
        if event["event"] != "bridge-status":
            out.append(event)
    return out


async def some(sandbox: Sandbox, number: int, state: str = "TX") -> list[dict[str, Any]]:
    return await sandbox.execute(
        "select id::text, price::bigint, name, state from properties"
        " where state = %s and price is not null order by id limit %s",
        (state, number),
    )


async def reprice(sandbox: Sandbox, key: str, price: int) -> None:
    await sandbox.execute("update properties set price = %s where id = %s", (price, key))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_a_client_misses_nothing_across_a_restart(
    site: Site, client: SeedClients, sandbox: Sandbox, number: int, transport: str
) -> None:
    first, second, third = await some(sandbox, 3)
    [elsewhere] = await some(sandbox, 1, "CA")
    async with client(site.url, transports=[transport], auth={"regions": ["TX"]}) as js:
        async with site.up() as process:
            sid = (await js.connected())["connected"]
            await reprice(sandbox, first["id"], 111)
            [event] = await property_events(js, 1)
            assert event["data"]["changes"]["price"] == {"old": first["price"], "new": 111}
            await process.end(number)
        await reprice(sandbox, first["id"], 222)
        await reprice(sandbox, first["id"], 333)
        await reprice(sandbox, elsewhere["id"], 444)
        await sandbox.execute("delete from properties where id = %s", (second["id"],))
        async with site.up():
            back = await js.connected()
            assert back["recovered"] is True
            assert back["connected"] == sid
            repaired = await property_events(js, 2)
            await reprice(sandbox, third["id"], 555)
            [live] = await property_events(js, 1)
    by_key = {event["data"]["property_id"]: event for event in repaired}
    assert by_key[first["id"]]["data"]["changes"]["price"] == {"old": 111, "new": 333}
    assert by_key[second["id"]]["event"] == "property-deleted"
    assert live["data"]["changes"]["price"] == {"old": third["price"], "new": 555}


async def test_so_it_is_for_who_got_no_event_before(
    site: Site, client: SeedClients, sandbox: Sandbox
) -> None:
    [row] = await some(sandbox, 1)
    async with client(site.url, auth={"properties": [row["id"]]}) as js:
        async with site.up() as process:
            await js.connected()
            await asyncio.sleep(0.2)  # a client of the very last moment would come back as new
            await process.end(signal.SIGKILL)
        await reprice(sandbox, row["id"], 1234)
        async with site.up():
            assert (await js.connected())["recovered"] is True
            [event] = await property_events(js, 1)
    assert event["data"]["changes"]["price"] == {"old": row["price"], "new": 1234}


async def test_what_was_acknowledged_holds_after_a_kill_in_the_same_moment(
    site: Site, client: SeedClients, sandbox: Sandbox
) -> None:
    [row] = await some(sandbox, 1, "CA")
    async with client(site.url, auth={"regions": ["TX"]}) as js:
        async with site.up() as process:
            await js.connected()
            await asyncio.sleep(0.2)
            answer = await js.ack("subscribe", {"regions": ["CA"]})
            process.process.send_signal(signal.SIGKILL)
            assert sorted(answer["regions"]) == ["CA", "TX"]
            await process.end()
        async with site.up():
            assert (await js.connected())["recovered"] is True
            await reprice(sandbox, row["id"], 777)
            [event] = await property_events(js, 1)
    assert event["data"]["property_id"] == row["id"]


async def test_without_a_file_a_client_comes_back_as_a_new_one(
    run_bridge: RunBridge, client: SeedClients, sandbox: Sandbox
) -> None:
    site = Site(run_bridge, sandbox, "memory:")
    async with client(site.url) as js:
        async with site.up() as process:
            await js.connected()
            await asyncio.sleep(0.2)
            await process.end(signal.SIGKILL)
        async with site.up():
            assert (await js.connected())["recovered"] is False


async def test_past_the_window_a_client_comes_back_as_a_new_one(
    run_bridge: RunBridge, client: SeedClients, sandbox: Sandbox, tmp_path: Path
) -> None:
    site = Site(
        run_bridge,
        sandbox,
        f"sqlite:///{tmp_path}/log.sqlite3",
        BRIDGE_RECOVERY_SECONDS="0.5",
    )
    async with client(site.url) as js:
        async with site.up() as process:
            await js.connected()
            await process.end(signal.SIGTERM)
        await asyncio.sleep(1)
        async with site.up():
            assert (await js.connected())["recovered"] is False


async def test_a_second_bridge_with_the_same_log_does_not_start(site: Site) -> None:
    async with site.up():
        settings = {**site._settings, "BRIDGE_PORT": str(free_port())}
        async with site._run("serve", **settings) as second:
            assert await second.end() == 1
        assert "in use by another process" in second.stderr


async def test_a_damaged_log_is_named_with_the_way_out(
    run_bridge: RunBridge, tmp_path: Path
) -> None:
    (tmp_path / "log.sqlite3").write_bytes(b"x" * 10_000)
    settings = {**NOWHERE, "BRIDGE_LOG": f"sqlite:///{tmp_path}/log.sqlite3"}
    async with run_bridge("serve", "--port", str(free_port()), **settings) as process:
        assert await process.end() == 1
    assert "is damaged, or no SQLite database" in process.stderr
    assert "Move it away" in process.stderr


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_pythons_own_client_comes_back_by_itself_too(
    site: Site, number: signal.Signals
) -> None:
    connects: asyncio.Queue[str] = asyncio.Queue()
    client = socketio.AsyncClient(reconnection_delay=0.05, reconnection_delay_max=0.2)
    client.on("connect", lambda: connects.put_nowait(client.get_sid()))
    async with site.up() as process:
        await client.connect(site.url, transports=["websocket"])
        async with asyncio.timeout(15):
            await connects.get()
        await process.end(number)
    async with site.up(), asyncio.timeout(15):
        await connects.get()
        await client.disconnect()
