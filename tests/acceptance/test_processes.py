"""Several processes on one port serve clients as one does, and outlive each other's deaths."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx
import pytest

from tests.acceptance.restartable_bridge import RestartableBridge
from tests.acceptance.test_process import NOWHERE, alive
from tests.acceptance.test_restart import pick, property_events, set_price
from tests.raw_client import Client
from tests.raw_client import client as raw_client
from tests.support.ports import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.sandbox import Sandbox
    from tests.acceptance.conftest import SeedClients, Start
    from tests.acceptance.test_process import RunBridge

SECONDS = 20
MANY = 12
"""Connections of which surely not all land at one of two processes."""


@pytest.fixture
def client(start_js: Start) -> SeedClients:
    return lambda url, **options: start_js("recovery_client.mjs", url, **options)


@pytest.fixture
def bridge(run_bridge: RunBridge, sandbox: Sandbox, tmp_path: Path) -> RestartableBridge:
    log = f"sqlite:///{tmp_path}/log.sqlite3"
    return RestartableBridge(run_bridge, sandbox, log, BRIDGE_PROCESSES="2")


@pytest.fixture
def in_memory(run_bridge: RunBridge, sandbox: Sandbox) -> RestartableBridge:
    return RestartableBridge(run_bridge, sandbox, "memory:", BRIDGE_PROCESSES="2")


async def processes(bridge: RestartableBridge) -> dict[str, dict[str, Any]]:
    """Return the processes of a bridge by name, as /status has them."""
    return {each["name"]: each for each in (await bridge.status()).get("processes", [])}


async def until_processes(
    bridge: RestartableBridge, number: int = 3, *, without: int = 0
) -> dict[str, dict[str, Any]]:
    """Return the processes once there are so many, without that pid."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                found = await processes(bridge)
            except httpx.TransportError:
                found = {}
            if len(found) == number and without not in [each["pid"] for each in found.values()]:
                return found
            await asyncio.sleep(0.05)


async def process_of(bridge: RestartableBridge) -> dict[str, Any]:
    """Return the process that has clients, once only one has: a half-open twin ends soon."""
    async with asyncio.timeout(SECONDS):
        while True:
            serving = [each for each in (await processes(bridge)).values() if each["clients"]]
            if len(serving) == 1:
                return serving[0]
            await asyncio.sleep(0.02)


async def ready(bridge: RestartableBridge) -> None:
    """Wait until every process is ready: each request may reach another one."""
    async with httpx.AsyncClient() as http, asyncio.timeout(SECONDS):
        streak = 0
        while streak < MANY:
            try:
                response = await http.get(bridge.url + "/readyz", headers={"Connection": "close"})
                streak = streak + 1 if response.status_code == 200 else 0
            except httpx.TransportError:
                streak = 0
            await asyncio.sleep(0.02)


async def test_clients_of_all_processes_receive_each_event(
    bridge: RestartableBridge, sandbox: Sandbox
) -> None:
    [row] = await pick(sandbox, 1)
    async with bridge.running(), AsyncExitStack() as stack:
        await ready(bridge)
        clients = [await stack.enter_async_context(raw_client(bridge.url)) for _ in range(MANY)]
        found = await processes(bridge)
        assert found["serve 1"]["clients"] + found["serve 2"]["clients"] == MANY
        assert min(found["serve 1"]["clients"], found["serve 2"]["clients"]) > 0
        assert found["leader"]["clients"] == 0
        await set_price(sandbox, row["id"], 4321)
        for each in clients:
            _, event, _ = await each.next_event("property-updated")
            assert event["data"]["changes"]["price"] == {"old": row["price"], "new": 4321}
        await set_price(sandbox, row["id"], row["price"])


@pytest.mark.once
@pytest.mark.parametrize("transports", [["polling"], ["polling", "websocket"]])
async def test_polls_reach_the_process_of_their_session(
    bridge: RestartableBridge, client: SeedClients, sandbox: Sandbox, transports: list[str]
) -> None:
    # Node's client opens a connection for each poll: the system chooses a process for each.
    [row] = await pick(sandbox, 1)
    async with bridge.running(), AsyncExitStack() as stack:
        await ready(bridge)
        clients = [
            await stack.enter_async_context(client(bridge.url, transports=transports))
            for _ in range(4)
        ]
        for each in clients:
            await each.connected()
        for price in (5001, 5002, 5003):
            await set_price(sandbox, row["id"], price)
            for each in clients:
                [event] = await property_events(each, 1)
                assert event["data"]["changes"]["price"]["new"] == price
        assert not [line for each in clients for line in each.lines if "disconnected" in line]
        await set_price(sandbox, row["id"], row["price"])


