"""A server of the sandbox whose port another process takes before it listens."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from bridge.sandbox import ports
from bridge.sandbox.postgres.installation import PostgresError
from bridge.sandbox.postgres.server import PostgresServer
from bridge.sandbox.redis import PortTakenError, RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


async def test_redis_draws_another_port_if_its_own_is_taken() -> None:
    server = RedisServer()
    with socket.create_server(("127.0.0.1", server.port)) as listening:
        async with server:
            assert server.port != listening.getsockname()[1]
            assert str(server.port) in server.url


async def test_redis_does_not_take_another_server_that_answers_for_its_own(
    redis_server: RedisServer,
) -> None:
    server = RedisServer()
    server.port = redis_server.port
    async with server:
        assert server.port != redis_server.port


async def test_redis_keeps_a_port_that_was_named(taken: int) -> None:
    server = RedisServer(port=taken)
    with pytest.raises(PortTakenError, match=ports.TAKEN):
        await server.start()
    assert server.port == taken


async def test_redis_keeps_its_port_when_it_starts_again() -> None:
    server = RedisServer()
    async with server:
        port = server.port
    with socket.create_server(("127.0.0.1", port)), pytest.raises(PortTakenError):
        await server.start()
    assert server.port == port


async def test_postgres_draws_another_port_if_its_own_is_taken(
    taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = [taken, taken, ports.free_port()]
    free = drawn[-1]
    monkeypatch.setattr(ports, "free_port", lambda: drawn.pop(0))
    async with PostgresServer() as server:
        assert server.port == free
        assert server.running


async def test_postgres_keeps_a_port_that_was_named(taken: int) -> None:
    with pytest.raises(PostgresError, match=ports.TAKEN):
        await PostgresServer(port=taken).start()
