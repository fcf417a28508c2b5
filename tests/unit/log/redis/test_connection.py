"""Connections to a Redis server are closed, whatever happens while they are."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from bridge.log.redis.connection import Connection, ServerUnavailableError
from bridge.sandbox.redis import RedisServer
from tests.support.redis import unused_name


async def test_command_that_ends_after_the_close_leaves_no_connection_open(
    redis_server: RedisServer,
) -> None:
    connection, go, name = Connection(redis_server.url), asyncio.Event(), unused_name()
    clients: list[Redis] = []

    async def late(redis: Redis) -> None:
        clients.append(redis)
        await go.wait()
        await redis.set(name, "1")

    running = asyncio.create_task(connection.run(late))
    await asyncio.sleep(0)
    await connection.close()
    go.set()
    await running
    [client] = clients
    assert _open_connections(client) == []


async def test_client_of_its_own_is_closed_by_a_task_that_is_cancelled_again(
    redis_server: RedisServer,
) -> None:
    connection, entered = Connection(redis_server.url), asyncio.Event()
    clients: list[Redis] = []

    async def reading() -> None:
        async with connection.own_client(answer_seconds=5) as client:
            clients.append(client)
            await client.set(unused_name(), "1")
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(reading())
    await entered.wait()
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)
    assert task.cancelled()
    [client] = clients
    assert _open_connections(client) == []
    await connection.close()


async def test_cancellation_is_kept_when_the_command_fails_in_the_same_step() -> None:
    connection, sent = Connection("redis://127.0.0.1:1/0"), asyncio.Event()

    async def failing(_redis: Redis) -> None:
        sent.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise RedisConnectionError("refused") from None  # as asyncio.wait_for does

    task = asyncio.create_task(connection.run(failing))
    await sent.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_error_of_a_command_that_is_not_cancelled_is_raised() -> None:
    connection = Connection("redis://127.0.0.1:1/0")
    with pytest.raises(ServerUnavailableError):
        await connection.run(lambda redis: redis.get("a"))
    await connection.close()


def _open_connections(client: Redis) -> list[Any]:
    pool: Any = client.connection_pool
    known = (*pool._available_connections, *pool._in_use_connections)
    return [one for one in known if one.is_connected]