@pytest.mark.once
@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_client_recovers_at_another_process_after_the_kill_of_its_own(
    bridge: RestartableBridge, client: SeedClients, sandbox: Sandbox, transport: str
) -> None:
    [row] = await pick(sandbox, 1)
    async with bridge.running():
        await ready(bridge)
        async with client(bridge.url, transports=[transport], auth={"regions": ["CA"]}) as js:
            sid = (await js.connected())["connected"]
            assert (await js.ack("subscribe", {"regions": ["TX"]}))["ok"]
            own = await process_of(bridge)
            os.kill(own["pid"], signal.SIGKILL)
            await set_price(sandbox, row["id"], 6001)
            back = await js.connected()
            assert (back["recovered"], back["connected"]) == (True, sid)
            await set_price(sandbox, row["id"], 6002)
            events = await property_events(js, 2)
            assert [e["data"]["changes"]["price"]["new"] for e in events] == [6001, 6002]
            found = await until_processes(bridge, without=own["pid"])
            assert sum(each["clients"] for each in found.values()) == 1
        await set_price(sandbox, row["id"], row["price"])


@pytest.mark.once
async def test_client_recovers_at_another_process_while_its_own_lives(
    bridge: RestartableBridge, sandbox: Sandbox
) -> None:
    """The connection is lost; its process does not know it yet."""
    [row] = await pick(sandbox, 1)
    async with bridge.running():
        await ready(bridge)
        async with raw_client(bridge.url) as first:
            await asyncio.sleep(0.2)  # a session that began just before is not stored
            left = await process_of(bridge)
            async with aiohttp.ClientSession() as http:
                for _ in range(MANY):
                    again = Client(bridge.url, http, "websocket", None)
                    again.pid, again.offset = first.pid, first.offset
                    await again.connect()
                    assert again.recovered
                    if (await process_of(bridge))["pid"] != left["pid"]:
                        break
                    await again.close()
                else:
                    pytest.fail("all connections reached one process")
                assert again.sid == first.sid
                await set_price(sandbox, row["id"], 6501)
                await again.next_event("property-updated")
                await again.close()
        await set_price(sandbox, row["id"], row["price"])


@pytest.mark.once
async def test_clients_stay_connected_and_miss_nothing_when_the_leader_process_dies(
    bridge: RestartableBridge, client: SeedClients, sandbox: Sandbox
) -> None:
    [row, other] = await pick(sandbox, 2)
    async with bridge.running():
        await ready(bridge)
        async with client(bridge.url, auth={"regions": ["TX"]}) as js:
            await js.connected()
            leader = (await processes(bridge))["leader"]["pid"]
            os.kill(leader, signal.SIGKILL)
            await set_price(sandbox, row["id"], 7001)
            await until_processes(bridge, without=leader)
            [event] = await property_events(js, 1)
            assert event["data"]["changes"]["price"] == {"old": row["price"], "new": 7001}
            await set_price(sandbox, other["id"], 7002)
            [event] = await property_events(js, 1)
            assert event["data"]["changes"]["price"] == {"old": other["price"], "new": 7002}
            assert not [line for line in js.lines if "disconnected" in line]
            await ready(bridge)
            # Recovery goes on: sessions and positions are those of before.
            js.command(drop=True)
            assert (await js.connected())["recovered"] is True
        for each in (row, other):
            await set_price(sandbox, each["id"], each["price"])


