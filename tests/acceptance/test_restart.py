"""Clients recover every event across a restart of the bridge, and changes during the outage have
their true old values.
"""

from __future__ import annotations

import asyncio
import resource
import signal
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import socketio

from tests.acceptance.conftest import SECONDS
from tests.acceptance.restartable_bridge import RestartableBridge
from tests.acceptance.test_process import NOWHERE
from tests.support.ports import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.sandbox import Sandbox
    from tests.acceptance.conftest import SeedClient, SeedClients, Start
    from tests.acceptance.test_process import RunBridge


@pytest.fixture
def client(start_js: Start) -> SeedClients:
    return lambda url, **options: start_js("recovery_client.mjs", url, **options)


@pytest.fixture
def restartable(run_bridge: RunBridge, sandbox: Sandbox, tmp_path: Path) -> RestartableBridge:
    return RestartableBridge(run_bridge, sandbox, f"sqlite:///{tmp_path}/log.sqlite3")


async def property_events(client: SeedClient, number: int) -> list[dict[str, Any]]:
    """Return the next events of properties."""
    out: list[dict[str, Any]] = []
    while len(out) < number:
        event = await client.event()
        if event["event"] != "bridge-status":
            out.append(event)
    return out


async def pick(sandbox: Sandbox, number: int, state: str = "TX") -> list[dict[str, Any]]:
    return await sandbox.execute(
        "select id::text, price::bigint, name, state from properties"
        " where state = %s and price is not null order by id limit %s",
        (state, number),
    )


async def set_price(sandbox: Sandbox, key: str, price: int) -> None:
    await sandbox.execute("update properties set price = %s where id = %s", (price, key))


@pytest.mark.parametrize(
    ("transport", "number"),
    [
        pytest.param("polling", signal.SIGKILL, marks=pytest.mark.once),
        ("polling", signal.SIGTERM),
        ("websocket", signal.SIGKILL),
        pytest.param("websocket", signal.SIGTERM, marks=pytest.mark.once),
    ],
)
async def test_client_recovers_every_event_across_a_restart(
    restartable: RestartableBridge,
    client: SeedClients,
    sandbox: Sandbox,
    number: int,
    transport: str,
) -> None:
    first, second, third = await pick(sandbox, 3)
    [elsewhere] = await pick(sandbox, 1, "CA")
    async with client(restartable.url, transports=[transport], auth={"regions": ["TX"]}) as js:
        async with restartable.running() as process:
            sid = (await js.connected())["connected"]
            await set_price(sandbox, first["id"], 111)
            [event] = await property_events(js, 1)
            assert event["data"]["changes"]["price"] == {"old": first["price"], "new": 111}
            await process.end(number)
        await set_price(sandbox, first["id"], 222)
        await set_price(sandbox, first["id"], 333)
        await set_price(sandbox, elsewhere["id"], 444)
        await sandbox.execute("delete from properties where id = %s", (second["id"],))
        async with restartable.running():
            back = await js.connected()
            assert back["recovered"] is True
            assert back["connected"] == sid
            repaired = await property_events(js, 2)
            await set_price(sandbox, third["id"], 555)
            [live] = await property_events(js, 1)
    by_key = {event["data"]["property_id"]: event for event in repaired}
    assert by_key[first["id"]]["data"]["changes"]["price"] == {"old": 111, "new": 333}
    assert by_key[second["id"]]["event"] == "property-deleted"
    assert live["data"]["changes"]["price"] == {"old": third["price"], "new": 555}


@pytest.mark.once
async def test_client_without_an_earlier_event_recovers_across_a_restart(
    restartable: RestartableBridge, client: SeedClients, sandbox: Sandbox
) -> None:
    [row] = await pick(sandbox, 1)
    async with client(restartable.url, auth={"properties": [row["id"]]}) as js:
        async with restartable.running() as process:
            await js.connected()
            await asyncio.sleep(0.2)  # a session that began just before the kill is not stored
            await process.end(signal.SIGKILL)
        await set_price(sandbox, row["id"], 1234)
        async with restartable.running():
            assert (await js.connected())["recovered"] is True
            [event] = await property_events(js, 1)
    assert event["data"]["changes"]["price"] == {"old": row["price"], "new": 1234}


@pytest.mark.once
async def test_acknowledged_subscription_survives_a_kill_right_after_the_ack(
    restartable: RestartableBridge, client: SeedClients, sandbox: Sandbox
) -> None:
    [row] = await pick(sandbox, 1, "CA")
    async with client(restartable.url, auth={"regions": ["TX"]}) as js:
        async with restartable.running() as process:
            await js.connected()
            await asyncio.sleep(0.2)
            answer = await js.ack("subscribe", {"regions": ["CA"]})
            process.process.send_signal(signal.SIGKILL)
            assert sorted(answer["regions"]) == ["CA", "TX"]
            await process.end()
        async with restartable.running():
            assert (await js.connected())["recovered"] is True
            await set_price(sandbox, row["id"], 777)
            [event] = await property_events(js, 1)
    assert event["data"]["property_id"] == row["id"]


async def entity_tag(url: str) -> str:
    async with httpx.AsyncClient() as http:
        return (await http.get(f"{url}/properties?region=TX")).headers["ETag"]


