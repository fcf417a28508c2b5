"""Restart the machines of one bridge in turn, under load, as a deployment does.

    python -m tests.rolling [--machines 3] [--clients 500] [--rate 100] [--drain 20] [--json FILE]

Several `bridge serve` share a Redis server; a balancer sends each connection to a ready one. Four
clients of five are the official JavaScript client, the others python-socketio, which has no
recovery: it subscribes again and loads a snapshot. Each machine gets SIGTERM, closes its clients in
waves, and is started again; the next one follows when it is ready. Every event that every client
received is then compared with what was committed. Exit code 1 if anything was lost, repeated, out
of order or untrue, if a JavaScript client did not recover, or if the clients of a machine did not
leave in waves.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from bridge.settings import Settings
from tests.chaos.checker import Checker
from tests.chaos.client_session import ClientSession
from tests.chaos.client_spec import ClientSpec
from tests.chaos.js_clients import JsClients
from tests.chaos.machines import Machine, Machines
from tests.chaos.platform import Platform
from tests.chaos.published_log import PublishedLog
from tests.chaos.python_client import PythonClient
from tests.chaos.shared_redis import SharedRedis
from tests.chaos.transaction_writer import TransactionWriter
from tests.support.expected_table import ExpectedTable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bridge.projection import Projection

REGIONS = 20
ROWS = 200
PYTHON_SHARE = 5
NODES = 2
TRANSPORTS = (("websocket",), ("websocket",), ("websocket",), ("polling", "websocket"))
FIRST_ROWS = (
    "insert into properties (id, name, state, price, internal_notes)"
    " select gen_random_uuid(), 'Listing ' || n, 'R' || n %% {}, n, '-'"
    " from generate_series(1, {}) n"
)
CONVERGE_SECONDS = 60.0
MOST_IN_A_FIFTH = 0.5
"""The largest share of a machine's clients that may leave within a fifth of the time."""


@dataclass(frozen=True, slots=True)
class Options:
    machines: int = 3
    clients: int = 500
    rate: float = 100.0
    drain: float = 20.0


@dataclass
class Result:
    """`drains`: for each machine the clients that left in each fifth of its drain, and after it."""

    options: dict[str, Any]
    changes: int = 0
    events: int = 0
    received: int = 0
    javascript: int = 0
    recovered: int = 0
    not_recovered: int = 0
    resubscribed: int = 0
    violations: dict[str, int] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)
    drains: list[list[int]] = field(default_factory=list)
    stop_seconds: list[float] = field(default_factory=list)
    away_p50: float = 0.0
    away_p99: float = 0.0
    takeovers: list[tuple[str, int, float, float, float]] = field(default_factory=list)

    @property
    def spread(self) -> bool:
        return all(
            sum(drain) < REGIONS or max(drain) <= MOST_IN_A_FIFTH * sum(drain)
            for drain in self.drains
        )

    @property
    def passed(self) -> bool:
        return not self.found and not self.not_recovered and self.recovered > 0 and self.spread

    def _clients(self) -> str:
        return (
            f"{self.javascript} JavaScript clients: recovered {self.recovered}, not recovered "
            f"{self.not_recovered}; Python clients subscribed again: {self.resubscribed}"
        )

    def __str__(self) -> str:
        violations = ", ".join(f"{name} {count}" for name, count in self.violations.items())
        lines = [
            f"{self.changes} changes, {self.events} events, {self.received} deliveries",
            f"found: {violations}",
            self._clients(),
            f"seconds without a connection: p50 {self.away_p50:.1f}, p99 {self.away_p99:.1f}",
        ]
        for number, (drain, seconds) in enumerate(zip(self.drains, self.stop_seconds, strict=True)):
            lines.append(
                f"machine {number + 1}: stopped in {seconds:.1f} s; its clients left in fifths of "
                f"the time, and after it: {' '.join(map(str, drain))}"
            )
        lines += [
            f"takeover, {cause}: {n}, seconds p50 {p50:.2f}, max {most:.2f}"
            for cause, n, p50, _, most in self.takeovers
        ]
        return "\n".join([*lines, *self.found[:20]])