@pytest.mark.once
async def test_stuck_leader_process_is_replaced_and_clients_miss_nothing(
    bridge: RestartableBridge, client: SeedClients, sandbox: Sandbox
) -> None:
    [row] = await pick(sandbox, 1)
    async with bridge.running(BRIDGE_PROCESS_STUCK_SECONDS="3") as process:
        await ready(bridge)
        async with client(bridge.url, auth={"regions": ["TX"]}) as js:
            await js.connected()
            leader = (await processes(bridge))["leader"]["pid"]
            os.kill(leader, signal.SIGSTOP)
            await set_price(sandbox, row["id"], 7101)
            [event] = await property_events(js, 1)
            assert event["data"]["changes"]["price"] == {"old": row["price"], "new": 7101}
            assert not [line for line in js.lines if "disconnected" in line]
            assert not running(leader)
        await set_price(sandbox, row["id"], row["price"])
    assert f"process leader (pid {leader}) is stuck" in process.stderr
    assert "BRIDGE_PROCESS_STUCK_SECONDS" in process.stderr


@pytest.mark.once
async def test_client_of_a_stuck_serving_process_recovers_at_another(
    bridge: RestartableBridge, client: SeedClients, sandbox: Sandbox
) -> None:
    [row] = await pick(sandbox, 1)
    async with bridge.running(BRIDGE_PROCESS_STUCK_SECONDS="3"):
        await ready(bridge)
        async with client(bridge.url, auth={"regions": ["TX"]}) as js:
            sid = (await js.connected())["connected"]
            await asyncio.sleep(0.2)  # a session that began just before is not stored
            stuck = (await process_of(bridge))["pid"]
            os.kill(stuck, signal.SIGSTOP)
            await set_price(sandbox, row["id"], 7102)
            back = await js.connected()
            assert (back["recovered"], back["connected"]) == (True, sid)
            [event] = await property_events(js, 1)
            assert event["data"]["changes"]["price"] == {"old": row["price"], "new": 7102}
            await until_processes(bridge, without=stuck)
        await set_price(sandbox, row["id"], row["price"])


@pytest.mark.once
@pytest.mark.parametrize("name", ["leader", "serve 1"])
async def test_process_that_is_busy_for_seconds_is_left_alone(
    bridge: RestartableBridge, name: str
) -> None:
    async with bridge.running(BRIDGE_PROCESS_STUCK_SECONDS="6") as process:
        before = await until_processes(bridge)
        os.kill(before[name]["pid"], signal.SIGSTOP)
        await asyncio.sleep(3)
        os.kill(before[name]["pid"], signal.SIGCONT)
        await asyncio.sleep(4)  # together longer than the setting
        after = await until_processes(bridge)
        assert {each: after[each]["pid"] for each in after} == {
            each: before[each]["pid"] for each in before
        }
    assert "is stuck" not in process.stderr


@pytest.mark.once
async def test_clients_are_fresh_when_the_leader_process_of_a_log_in_memory_dies(
    in_memory: RestartableBridge, client: SeedClients, sandbox: Sandbox
) -> None:
    [row] = await pick(sandbox, 1)
    async with in_memory.running():
        await ready(in_memory)
        async with client(in_memory.url) as js:
            await js.connected()
            await set_price(sandbox, row["id"], 8001)
            await property_events(js, 1)
            leader = (await processes(in_memory))["leader"]["pid"]
            os.kill(leader, signal.SIGKILL)
            assert (await js.connected())["recovered"] is False
            await until_processes(in_memory, without=leader)
            await ready(in_memory)
            await set_price(sandbox, row["id"], 8002)
            [event] = await property_events(js, 1)
            assert event["data"]["changes"]["price"] == {"old": 8001, "new": 8002}
        await set_price(sandbox, row["id"], row["price"])


@pytest.mark.once
async def test_limits_hold_for_all_processes_together(bridge: RestartableBridge) -> None:
    async with bridge.running(BRIDGE_CONNECTIONS="5"), AsyncExitStack() as stack:
        await ready(bridge)
        clients = [await stack.enter_async_context(raw_client(bridge.url)) for _ in range(5)]
        async with aiohttp.ClientSession() as http:
            for _ in range(MANY):
                async with http.get(
                    f"{bridge.url}/socket.io/?EIO=4&transport=polling",
                    headers={"Connection": "close"},
                ) as response:
                    assert response.status == 503
        status = await bridge.status()
        assert (status["connections"], status["refusals"]) == (5, {"too_many_connections": MANY})
        await clients[0].close()
        async with asyncio.timeout(SECONDS):
            while (await bridge.status())["connections"] == 5:
                await asyncio.sleep(0.02)
        await stack.enter_async_context(raw_client(bridge.url))