@pytest.mark.once
async def test_client_of_a_history_that_an_older_copy_lacks_is_fresh(
    restartable: RestartableBridge, client: SeedClients, sandbox: Sandbox, tmp_path: Path
) -> None:
    [row] = await pick(sandbox, 1)
    tags = []
    async with client(restartable.url, auth={"regions": ["TX"]}) as js:
        async with restartable.running() as process:
            await js.connected()
            await set_price(sandbox, row["id"], 111)
            await property_events(js, 1)
            await process.end(signal.SIGKILL)
        copies = {path: path.read_bytes() for path in tmp_path.glob("log.sqlite3*")}
        async with restartable.running() as process:
            assert (await js.connected())["recovered"] is True
            await set_price(sandbox, row["id"], 222)
            await property_events(js, 1)
            tags.append(await entity_tag(restartable.url))
            await process.end(signal.SIGKILL)
        for path, content in copies.items():
            path.write_bytes(content)
        # The restored file has the same change as its second entry.
        async with restartable.running():
            assert (await js.connected())["recovered"] is False
            tags.append(await entity_tag(restartable.url))
    assert tags[0] != tags[1]


@pytest.mark.once
async def test_client_is_fresh_after_a_restart_with_a_log_in_memory(
    run_bridge: RunBridge, client: SeedClients, sandbox: Sandbox
) -> None:
    restartable = RestartableBridge(run_bridge, sandbox, "memory:")
    async with client(restartable.url) as js:
        async with restartable.running() as process:
            await js.connected()
            await asyncio.sleep(0.2)
            await process.end(signal.SIGKILL)
        async with restartable.running():
            assert (await js.connected())["recovered"] is False


@pytest.mark.once
async def test_client_is_fresh_after_a_restart_beyond_the_recovery_window(
    run_bridge: RunBridge, client: SeedClients, sandbox: Sandbox, tmp_path: Path
) -> None:
    restartable = RestartableBridge(
        run_bridge,
        sandbox,
        f"sqlite:///{tmp_path}/log.sqlite3",
        BRIDGE_RECOVERY_SECONDS="0.5",
    )
    async with client(restartable.url) as js:
        async with restartable.running() as process:
            await js.connected()
            await process.end(signal.SIGTERM)
        await asyncio.sleep(1)
        async with restartable.running():
            assert (await js.connected())["recovered"] is False


async def test_second_bridge_with_the_same_log_does_not_start(
    restartable: RestartableBridge,
) -> None:
    async with restartable.running():
        async with restartable.start(free_port()) as second:
            assert await second.end() == 1
        [line] = _errors(second.stderr)
        assert "in use by another process" in line


def _errors(stderr: str) -> list[str]:
    """Return all lines from the first error on."""
    lines = stderr.splitlines()
    first = next(number for number, line in enumerate(lines) if " ERROR " in line)
    return lines[first:]


@pytest.mark.once
async def test_log_that_can_not_be_opened_is_reported_in_one_line(
    run_bridge: RunBridge, tmp_path: Path
) -> None:
    settings = {**NOWHERE, "BRIDGE_LOG": f"sqlite:///{tmp_path}/no/folder/log.sqlite3"}
    async with run_bridge("serve", "--port", str(free_port()), **settings) as process:
        assert await process.end() == 1
    [line] = _errors(process.stderr)
    assert "no/folder/log.sqlite3 can't be opened: No such file or directory" in line


@pytest.mark.once
async def test_start_that_waits_for_a_full_disk_is_reported_and_ends_by_a_signal(
    run_bridge: RunBridge, tmp_path: Path
) -> None:
    settings = {**NOWHERE, "BRIDGE_LOG": f"sqlite:///{tmp_path}/log.sqlite3"}
    async with run_bridge("serve", "--port", str(free_port()), **settings) as process:
        # Enough for what is logged, and too little for a new log.
        resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
        async with asyncio.timeout(20):
            while "can't be written" not in (tmp_path / "stderr-0").read_text():
                await asyncio.sleep(0.02)
        assert await process.end(signal.SIGTERM) == 0
    assert "Free space on its disk" in process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.once
async def test_damaged_log_is_reported_with_a_remedy(run_bridge: RunBridge, tmp_path: Path) -> None:
    (tmp_path / "log.sqlite3").write_bytes(b"x" * 10_000)
    settings = {**NOWHERE, "BRIDGE_LOG": f"sqlite:///{tmp_path}/log.sqlite3"}
    async with run_bridge("serve", "--port", str(free_port()), **settings) as process:
        assert await process.end() == 1
    assert "is damaged, or no SQLite database" in process.stderr
    assert "Move it away" in process.stderr


@pytest.mark.once
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_python_client_reconnects_after_a_restart(
    restartable: RestartableBridge, number: signal.Signals
) -> None:
    connects: asyncio.Queue[str] = asyncio.Queue()
    client = socketio.AsyncClient(reconnection_delay=0.05, reconnection_delay_max=0.2)
    client.on("connect", lambda: connects.put_nowait(client.get_sid()))
    async with restartable.running() as process:
        await client.connect(restartable.url, transports=["websocket"])
        async with asyncio.timeout(SECONDS):
            await connects.get()
        await process.end(number)
    async with restartable.running(), asyncio.timeout(SECONDS):
        await connects.get()
        await client.disconnect()
