"""The Redis server that the machines share, in a process of its own, and what can happen to it."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from bridge.log.redis.keys import Keys
from bridge.sandbox.redis import RedisServer
from tests.support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

REPLICA_SECONDS = 15
NAME = "chaos"


class SharedRedis:
    """Created by `SharedRedis.open()`. After `promote` another server is the present one."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._keys = Keys(NAME)
        self._server = RedisServer(folder=self._folder(1))
        self._count = 1
        self.restarting = asyncio.Lock()
        """Held while the server is restarted, replaced or paused."""
        self.lost = 0
        """How often the history was lost, wholly or in part."""

    @classmethod
    @asynccontextmanager
    async def open(cls, directory: Path) -> AsyncIterator[SharedRedis]:
        shared = cls(directory)
        await shared._server.start()
        try:
            yield shared
        finally:
            with suppress(ProcessLookupError, RuntimeError):
                shared._server.resume()
            await shared._server.kill()

    @property
    def port(self) -> int:
        return self._server.port

    async def leader(self) -> str | None:
        """Return the token of the machine that has the lease; None if none has it, or the server
        does not answer.
        """
        with suppress(RedisError, OSError, TimeoutError):
            async with self._client(0.5) as client:
                token: Any = await client.get(self._keys("lease"))
                return None if token is None else str(token)
        return None

    async def run(self, command: Callable[[Redis], Awaitable[Any]]) -> None:
        """Run commands at the server, past the proxies."""
        async with self._client(10) as client:
            await command(client)

    async def flush(self) -> None:
        self.lost += 1
        await self.run(lambda client: client.flushall())

    async def trim(self) -> None:
        """Remove the newest entries of the stream, as no bridge does."""
        self.lost += 1

        async def cut(client: Redis) -> None:
            stream = self._keys("stream")
            newest: Any = await client.xrevrange(stream, count=20)
            if newest:
                await client.xdel(stream, *(entry for entry, _ in newest))

        await self.run(cut)

    async def fill(self) -> None:
        """Let the server refuse writes: it has no memory left."""
        await self.run(lambda client: client.config_set("maxmemory", "1"))

    async def empty(self) -> None:
        await self.run(lambda client: client.config_set("maxmemory", "0"))

    def pause(self) -> None:
        self._server.pause()

    def resume(self) -> None:
        self._server.resume()

    async def restart(self, seconds: float, *, kept: bool) -> None:
        """Kill the server, and start it after `seconds`. `kept`: with what it had stored."""
        if not kept:
            self.lost += 1
        port = self.port
        await self._server.kill()
        await asyncio.sleep(seconds)
        if not kept:
            shutil.rmtree(self._folder(self._count), ignore_errors=True)
        # A server that was promoted would start as a replica again.
        self._server = RedisServer(folder=self._folder(self._count), port=port)
        await self._server.start()

    async def promote(self, lag: float) -> None:
        """Replace the server by a replica that lacks the last `lag` seconds."""
        self._count += 1
        async with TcpProxy.open(self.port) as link:
            replica = RedisServer(
                "--replicaof", "127.0.0.1", str(link.port), "--repl-timeout", "60",
                folder=self._folder(self._count),
            )  # fmt: skip
            await self.run(lambda client: client.config_set("repl-diskless-sync-delay", "0"))
            await replica.start()
            former, client = self._server, Redis(port=replica.port)
            try:
                async with asyncio.timeout(REPLICA_SECONDS):
                    while (await client.info("replication"))["master_link_status"] != "up":
                        await asyncio.sleep(0.05)
                link.stall()
                await asyncio.sleep(lag)
                await former.kill()
                await client.replicaof("NO", "ONE")
            except BaseException:
                await replica.kill()
                raise
            finally:
                await client.aclose()
            self._server = replica
            self.lost += 1

    def _folder(self, number: int) -> Path:
        folder = self._directory / f"redis-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @asynccontextmanager
    async def _client(self, seconds: float) -> AsyncIterator[Redis]:
        client = Redis(
            port=self.port,
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        try:
            yield client
        finally:
            await client.aclose()
