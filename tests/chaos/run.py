"""A run: start all processes, then rounds of faults; after each round every client converges."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import httpx

from bridge.settings import Settings
from tests.chaos.checker import Checker
from tests.chaos.client_session import ClientSession
from tests.chaos.disk import Disk
from tests.chaos.environment import Environment
from tests.chaos.fault import UnavailableError
from tests.chaos.faults import DATABASE_FAULTS, FAULTS
from tests.chaos.js_clients import JsClients
from tests.chaos.machines import Machines
from tests.chaos.plan import SHORT_WAITS, Plan
from tests.chaos.platform import Platform
from tests.chaos.published_log import PublishedLog
from tests.chaos.python_client import PythonClient
from tests.chaos.report import Report
from tests.chaos.shared_redis import SharedRedis
from tests.chaos.supervisor import Supervisor
from tests.chaos.transaction_writer import TransactionWriter
from tests.support.expected_table import ExpectedTable
from tests.support.faults import KEY_IDENTITY
from tests.support.ports import free_port
from tests.support.tcp_proxy import TcpProxy
from tests.support.violations import Kind, Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.chaos.client_spec import ClientSpec
    from tests.chaos.plan import Injection
    from tests.support.workload import Workload

FIRST_ROWS = 40
NODES = 2
"""Processes of node; each runs an equal share of the JavaScript clients."""

DRAIN_SECONDS = 2
"""Of a machine that is stopped, instead of 20."""

POLL_SECONDS = 0.2
STABLE_SECONDS = 2.0
"""How long every client has to stay converged at the end of a round."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a run; times are seconds.

    `pause`: mean time between two faults. `patience`: until every client has to be converged after
    a round. `short_waits`: of Realtime and of the bridge, instead of the real ones.
    """

    seconds: float
    seed: int
    clients: int = 30
    only: tuple[str, ...] = ()
    log: str = "sqlite:"
    source: str = "realtime"
    round_seconds: float = 30.0
    pause: float = 1.5
    patience: float = 60.0
    short_waits: bool = True
    machines: int = 1
    """More than one share a Redis server, whatever `log` is."""
    settings: tuple[tuple[str, str], ...] = ()
    """Settings of the bridge by name, which replace the plan's."""


