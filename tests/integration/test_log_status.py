"""What operators see of a log that several machines share: in `/status` and in `bridge check`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from bridge import create_app
from bridge.cli.check import check
from bridge.sandbox.redis import RedisServer
from bridge.settings import Settings
from tests.fakes import FakeSource, FakeTable, row, settings
from tests.serving import served
from tests.support.redis import unused_name

PASSWORD = "the-password-of-the-server"


def shared(server: RedisServer, **overrides: Any) -> Settings:
    return settings(
        log=server.url.replace("//", f"//default:{PASSWORD}@"),
        drain_seconds=0,
        join_timeout=0.1,
        **{"log_name": unused_name(), **overrides},
    )


@asynccontextmanager
async def machine(server: RedisServer, **overrides: Any) -> AsyncIterator[str]:
    """Serve a bridge, ready inside."""
    bridge = create_app(
        shared(server, **overrides), source=FakeSource(), table=FakeTable(row("p1"))
    )
    async with served(bridge, drain=bridge.drain) as url, httpx.AsyncClient() as http:
        async with asyncio.timeout(20):
            while (await http.get(f"{url}/readyz")).status_code != 200:
                await asyncio.sleep(0.02)
        yield url


async def log_lines(checked: Settings) -> list[str]:
    """Return the lines of `bridge check` about the log."""
    lines: list[str] = []
    await check(checked, lines.append)
    assert PASSWORD not in str(lines)
    return [line for line in lines if "  log: " in line]


async def test_status_shows_role_lag_machines_and_the_server_of_the_log() -> None:
    async with (
        RedisServer("--requirepass", PASSWORD, "--maxmemory", "50000000") as server,
        machine(server) as url,
        httpx.AsyncClient() as http,
    ):
        async with asyncio.timeout(20):  # a process reports its role through the log
            while True:
                status = (await http.get(f"{url}/status")).json()
                if [each["role"] for each in status["machines"]] == ["leader"]:
                    break
                await asyncio.sleep(0.02)
    assert status["role"] == "leader"
    assert status["term"] == 1
    assert status["lag"]["entries"] == 0
    assert status["lag"]["ms"] >= 0
    server_status = status["log_server"]
    assert server_status["version"].startswith(("Redis ", "Valkey "))
    assert server_status["eviction"] == "noeviction"
    assert server_status["persistence"] == "off"
    assert server_status["memory"].endswith("of 50 MB")
    assert "appendonly" in str(server_status["warnings"])
    assert PASSWORD not in str(status)


async def test_status_shows_no_server_of_a_log_without_one() -> None:
    bridge = create_app(settings(), source=FakeSource(), table=FakeTable(row("p1")))
    async with served(bridge, drain=bridge.drain) as url, httpx.AsyncClient() as http:
        status = (await http.get(f"{url}/status")).json()
    assert status["role"] == "leader"
    assert status["log_server"] is None


async def test_check_shows_the_server_of_the_log_and_the_machines_that_use_it() -> None:
    async with RedisServer(
        "--requirepass", PASSWORD, "--maxmemory-policy", "allkeys-lru"
    ) as server:
        async with machine(server, log_name="listings"):
            seen = await log_lines(shared(server, log_name="listings"))
        facts, *warnings, state = seen
    assert "eviction allkeys-lru, persistence off" in facts
    assert [line[:10] for line in warnings] == ["warn  log:"] * 2
    assert all("\n      fix: Set " in line for line in warnings)
    assert "'listings' has 1 rows" in state
    assert "bridges 1, leader " in state
    assert "leader none" not in state
    assert not any(line.startswith("FAIL") for line in seen)


async def test_check_fails_where_a_bridge_would_be_refused() -> None:
    async with (
        RedisServer("--requirepass", PASSWORD) as server,
        machine(server, log_name="listings"),
    ):
        lines = await log_lines(shared(server, log_name="listings", region=("city",)))
    [line] = [line for line in lines if line.startswith("FAIL")]
    assert line.startswith("FAIL  log: ")
    assert "BRIDGE_LOG_NAME" in line


async def test_check_of_a_log_without_a_server_has_no_line() -> None:
    assert await log_lines(settings(join_timeout=0.1)) == []