@pytest.mark.once
async def test_limits_hold_after_the_leader_process_was_replaced(
    bridge: RestartableBridge,
) -> None:
    async with bridge.running(BRIDGE_CONNECTIONS="3"), AsyncExitStack() as stack:
        await ready(bridge)
        for _ in range(3):
            await stack.enter_async_context(raw_client(bridge.url))
        leader = (await processes(bridge))["leader"]["pid"]
        os.kill(leader, signal.SIGKILL)
        await until_processes(bridge, without=leader)
        async with aiohttp.ClientSession() as http:
            for _ in range(MANY):
                url = f"{bridge.url}/socket.io/?EIO=4&transport=polling"
                async with http.get(url, headers={"Connection": "close"}) as response:
                    assert response.status == 503


@pytest.mark.once
async def test_connections_of_a_process_that_died_count_no_more(
    bridge: RestartableBridge,
) -> None:
    async with bridge.running(BRIDGE_CONNECTIONS="4"), AsyncExitStack() as stack:
        await ready(bridge)
        for _ in range(4):
            await stack.enter_async_context(raw_client(bridge.url))
        found = await processes(bridge)
        died = max((found["serve 1"], found["serve 2"]), key=lambda each: int(each["clients"]))
        os.kill(died["pid"], signal.SIGKILL)
        await until_processes(bridge, without=died["pid"])
        for _ in range(died["clients"]):
            await stack.enter_async_context(raw_client(bridge.url))


@pytest.mark.once
async def test_sign_out_ends_the_connections_of_all_processes(
    run_bridge: RunBridge, sandbox: Sandbox
) -> None:
    user = "00000000-0000-4000-8000-000000000042"
    token = sandbox.user_token(user, email="several@sandbox.example")
    secret = {"Authorization": "Bearer an-operators-secret"}
    bridge = RestartableBridge(
        run_bridge,
        sandbox,
        "memory:",
        BRIDGE_PROCESSES="2",
        BRIDGE_ADMIN_SECRET="an-operators-secret",
    )
    async with bridge.running(), AsyncExitStack() as stack:
        await ready(bridge)
        clients = [
            await stack.enter_async_context(raw_client(bridge.url, auth={"token": token}))
            for _ in range(MANY)
        ]
        stranger = await stack.enter_async_context(raw_client(bridge.url))
        async with httpx.AsyncClient(headers=secret) as http:
            status = (await http.get(bridge.url + "/status")).json()
            assert min(each["clients"] for each in status["processes"][1:]) > 0
            metrics = (await http.get(bridge.url + "/metrics")).text
            assert f"bridge_clients {MANY + 1}.0" in metrics
            response = await http.post(bridge.url + "/admin/sign-out", json={"sub": user})
            assert response.json() == {"ok": True, "closed": MANY}
        for each in clients:
            await each.until_closed()
        for _ in range(4):  # no process accepts the token any more
            async with aiohttp.ClientSession() as session:
                again = Client(bridge.url, session, "websocket", {"token": token})
                packet = await again.send_connect()
                assert packet is not None
                assert "signed_out" in packet
        assert (await stranger.request("subscribe", {"regions": ["TX"]}))["ok"]