class Run:
    """Call `run` once; it returns the report."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._began = time.monotonic()
        only, several = options.only, options.machines > 1
        if options.source == "postgres":
            only = tuple(name for name in only or FAULTS if name in DATABASE_FAULTS)
        self.plan = Plan(options.seed, options.clients, only, machines=several)
        settings = {**self.plan.settings, **(SHORT_WAITS if options.short_waits else {})}
        if several:
            settings["drain_seconds"] = DRAIN_SECONDS
        self._settings: dict[str, Any] = settings | dict(options.settings)
        projection = Settings(
            supabase_url="http://127.0.0.1",
            supabase_secret_key="-",
            region=settings["region"],
            columns=settings["columns"],
        ).projection
        self.table = ExpectedTable(projection)
        self.table.omits_large_values = not options.only or "identity" in options.only
        self.published = PublishedLog(projection)
        # A log in memory is empty after a restart: the source begins with a snapshot.
        self._exact = options.source == "postgres" and options.log.startswith("sqlite:")
        self.checker = Checker(self.table, self.published)
        self.clients = {
            spec.name: ClientSession(
                spec.name,
                projection,
                self.published,
                self.now,
                snapshots=spec.snapshots,
                batches=spec.batches,
            )
            for spec in self.plan.specs
        }
        for spec in self.plan.specs:
            self.clients[spec.name].may_go_back = several and spec.python
        self._last_unconverged = ""
        self._context: tuple[str, ...] = ()
        log = f"Redis, {options.machines} machines" if several else options.log
        self.report = Report(options.seed, log, self._settings)

    def now(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self._began

    async def run(self, progress: Callable[[str], None]) -> Report:
        """Run all rounds. `progress` gets a line after each."""
        async with AsyncExitStack() as stack:
            env, writer = await self._open(stack)
            workloads = self.plan.workloads()
            await self._until_converged(env, writer)
            progress(f"{self.now():6.1f} s: started, {len(self.clients)} clients")
            until = self.now() + self._options.seconds
            while self.now() < until and not self.report.notes:
                seconds = min(self._options.round_seconds, max(3, until - self.now()))
                await self._round(env, writer, workloads, seconds)
                found = ", ".join(f"{k} {v}" for k, v in self.report.kinds().items() if v)
                progress(f"{self.now():6.1f} s: round {self.report.rounds}, {found or 'ok'}")
            self._count(env, writer)
        return self.report

    async def _open(self, stack: AsyncExitStack) -> tuple[Environment, TransactionWriter]:
        options, specs = self._options, self.plan.specs
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bridge-chaos-")))
        platform = await stack.enter_async_context(
            Platform.open(0.2 if options.short_waits else 1.0)
        )
        writer = TransactionWriter(platform, self.table)
        await writer.begin(self.plan.workloads()[0].first(FIRST_ROWS))
        url = urlsplit(platform.database_url)
        assert url.port is not None
        database = await stack.enter_async_context(TcpProxy.open(url.port))
        environment = {f"BRIDGE_{k.upper()}": str(v) for k, v in self._settings.items()} | {
            # All clients have one address, and they connect more often than real ones.
            "BRIDGE_CONNECTIONS_PER_ADDRESS": "10000",
            "BRIDGE_HANDSHAKES_PER_SECOND_PER_ADDRESS": "1000",
            "BRIDGE_HANDSHAKES_BURST_PER_ADDRESS": "10000",
            "BRIDGE_SNAPSHOT_PAGES_PER_SECOND_PER_ADDRESS": "1000",
            "BRIDGE_SNAPSHOT_PAGES_BURST_PER_ADDRESS": "10000",
            "SUPABASE_URL": platform.supabase_url,
            "SUPABASE_SECRET_KEY": platform.supabase_key,
            "BRIDGE_SOURCE": options.source,
            "BRIDGE_DATABASE_URL": urlunsplit(
                url._replace(netloc=url.netloc.replace(f":{url.port}", f":{database.port}"))
            ),
        }
        slow = 1.0 if options.short_waits else 30.0
        machines, disk = None, None
        urls: dict[ClientSpec, str] = {}
        proxies: dict[str, TcpProxy] = {}
        if options.machines > 1:
            redis = await stack.enter_async_context(SharedRedis.open(directory))
            machines = await stack.enter_async_context(
                Machines.open(
                    options.machines,
                    directory,
                    redis,
                    environment,
                    slow=slow,
                    rng=random.Random(options.seed),
                )
            )
            bridges = [machine.bridge for machine in machines.all]
            for spec in specs:
                sticky = spec.transports != ("websocket",)
                proxy = await stack.enter_async_context(machines.client(sticky=sticky))
                urls[spec] = proxy.url
                if not spec.direct:
                    proxies[spec.name] = proxy
        else:
            log = options.log
            if log.startswith("sqlite:"):
                disk = stack.enter_context(Disk.mounted(directory / "disk"))
                log = f"sqlite:///{directory / 'disk' / 'bridge.db'}"
            port = free_port()
            environment |= {"BRIDGE_PORT": str(port), "BRIDGE_LOG": log}
            bridge = await stack.enter_async_context(Supervisor.open(directory, environment, slow))
            bridges = [bridge]
            for spec in specs:
                urls[spec] = bridge.url
                if not spec.direct:
                    proxy = await stack.enter_async_context(TcpProxy.open(port))
                    proxies[spec.name], urls[spec] = proxy, proxy.url
        js_clients: dict[str, JsClients] = {}
        js_specs = [spec for spec in specs if not spec.python]
        for number in range(NODES):
            share = {spec: urls[spec] for spec in js_specs[number::NODES]}
            node = await stack.enter_async_context(JsClients.open(share, self.clients))
            js_clients |= {spec.name: node for spec in share}
        python_clients = {
            spec.name: await stack.enter_async_context(
                PythonClient.open(spec, self.clients[spec.name], urls[spec])
            )
            for spec in specs
            if spec.python
        }
        keys = list(map(str, self.plan.keys))
        env = Environment(
            platform,
            bridges,
            machines,
            disk,
            specs,
            keys,
            proxies,
            js_clients,
            python_clients,
            database,
        )
        return env, writer

    async def _round(
        self,
        env: Environment,
        writer: TransactionWriter,
        workloads: Sequence[Workload],
        seconds: float,
    ) -> None:
        self.report.rounds += 1
        stop = asyncio.Event()
        faults = self.plan.injections(self.report.rounds, seconds, self._options.pause)
        async with asyncio.TaskGroup() as tasks:
            for workload in workloads:
                tasks.create_task(writer.write(workload, stop))
            async with asyncio.TaskGroup() as injections:
                began = self.now()
                for injection in faults:
                    await asyncio.sleep(max(0, began + injection.at - self.now()))
                    injections.create_task(self._inject(env, injection))
            stop.set()
        await self._heal(env)
        ended = self.now()
        await self._until_converged(env, writer)
        took = self.now() - ended - STABLE_SECONDS
        if took > self.report.slowest:
            self.report.slowest, self.report.slowest_for = took, self._last_unconverged
            self.report.slowest_context = self._context
        self.report.violations += self.checker.check(
            list(self.clients.values()), exact=self._exact and not env.slot_dropped
        )
        env.slot_dropped = False
        for bridge in env.bridges:
            for text in bridge.exits:
                self.report.violations.append(Violation(Kind.EXITED, bridge.url, text, self.now()))
            bridge.exits.clear()

    async def _inject(self, env: Environment, injection: Injection) -> None:
        name, seconds = injection.name, injection.seconds
        self.report.journal.append((self.now(), f"{name} ({seconds:.1f} s)"))
        try:
            async with asyncio.timeout(self._options.patience):
                await FAULTS[name].inject(env, injection.rng, seconds)
        except UnavailableError:
            self.report.faults["unavailable: " + name] += 1
        except (httpx.HTTPError, TimeoutError) as error:
            # Another active fault prevented this one.
            self.report.faults["failed: " + name] += 1
            self.report.journal.append((self.now(), f"{name} failed: {error!r}"))
        else:
            self.report.faults[name] += 1
            self.report.journal.append((self.now(), f"{name} has ended"))

    async def _heal(self, env: Environment) -> None:
        """End every lasting fault."""
        for proxy in (*env.proxies.values(), env.database_proxy):
            proxy.heal()
        for name, client in env.python_clients.items():
            if not self.clients[name].connected:
                client.command(drop=True)
        if env.disk is not None:
            env.disk.empty()
        for bridge in env.bridges:
            await bridge.thaw()
        if env.machines is not None:
            await env.machines.heal()
        for name in ("lift", "rest-heal"):
            await env.platform.fault(name)
        await KEY_IDENTITY.stop(env.platform)

    async def _until_converged(self, env: Environment, writer: TransactionWriter) -> None:
        """Wait, while nothing writes, until every client holds the table's rows, and keeps them."""
        await writer.catch_up()
        clients = list(self.clients.values())
        until = self.now() + self._options.patience
        since: float | None = None
        while True:
            wrong = next((text for client in clients if (text := self._difference(client))), None)
            wrong = wrong or await self._other_history(env)
            now = self.now()
            if wrong is not None:
                since, self._last_unconverged = None, wrong
                self._context = next(
                    (c.observations.around("", now) for c in clients if self._difference(c)), ()
                )
            elif since is None:
                since = now
            elif now - since >= STABLE_SECONDS:
                return
            if now >= until:
                self.report.violations += self.checker.unconverged(clients, now)
                if (other := await self._other_history(env)) is not None:
                    self.report.violations.append(Violation(Kind.UNCONVERGED, "", other, now))
                # Later rounds would report the same differences again.
                self.report.notes.append(f"stopped at {now:.0f} s: a client did not converge")
                for bridge in env.bridges:
                    self.report.notes += bridge.log_lines(" ERROR ", " CRITICAL ")[-10:]
                return
            await asyncio.sleep(POLL_SECONDS)

    def _difference(self, client: ClientSession) -> str | None:
        """Return why a client is not converged, or None if it is."""
        if not client.connected:
            return f"{client.name}, not connected"
        if client.snapshots and not client.complete:
            return f"{client.name}, without a complete snapshot"
        for key, text in client.differences(self.table.rows):
            return f"{client.name}, {key} {text[:200]}"
        return None

    async def _other_history(self, env: Environment) -> str | None:
        """Return which client is still in a history that the machines have left, or None."""
        if env.machines is None:
            return None
        epochs = await env.machines.epochs()
        if len(epochs) > 1:
            return f"the machines follow {sorted(epochs)}"
        for client in self.clients.values():
            if epochs and client.position is not None and client.position.epoch not in epochs:
                return f"{client.name} is at {client.position}, the machines follow {epochs}"
        return None

    def _count(self, env: Environment, writer: TransactionWriter) -> None:
        counts: Counter[str] = Counter()
        processes: Counter[str] = Counter()
        for client in self.clients.values():
            counts += client.counts
        for bridge in env.bridges:
            processes += bridge.counts
        if env.machines is not None:
            self.report.takeovers = list(env.machines.takeovers.percentiles())
            counts["lost histories"] = env.machines.redis.lost
        self.report.seconds = self.now()
        self.report.counts = {
            "changes": self.table.commits,
            **writer.counts,
            "clients": len(self.clients),
            "events": self.published.events,
            "received": counts["events"],
            "connects": counts["connects"],
            "recovered": counts["recovered"],
            "fresh": counts["fresh"],
            "snapshots": counts["snapshots"],
            "rejected": counts["rejected"],
            **processes,
            "histories lost": counts["lost histories"],
            "blended": self.checker.states.blended,
            "followed": self.checker.states.followed,
            "unobserved positions": self.published.unobserved,
        }
