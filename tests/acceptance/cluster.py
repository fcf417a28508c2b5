"""Several `bridge serve` processes over one Redis server and one sandbox, each behind proxies."""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx

from bridge.sandbox.redis import RedisServer
from tests.support.ports import free_port
from tests.support.redis_proxy import RedisProxy
from tests.support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from bridge.sandbox import Sandbox
    from tests.acceptance.conftest import BridgeProcess
    from tests.acceptance.restartable_bridge import RunBridge

SECONDS = 40.0


class ClusterMachine:
    """One process, which reaches Redis and Supabase through proxies of its own."""

    def __init__(
        self, process: BridgeProcess, port: int, redis: RedisProxy, supabase: TcpProxy
    ) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.redis = redis
        self.supabase = supabase

    async def status(self) -> dict[str, Any]:
        async with httpx.AsyncClient(timeout=5) as http:
            answer: dict[str, Any] = (await http.get(self.url + "/status")).json()
            return answer

    async def until(self, condition: Callable[[dict[str, Any]], bool]) -> float:
        """Wait until the status meets a condition; return the seconds that it took."""
        started = time.monotonic()
        async with asyncio.timeout(SECONDS):
            while True:
                try:
                    if condition(await self.status()):
                        return time.monotonic() - started
                except (httpx.TransportError, KeyError, ValueError):
                    pass
                await asyncio.sleep(0.02)

    async def until_ready(self) -> float:
        return await self.until(lambda status: bool(status["ready"]))

    async def until_leading(self) -> float:
        return await self.until(
            lambda status: status["role"] == "leader" and status["pipeline"]["reconciled"]
        )

    async def until_following(self) -> float:
        return await self.until(lambda status: status["role"] == "follower")

    def kill(self) -> None:
        self.process.process.send_signal(signal.SIGKILL)

    def pause(self) -> None:
        self.process.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.process.send_signal(signal.SIGCONT)


class Cluster:
    """The machines, and a balancer at `url` that sends all clients to one of them."""

    def __init__(
        self, run: RunBridge, sandbox: Sandbox, redis: RedisServer, closing: AsyncExitStack
    ) -> None:
        self.redis = redis
        self.machines: list[ClusterMachine] = []
        self.balancer = TcpProxy(0)
        self._run = run
        self._sandbox = sandbox
        self._closing = closing
        self._name = secrets.token_hex(4)

    @property
    def url(self) -> str:
        return self.balancer.url

    def serve_at(self, machine: ClusterMachine) -> None:
        """Send all new connections to this machine."""
        self.balancer.connect_to(machine.port)

    async def add(self, **settings: str) -> ClusterMachine:
        """Start a machine and wait until it is ready."""
        redis = await self._closing.enter_async_context(RedisProxy(self.redis.port))
        supabase_port = int(self._sandbox.supabase_url.rpartition(":")[2])
        supabase = await self._closing.enter_async_context(TcpProxy.open(supabase_port))
        port = free_port()
        process = await self._closing.enter_async_context(
            self._run(
                "serve",
                "--port",
                str(port),
                **{
                    "SUPABASE_URL": supabase.url,
                    "SUPABASE_SECRET_KEY": self._sandbox.supabase_key,
                    "BRIDGE_LOG": redis.url,
                    "BRIDGE_LOG_NAME": self._name,
                    "BRIDGE_DRAIN_SECONDS": "2",
                    "BRIDGE_WATCH_GRACE": "1",
                    "BRIDGE_STALE_AFTER": "4",
                    **settings,
                },
            )
        )
        machine = ClusterMachine(process, port, redis, supabase)
        self.machines.append(machine)
        await machine.until_ready()
        return machine


@asynccontextmanager
async def cluster(
    run: RunBridge,
    sandbox: Sandbox,
    number: int,
    *,
    folder: Path | None = None,
    **settings: str,
) -> AsyncIterator[Cluster]:
    """Start machines; the first one leads. With `folder` Redis keeps its data on disk."""
    async with AsyncExitStack() as closing:
        redis = await closing.enter_async_context(RedisServer(folder=folder))
        here = Cluster(run, sandbox, redis, closing)
        for _ in range(number):
            await here.add(**settings)
        here.balancer = await closing.enter_async_context(TcpProxy.open(here.machines[0].port))
        await here.machines[0].until_leading()
        yield here
