"""`bridge dev --machines`: several bridges over a Redis server of their own."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.acceptance.conftest import SECONDS
from tests.acceptance.test_processes import running

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from tests.acceptance.conftest import BridgeProcess, SeedClients

    RunBridge = Callable[..., AbstractAsyncContextManager[BridgeProcess]]

COMMAND = ("dev", "--json", "--port", "0")


async def status(http: httpx.AsyncClient, url: str) -> dict[str, Any]:
    answer: dict[str, Any] = (await http.get(url + "/status")).json()
    return answer


async def until_closed(url: str) -> None:
    """Wait until no server listens there."""
    parts = urlsplit(url)
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                _, writer = await asyncio.open_connection(parts.hostname, parts.port)
            except ConnectionRefusedError:
                return
            writer.close()
            await asyncio.sleep(0.05)


@pytest.mark.once
async def test_dev_machines_share_a_log_and_another_one_leads_when_the_leader_is_killed(
    run_bridge: RunBridge, seed_client: SeedClients, http: httpx.AsyncClient
) -> None:
    async with run_bridge(*COMMAND, "--machines", "3") as process:
        where = await process.next("bridge_url")
        urls, pids = where["bridge_urls"], where["pids"]
        assert urls[0] == where["bridge_url"]
        assert len(urls) == len(set(urls)) == len(pids) == len(set(pids)) == 3
        roles = [(await status(http, url))["role"] for url in urls]
        assert sorted(roles) == ["follower", "follower", "leader"]
        leader = roles.index("leader")
        other = urls[(leader + 1) % 3]
        async with seed_client(other) as client:
            await client.connected()
            os.kill(pids[leader], signal.SIGKILL)
            rest = [url for url in urls if url != urls[leader]]
            async with asyncio.timeout(SECONDS):
                while "leader" not in [(await status(http, url))["role"] for url in rest]:
                    await asyncio.sleep(0.05)
            seen = len(client.events)
            async with asyncio.timeout(SECONDS):
                while len(client.events) == seen:  # a change of the generated traffic
                    await asyncio.sleep(0.05)
        assert await process.end(signal.SIGINT) == 0
        assert not [pid for pid in pids if running(pid)]
        await until_closed(where["redis_url"])
    told = f"Bridge {leader + 1} (pid {pids[leader]}, {urls[leader]}) was ended by SIGKILL"
    assert told in process.stderr
    assert process.stderr.count("was ended by") == 1


@pytest.mark.once
async def test_dev_machines_leave_no_process_when_dev_is_killed(run_bridge: RunBridge) -> None:
    async with run_bridge(*COMMAND, "--no-activity", "--machines", "2") as process:
        where = await process.next("bridge_url")
        await process.end(signal.SIGKILL)
        async with asyncio.timeout(SECONDS):
            while any(map(running, where["pids"])):
                await asyncio.sleep(0.05)
        await until_closed(where["redis_url"])


@pytest.mark.parametrize(
    ("arguments", "settings", "expected"),
    [
        (("--machines", "0"), {}, "expected --machines 1 or more"),
        (("--machines", "2", "--processes", "2"), {}, "not together with --processes"),
        (("--machines", "2"), {"BRIDGE_LOG": "memory:"}, "expected BRIDGE_LOG=redis://host:6379/0"),
    ],
)
async def test_dev_rejects_options_that_contradict_each_other(
    run_bridge: RunBridge,
    arguments: tuple[str, ...],
    settings: dict[str, str],
    expected: str,
) -> None:
    async with run_bridge(*COMMAND, *arguments, **settings) as process:
        assert await process.end() == 1
    assert expected in process.stderr
