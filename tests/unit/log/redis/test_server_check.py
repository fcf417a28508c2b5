"""Which servers are refused at the start, and what is reported of the others."""

from __future__ import annotations

import logging
import socket
from typing import Any

import pytest
from redis.asyncio import Redis

from bridge.errors import LogUnusableError
from bridge.log.redis import event_log
from bridge.log.redis.server_check import facts_of
from bridge.sandbox.redis import RedisServer
from tests.support.ports import free_port
from tests.support.redis import opened, parts, unused_name

GOOD = {
    "redis_version": "7.2.4",
    "role": "master",
    "cluster_enabled": 0,
    "maxmemory_policy": "noeviction",
    "used_memory": 1_000_000,
    "maxmemory": 100_000_000,
    "aof_enabled": 1,
}


def warnings(info: dict[str, Any], *, saves: str | None = None, clock: float = 0) -> str:
    return "\n".join(facts_of(GOOD | info, "redis://h", saves=saves, clock=clock).warnings)


def test_good_server_has_no_warnings() -> None:
    assert warnings({}) == ""


def test_facts_name_the_server() -> None:
    facts = facts_of(GOOD | {"valkey_version": "8.1.0"}, "s", saves=None, clock=0)
    assert (facts.version, facts.eviction, facts.persistence, facts.memory) == (
        "Valkey 8.1.0",
        "noeviction",
        "AOF",
        "1 MB of 100 MB",
    )


@pytest.mark.parametrize("version", ["6.0.16", "5.0.7", "2.8"])
def test_server_before_6_2_is_refused(version: str) -> None:
    with pytest.raises(LogUnusableError, match=rf"expected Redis 6\.2 or later.*{version}"):
        facts_of(GOOD | {"redis_version": version}, "redis://h", saves=None, clock=0)


@pytest.mark.parametrize("version", ["6.2.0", "7.0.15", "8.2.3", "10.0"])
def test_server_from_6_2_on_is_accepted(version: str) -> None:
    facts_of(GOOD | {"redis_version": version}, "redis://h", saves=None, clock=0)


@pytest.mark.parametrize(
    ("info", "saves", "clock", "text"),
    [
        ({"maxmemory_policy": "allkeys-lru"}, None, 0, "may evict the log"),
        ({"used_memory": 95_000_000}, None, 0, "memory is nearly full"),
        ({"aof_enabled": 0}, "", 0, "its restart loses the log (persistence: off)"),
        ({"aof_enabled": 0}, "3600 1", 0, "since the last snapshot (persistence: RDB)"),
        ({}, None, 9, "9 s ahead of"),
        ({}, None, -9, "9 s behind"),
    ],
)
def test_risk_is_reported_with_what_to_do(
    info: dict[str, Any], saves: str | None, clock: float, text: str
) -> None:
    assert text in warnings(info, saves=saves, clock=clock)


def test_persistence_that_the_server_does_not_tell_is_no_warning() -> None:
    assert warnings({"aof_enabled": 0}, saves=None) == ""


def test_policy_that_evicts_only_keys_with_an_expiry_is_no_warning() -> None:
    assert warnings({"maxmemory_policy": "volatile-lru"}) == ""


async def refusal(url: str) -> str:
    made = parts(url, unused_name())
    with pytest.raises(LogUnusableError) as raised:
        await made.log.open()
    return str(raised.value)


async def test_replica_is_refused_at_the_start(redis_server: RedisServer) -> None:
    async with RedisServer("--replicaof", "127.0.0.1", str(redis_server.port)) as replica:
        text = await refusal(replica.url)
    assert "is a replica of 127.0.0.1" in text
    assert "Name the primary in BRIDGE_LOG" in text


async def test_cluster_is_refused_at_the_start() -> None:
    port = free_port()
    while port > 55_000:  # nodes also listen at a port 10,000 above
        port = free_port()
    async with RedisServer("--cluster-enabled", "yes", port=port) as node:
        assert "is a node of a cluster" in await refusal(node.url)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:{}/0", "redis://:wr0ng@127.0.0.1:{}/0"])
async def test_wrong_password_is_refused_at_once_and_not_shown(url: str) -> None:
    async with RedisServer("--requirepass", "r1ght") as server:
        text = await refusal(url.format(server.port))
        async with opened(f"redis://:r1ght@127.0.0.1:{server.port}/0", unused_name()) as made:
            assert made.log.error is None
    assert "refuses the password or user of BRIDGE_LOG" in text
    assert "Check the address, the user and the password" in text
    assert "wr0ng" not in text


async def test_user_without_the_commands_is_refused_at_the_start(
    redis_server: RedisServer,
) -> None:
    async with Redis.from_url(redis_server.url) as client:
        await client.acl_setuser(
            "reader", enabled=True, passwords=["+pw"], keys=["*"], categories=["+@read"]
        )
        text = await refusal(f"redis://reader:pw@127.0.0.1:{redis_server.port}/0")
        await client.acl_deluser("reader")
    assert "may not do what the bridge needs" in text


async def test_server_that_is_not_there_is_refused_after_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(event_log, "OPEN_SECONDS", 0.3)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with caplog.at_level(logging.INFO):
            text = await refusal(f"redis://:pa55word@127.0.0.1:{port}/0")
    assert f"redis://127.0.0.1:{port}/0 can't be reached" in text
    assert "that the server runs" in text
    assert "pa55word" not in text + caplog.text


async def test_facts_of_a_real_server_are_read(redis_server: RedisServer) -> None:
    async with opened(redis_server.url, unused_name()) as made:
        facts = made.log.server
    assert facts is not None
    assert facts.version.startswith(("Redis ", "Valkey "))
    assert (facts.role, facts.persistence) == ("master", "off")
    assert any("appendonly yes" in warning for warning in facts.warnings)
