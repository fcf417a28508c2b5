"""Several bridges over one Redis server and one Supabase, and the balancer in front of them."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from tests.chaos.shared_redis import NAME
from tests.chaos.supervisor import END_SECONDS, Supervisor
from tests.chaos.takeovers import Takeovers
from tests.support.history import parse_in_history
from tests.support.ports import free_port
from tests.support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from tests.chaos.shared_redis import SharedRedis

PROBE_SECONDS = 0.3
PROBE_TIMEOUT = 1.0


class Machine:
    """One bridge, with a proxy before Redis and one before Supabase."""

    def __init__(
        self, number: int, bridge: Supervisor, redis: TcpProxy, supabase: TcpProxy
    ) -> None:
        self.number = number
        self.bridge = bridge
        self.redis = redis
        self.supabase = supabase
        self.lock = asyncio.Lock()
        """Held by a fault of this machine's process."""
        self.clients: set[TcpProxy] = set()
        """Clients whose last connection came here."""
        self.port = urlsplit(bridge.url).port or 0


class Machines:
    """Created by `Machines.open()`."""

    def __init__(self, redis: SharedRedis, rng: random.Random) -> None:
        self.redis = redis
        self.all: list[Machine] = []
        self.takeovers = Takeovers(redis.leader)
        self.ready: list[Machine] = []
        """Machines whose /readyz answered 200 the last time."""
        self._rng = rng
        self._http = httpx.AsyncClient(timeout=PROBE_TIMEOUT)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        number: int,
        directory: Path,
        redis: SharedRedis,
        environment: Mapping[str, str],
        *,
        slow: float,
        rng: random.Random,
        end_seconds: float = END_SECONDS,
    ) -> AsyncIterator[Machines]:
        """Start the machines. `environment` names the Supabase that all share."""
        machines = cls(redis, rng)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(machines._http)
            machines.all = await asyncio.gather(
                *(
                    machines._start(
                        stack, each, directory, environment, slow=slow, end_seconds=end_seconds
                    )
                    for each in range(number)
                )
            )
            machines.ready = list(machines.all)
            probing = asyncio.create_task(machines._probe())
            try:
                yield machines
            finally:
                probing.cancel()
                await asyncio.gather(probing, return_exceptions=True)
                await machines.takeovers.close()
                await machines.heal()

    @asynccontextmanager
    async def client(self, *, sticky: bool) -> AsyncIterator[TcpProxy]:
        """Open the client's way to the machines. Each connection goes to a ready machine;
        `sticky`: to the one before, while that is ready.
        """
        last: Machine | None = None

        def target() -> int:
            nonlocal last
            ready = self.ready or self.all
            if last is None or not sticky or last not in ready:
                if last is not None:
                    last.clients.discard(proxy)
                last = self._rng.choice(ready)
                last.clients.add(proxy)
            return last.port

        async with TcpProxy.open(target) as proxy:
            yield proxy

    async def leader(self) -> Machine | None:
        """Return the machine whose status has the role of the leader, if any answers so."""
        for machine in self.all:
            if (await self.status(machine)).get("role") == "leader":
                return machine
        return None

    async def status(self, machine: Machine) -> dict[str, Any]:
        with suppress(httpx.HTTPError, ValueError):
            found: dict[str, Any] = (await self._http.get(f"{machine.bridge.url}/status")).json()
            return found
        return {}

    async def pick(self, rng: random.Random) -> Machine:
        """Return the leader, or at times any machine."""
        if rng.random() < 0.7 and (leader := await self.leader()) is not None:
            return leader
        return rng.choice(self.all)

    async def epochs(self) -> set[str]:
        """Return the histories that the machines follow, of those that answer."""
        heads = [(await self.status(machine)).get("log_head") for machine in self.all]
        positions = [parse_in_history(str(head)) for head in heads if head]
        return {position.epoch for position in positions if position is not None}

    async def agreed(self, seconds: float) -> None:
        """Wait until all machines follow one history without an error, for up to `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    states = [await self.status(machine) for machine in self.all]
                    epochs = {str(each.get("log_head", "")).partition("-")[0] for each in states}
                    healthy = all(each.get("log_error", "") is None for each in states)
                    if healthy and len(epochs) == 1:
                        return
                    await asyncio.sleep(PROBE_SECONDS)

    async def heal(self) -> None:
        """End what lasts."""
        for machine in self.all:
            await machine.bridge.thaw()
            machine.redis.heal()
            machine.supabase.heal()

    async def _start(
        self,
        stack: AsyncExitStack,
        number: int,
        directory: Path,
        environment: Mapping[str, str],
        **options: float,
    ) -> Machine:
        supabase = urlsplit(environment["SUPABASE_URL"]).port or 0
        before_redis = await stack.enter_async_context(TcpProxy.open(lambda: self.redis.port))
        before_supabase = await stack.enter_async_context(TcpProxy.open(supabase))
        own = directory / f"machine-{number}"
        own.mkdir()
        settings = {
            **environment,
            "BRIDGE_PORT": str(free_port()),
            "BRIDGE_LOG": f"redis://127.0.0.1:{before_redis.port}/0",
            "BRIDGE_LOG_NAME": NAME,
            "SUPABASE_URL": before_supabase.url,
        }
        bridge = await stack.enter_async_context(Supervisor.open(own, settings, **options))
        return Machine(number, bridge, before_redis, before_supabase)

    async def _probe(self) -> None:
        while True:
            states = await asyncio.gather(*(self._is_ready(each) for each in self.all))
            self.ready = [each for each, ready in zip(self.all, states, strict=True) if ready]
            await asyncio.sleep(PROBE_SECONDS)

    async def _is_ready(self, machine: Machine) -> bool:
        with suppress(httpx.HTTPError):
            return (await self._http.get(f"{machine.bridge.url}/readyz")).status_code == 200
        return False