@pytest.mark.once
async def test_user_at_any_process_is_notified_once(
    bridge: RestartableBridge, sandbox: Sandbox
) -> None:
    user = "c0000000-0000-4000-8000-000000000003"
    row = next(row for row in await pick(sandbox, 20) if row["price"] > 1000)
    await sandbox.execute("insert into auth.users (id) values (%s)", (user,))
    await sandbox.execute(
        "insert into property_watchers (user_id, property_id) values (%s, %s)", (user, row["id"])
    )
    auth = {"token": sandbox.user_token(user), "properties": ["none"]}
    try:
        async with (
            bridge.running(BRIDGE_WATCHERS="public.property_watchers"),
            AsyncExitStack() as stack,
        ):
            await ready(bridge)
            await bridge.until_watches_loaded()
            clients = [
                await stack.enter_async_context(raw_client(bridge.url, auth=auth))
                for _ in range(MANY)
            ]
            found = await processes(bridge)
            assert min(found["serve 1"]["clients"], found["serve 2"]["clients"]) > 0
            await asyncio.sleep(2)  # until the leader process knows of the user
            for price in (500, 100):
                await set_price(sandbox, row["id"], price)
                for each in clients:
                    _, event, _ = await each.next_event("property-notification")
                    assert event["data"]["changes"]["price"]["new"] == price
            for each in clients:
                names = [name for name, *_ in each.events]
                assert names.count("property-notification") == 2
    finally:
        await sandbox.execute("delete from auth.users where id = %s", (user,))
        await set_price(sandbox, row["id"], row["price"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_all_processes_end_on_a_signal(
    bridge: RestartableBridge, client: SeedClients, number: signal.Signals
) -> None:
    async with bridge.running() as process:
        pids = [each["pid"] for each in (await until_processes(bridge)).values()]
        async with client(bridge.url) as js:
            await js.connected()
            assert await process.end(number) == 0
        assert not [pid for pid in pids if running(pid)]
    assert "Traceback" not in process.stderr
    assert " CRITICAL " not in process.stderr


@pytest.mark.once
async def test_second_signal_ends_all_processes_at_once(
    bridge: RestartableBridge, client: SeedClients
) -> None:
    async with bridge.running(BRIDGE_DRAIN_SECONDS="60") as process, AsyncExitStack() as stack:
        pids = [each["pid"] for each in (await until_processes(bridge)).values()]
        for _ in range(3):
            js = await stack.enter_async_context(client(bridge.url))
            await js.connected()
        process.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(1)
        assert all(map(running, pids))
        async with asyncio.timeout(10):
            assert await process.end(signal.SIGTERM) == 0
        assert not [pid for pid in pids if running(pid)]


@pytest.mark.once
async def test_dev_runs_several_processes(run_bridge: RunBridge, http: httpx.AsyncClient) -> None:
    async with run_bridge("dev", "--json", "--no-activity", "--processes", "2") as process:
        addresses = await process.next("bridge_url")
        leader, *serving = addresses["pids"]
        status = (await http.get(addresses["bridge_url"] + "/status")).json()
        assert [each["pid"] for each in status["processes"]] == [leader, *serving]
        assert len(serving) == 2
        assert await process.end(signal.SIGTERM) == 0
        assert not [pid for pid in addresses["pids"] if running(pid)]


@pytest.mark.once
async def test_all_processes_end_when_the_supervisor_is_killed(bridge: RestartableBridge) -> None:
    async with bridge.running() as process:
        pids = [each["pid"] for each in (await until_processes(bridge)).values()]
        await process.end(signal.SIGKILL)
        async with asyncio.timeout(SECONDS):
            while any(map(running, pids)):
                await asyncio.sleep(0.02)


@pytest.mark.once
async def test_bridge_starts_again_right_after_its_supervisor_was_killed(
    bridge: RestartableBridge, client: SeedClients
) -> None:
    async with client(bridge.url, auth={"regions": ["TX"]}) as js:
        async with bridge.running() as process:
            sid = (await js.connected())["connected"]
            await asyncio.sleep(0.2)  # a session that began just before is not stored
            await process.end(signal.SIGKILL)
        async with bridge.running():
            back = await js.connected()
            assert (back["recovered"], back["connected"]) == (True, sid)


@pytest.mark.once
async def test_serve_exits_with_an_error_if_a_process_can_not_start(
    run_bridge: RunBridge, tmp_path: Path
) -> None:
    file = tmp_path / "directory"
    file.mkdir()
    port = str(free_port())
    settings = {**NOWHERE, "BRIDGE_LOG": f"sqlite:///{file}", "BRIDGE_PROCESSES": "2"}
    async with run_bridge("serve", "--port", port, **settings) as process:
        assert await process.end() == 1
    assert "process leader could not start" in process.stderr
    assert str(file) in process.stderr


@pytest.mark.once
async def test_port_of_several_processes_is_not_shared_with_another_bridge(
    run_bridge: RunBridge, http: httpx.AsyncClient
) -> None:
    port = free_port()
    settings = {**NOWHERE, "BRIDGE_LOG": "memory:", "BRIDGE_PROCESSES": "2"}
    async with run_bridge("serve", "--port", str(port), **settings):
        await alive(http, f"http://127.0.0.1:{port}")
        async with run_bridge("serve", "--port", str(port), **settings) as second:
            assert await second.end() == 1
    assert f"can't listen on 127.0.0.1:{port}" in second.stderr


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