class RollingSession(ClientSession):
    """A session that records when its connections ended, and how long there was none."""

    def __init__(self, name: str, projection: Projection, published: PublishedLog) -> None:
        super().__init__(name, projection, published, time.monotonic, snapshots=True, batches=False)
        self.ended: list[float] = []
        self.away: list[float] = []

    def on_connect(self, auth: Mapping[str, Any], *, recovered: bool, transport: str = "") -> None:
        if self.ended and len(self.away) < len(self.ended):
            self.away.append(time.monotonic() - self.ended[-1])
        super().on_connect(auth, recovered=recovered, transport=transport)

    def on_disconnect(self, reason: str) -> None:
        self.ended.append(time.monotonic())
        super().on_disconnect(reason)


class Rolling:
    """Call `run` once."""

    def __init__(self, options: Options, progress: Callable[[str], None]) -> None:
        self._options = options
        self._progress = progress
        projection = Settings(
            supabase_url="http://127.0.0.1", supabase_secret_key="-", region="state"
        ).projection
        self._table = ExpectedTable(projection)
        self._published = PublishedLog(projection)
        rng = random.Random(1)
        self._specs = [
            ClientSpec(
                f"{'py' if number % PYTHON_SHARE == 0 else 'js'} {number}",
                number % PYTHON_SHARE == 0,
                rng.choice(TRANSPORTS),
                {"regions": [f"R{number % REGIONS}"]},
            )
            for number in range(options.clients)
        ]
        self._sessions = {
            spec.name: RollingSession(spec.name, projection, self._published)
            for spec in self._specs
        }

    async def run(self) -> Result:
        options = self._options
        async with AsyncExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rolling-")))
            platform = await stack.enter_async_context(Platform.open(0.2))
            recorder = TransactionWriter(platform, self._table)
            await recorder.begin((FIRST_ROWS.format(REGIONS, ROWS), ()))
            redis = await stack.enter_async_context(SharedRedis.open(directory))
            machines = await stack.enter_async_context(
                Machines.open(
                    options.machines,
                    directory,
                    redis,
                    self._environment(platform),
                    slow=1.0,
                    rng=random.Random(1),
                    end_seconds=options.drain + 10,
                )
            )
            await self._connect(stack, machines)
            await self._until(self._converged, recorder)
            self._progress(f"{options.clients} clients are connected")
            result = Result(asdict(options))
            stop = asyncio.Event()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write(platform, stop))
                for machine in machines.all:
                    await self._restart(machines, machine, result)
                await asyncio.sleep(1)
                stop.set()
            await self._until(self._converged, recorder)
            self._count(result, machines)
        return result

    async def _connect(self, stack: AsyncExitStack, machines: Machines) -> None:
        urls: dict[ClientSpec, str] = {}
        for spec in self._specs:
            sticky = spec.transports != ("websocket",)
            urls[spec] = (await stack.enter_async_context(machines.client(sticky=sticky))).url
        scripted = [spec for spec in self._specs if not spec.python]
        for number in range(NODES):
            share = {spec: urls[spec] for spec in scripted[number::NODES]}
            if share:
                await stack.enter_async_context(JsClients.open(share, self._sessions))
        for spec in self._specs:
            if spec.python:
                session = self._sessions[spec.name]
                await stack.enter_async_context(PythonClient.open(spec, session, urls[spec]))

    def _environment(self, platform: Platform) -> dict[str, str]:
        return {
            "BRIDGE_DRAIN_SECONDS": str(self._options.drain),
            "BRIDGE_REGION": "state",
            # All clients have one address.
            "BRIDGE_CONNECTIONS_PER_ADDRESS": "10000",
            "BRIDGE_HANDSHAKES_PER_SECOND_PER_ADDRESS": "1000",
            "BRIDGE_HANDSHAKES_BURST_PER_ADDRESS": "10000",
            "BRIDGE_SNAPSHOT_PAGES_PER_SECOND_PER_ADDRESS": "1000",
            "BRIDGE_SNAPSHOT_PAGES_BURST_PER_ADDRESS": "10000",
            "SUPABASE_URL": platform.supabase_url,
            "SUPABASE_SECRET_KEY": platform.supabase_key,
        }

    async def _write(self, platform: Platform, stop: asyncio.Event) -> None:
        """Change one row after the other at the rate, each in a transaction."""
        rng = random.Random(2)
        async with await psycopg.AsyncConnection.connect(
            platform.database_url, autocommit=True
        ) as connection:
            found = await (await connection.execute("select id from properties")).fetchall()
            began, number = time.monotonic(), 0
            while not stop.is_set():
                number += 1
                await connection.execute(
                    "update properties set price = %s where id = %s",
                    (1_000_000 + number, rng.choice(found)[0]),
                )
                await asyncio.sleep(
                    max(0.0, began + number / self._options.rate - time.monotonic())
                )

    async def _restart(self, machines: Machines, machine: Machine, result: Result) -> None:
        """Stop a machine and wait until it is ready again."""
        if machine is await machines.leader():
            await machines.takeovers.watch("drained")
        began = time.monotonic()
        await machine.bridge.stop(0.0)
        seconds = time.monotonic() - began
        result.stop_seconds.append(seconds)
        fifth = max(self._options.drain, 0.1) / 5
        ended = [at - began for each in self._sessions.values() for at in each.ended if at >= began]
        counts = Counter(min(int(at / fifth), 5) for at in ended)
        result.drains.append([counts[n] for n in range(6)])
        self._progress(f"machine {machine.number + 1} stopped in {seconds:.1f} s: {dict(counts)}")
        await machine.bridge.ready()
        async with asyncio.timeout(CONVERGE_SECONDS):
            while machine not in machines.ready:
                await asyncio.sleep(0.05)

    async def _until(self, reached: Callable[[], bool], recorder: TransactionWriter) -> None:
        await recorder.catch_up()
        with suppress(TimeoutError):
            async with asyncio.timeout(CONVERGE_SECONDS):
                while not reached():
                    await asyncio.sleep(0.2)

    def _converged(self) -> bool:
        return all(
            each.connected
            and each.complete
            and next(each.differences(self._table.rows), None) is None
            for each in self._sessions.values()
        )

    def _count(self, result: Result, machines: Machines) -> None:
        sessions = list(self._sessions.values())
        checker = Checker(self._table, self._published)
        violations = [*checker.unconverged(sessions, time.monotonic()), *checker.check(sessions)]
        result.violations = {"lost": 0, "repeated": 0, "disordered": 0}
        for violation in violations:
            kind = violation.kind.value
            result.violations[kind] = result.violations.get(kind, 0) + 1
            result.found.append(str(violation))
        for machine in machines.all:
            result.found += [f"{machine.bridge.url} {text}" for text in machine.bridge.exits]
        result.changes = self._table.commits
        result.events = self._published.events
        away = sorted(seconds for each in sessions for seconds in each.away)
        if away:
            result.away_p50 = away[len(away) // 2]
            result.away_p99 = away[int(len(away) * 0.99)]
        for spec in self._specs:
            counts = self._sessions[spec.name].counts
            result.received += counts["events"]
            if spec.python:
                result.resubscribed += counts["fresh"] - 1
            else:
                result.javascript += 1
                result.recovered += counts["recovered"]
                result.not_recovered += counts["fresh"] - 1
        result.takeovers = list(machines.takeovers.percentiles())


async def run(options: Options) -> Result:
    return await Rolling(options, lambda line: print(line, file=sys.stderr, flush=True)).run()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--machines", type=int, default=3)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--rate", type=float, default=100, help="changes per second")
    parser.add_argument("--drain", type=float, default=20, help="BRIDGE_DRAIN_SECONDS")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    result = asyncio.run(run(Options(args.machines, args.clients, args.rate, args.drain)))
    print(result)
    if args.json:
        args.json.write_text(json.dumps(asdict(result), indent=2) + "\n")
    return 0 if result.passed else 1


if __name__ == "__main__":
    sys.exit(main())
