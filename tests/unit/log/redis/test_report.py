"""What `bridge check` and /status report of a log in Redis."""

from __future__ import annotations

import socket

from redis.asyncio import Redis

from bridge.log.backends import check_backend, create_backend
from bridge.log.redis.report import report
from bridge.options import log_options
from bridge.sandbox.redis import RedisServer
from tests.fakes import settings
from tests.support.redis import event, opened, unused_name


async def test_unused_name_is_reported_without_a_write(redis_server: RedisServer) -> None:
    name = unused_name()
    found = await report(redis_server.url, name, "a")
    assert all(ok for ok, _ in found)
    text = "\n".join(line for _, line in found)
    assert f"at redis://127.0.0.1:{redis_server.port}/0, master, eviction noeviction" in text
    assert "warning: its restart loses the log" in text
    assert f"no bridge has used the name {name!r} yet" in text
    async with Redis.from_url(redis_server.url) as client:
        assert await client.keys(f"{{bridge:{name}}}:*") == []


async def test_history_and_leader_are_reported(redis_server: RedisServer) -> None:
    name = unused_name()
    async with opened(redis_server.url, name) as made:
        await made.lease.acquired()
        await made.log.append([event(1), event(2)], [("a", b"[1]")])
        [*_, (ok, line)] = await report(redis_server.url, name, "a")
        assert ok
        assert f"has 1 rows, and events up to 2 of epoch {made.log.head.epoch}, term 1" in line
        assert f"bridges 1, leader {made.log.process}" in line


async def test_other_settings_fail_the_check_while_a_bridge_runs(
    redis_server: RedisServer,
) -> None:
    name = unused_name()
    async with opened(redis_server.url, name, shape="a"):
        [*_, (ok, line)] = await report(redis_server.url, name, "b")
        assert not ok
        assert "stop them, or name another log in BRIDGE_LOG_NAME" in line
    [*_, (ok, line)] = await report(redis_server.url, name, "b")
    assert ok
    assert "begins a new epoch" in line


async def test_server_that_is_not_there_fails_the_check_without_its_password() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        [(ok, line)] = await report(f"redis://:pa55@127.0.0.1:{port}/0", "n", "a")
    assert not ok
    assert "can't be reached" in line
    assert "pa55" not in line


async def test_local_log_has_nothing_to_report() -> None:
    assert await check_backend(log_options(settings())) == ()


async def test_backend_has_the_server_of_its_log(redis_server: RedisServer) -> None:
    options = log_options(settings(log=redis_server.url, log_name=unused_name()))
    assert [ok for ok, _ in await check_backend(options)]
    backend = create_backend(options)
    assert backend.server() is None
    await backend.log.open()
    server = backend.server()
    await backend.log.close()
    assert server is not None
    assert server.role == "master"
