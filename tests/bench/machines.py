"""Figures of several machines on one Redis server.

    python -m tests.bench.machines takeover [--rounds 10] [--json FILE]
    python -m tests.bench.machines reconnect [--clients 2000] [--json FILE]
    python -m tests.bench.machines hop [--seconds 20] [--rounds 2] [--json FILE]

`takeover`: three machines with the default lease; the leader is killed while ten rows change each
second, until another machine has the lease, and until a client of a follower receives a change
that was committed after the kill. `reconnect`: all clients of one machine reconnect at once to the
others after it was killed. `hop`: latency with the log in a file and in Redis, in turns.
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
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import psycopg

from bridge.sandbox.redis import RedisServer
from tests.bench.figures import percentile
from tests.bench.latency import measure
from tests.chaos.machines import Machine, Machines
from tests.chaos.platform import Platform
from tests.chaos.shared_redis import SharedRedis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

MACHINES = 3
ROWS = 100
FIRST = (
    "insert into properties (id, name, state, price)"
    f" select gen_random_uuid(), 'Listing ' || n, 'TX', n from generate_series(1, {ROWS}) n"
)
PRICE = 1_000_000_000
"""Prices from this value on are numbers of changes."""
WAIT_SECONDS = 120
SETTINGS = {
    "BRIDGE_CONNECTIONS_PER_ADDRESS": "100000",
    "BRIDGE_HANDSHAKES_PER_SECOND_PER_ADDRESS": "100000",
    "BRIDGE_HANDSHAKES_BURST_PER_ADDRESS": "100000",
    "BRIDGE_DRAIN_SECONDS": "0",
}
WORDS = {"p50": 0.5, "p99": 0.99, "max": 1.0}


class Client:
    """A websocket that recovers at any machine, and records when each change arrived."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self.at: dict[int, float] = {}
        self.connected_at = 0.0
        self.ended = asyncio.Event()
        self.counts: Counter[str] = Counter()
        self._http = http
        self._pid: str | None = None
        self._offset: str | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._reading: asyncio.Task[None] | None = None

    async def connect(self, url: str) -> None:
        """Connect, or recover; retried until it works."""
        auth = {"regions": ["TX"]} | (
            {"pid": self._pid, "offset": self._offset} if self._pid else {}
        )
        while True:
            try:
                socket = await self._http.ws_connect(
                    url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
                )
                await socket.receive_str()
                await socket.send_str("40" + json.dumps(auth))
                while not (text := await socket.receive_str()).startswith("40"):
                    self.counts["refused"] += text.startswith("44")
                break
            except (aiohttp.ClientError, TypeError, OSError):
                self.counts["retries"] += 1
                await asyncio.sleep(0.2)
        self.connected_at = time.monotonic()
        pid = json.loads(text[2:])["pid"]
        if self._pid is not None:
            self.counts["recovered" if pid == self._pid else "not recovered"] += 1
        self._pid = pid
        self.ended.clear()
        self._reading = asyncio.create_task(self._read(socket))

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            text = str(message.data)
            if text == "2":
                with suppress(ConnectionError):
                    await socket.send_str("3")
            elif text.startswith("42"):
                name, envelope, *rest = json.loads(text[2:])
                self._offset = rest[-1] if rest else self._offset
                if name == "property-updated":
                    price = envelope["data"]["changes"].get("price", {}).get("new", 0)
                    if price in self.at:
                        self.counts["repeated"] += 1
                    self.at[price] = time.monotonic()
        self.ended.set()


class Writer:
    """Changes one row after the other; `committed` has the time of each change."""

    def __init__(self, url: str, rate: float) -> None:
        self.committed: dict[int, float] = {}
        self._url = url
        self._rate = rate

    async def run(self) -> None:
        async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as database:
            rows = await (await database.execute("select id from properties")).fetchall()
            number = 0
            while True:
                number += 1
                await database.execute(
                    "update properties set price = %s where id = %s",
                    (PRICE + number, rows[number % len(rows)][0]),
                )
                self.committed[PRICE + number] = time.monotonic()
                await asyncio.sleep(1 / self._rate)


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[Platform, Machines, aiohttp.ClientSession]]:
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        platform = await stack.enter_async_context(Platform.open(1.0))
        await platform.execute(FIRST)
        redis = await stack.enter_async_context(SharedRedis.open(directory))
        environment = SETTINGS | {
            "SUPABASE_URL": platform.supabase_url,
            "SUPABASE_SECRET_KEY": platform.supabase_key,
        }
        machines = await stack.enter_async_context(
            Machines.open(MACHINES, directory, redis, environment, slow=30, rng=random.Random(1))
        )
        http = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        )
        yield platform, machines, http


async def until_led(machines: Machines) -> Machine:
    async with asyncio.timeout(WAIT_SECONDS):
        while len(machines.ready) < MACHINES or (leader := await machines.leader()) is None:
            await asyncio.sleep(0.05)
    return leader


async def takeover(rounds: int) -> dict[str, list[float]]:
    """Kill the leader `rounds` times. Return seconds until a lease, and until an event."""
    emitted: list[float] = []
    async with opened() as (platform, machines, http):
        writer = Writer(platform.database_url, 10)
        writing = asyncio.create_task(writer.run())
        for number in range(rounds):
            leader = await until_led(machines)
            other = next(each for each in machines.all if each is not leader)
            client = Client(http)
            await client.connect(other.bridge.url)
            await asyncio.sleep(random.Random(number).uniform(1, 3))  # anywhere between renewals
            killed = time.monotonic()
            await machines.takeovers.watch("killed")
            await leader.bridge.kill(6)
            async with asyncio.timeout(WAIT_SECONDS):
                while not (
                    news := [
                        client.at[price]
                        for price, at in writer.committed.items()
                        if at > killed and price in client.at
                    ]
                ):
                    await asyncio.sleep(0.02)
            emitted.append(min(news) - killed)
            await client.close()
            print(f"round {number + 1}: {emitted[-1]:.2f} s", file=sys.stderr)
        writing.cancel()
        return {
            "kill to lease": machines.takeovers.seconds["killed"],
            "kill to first event at a client": emitted,
        }


async def reconnect(count: int) -> dict[str, Any]:
    """Kill the machine of all clients; they reconnect at once to the others."""
    async with opened() as (platform, machines, http):
        first = await until_led(machines)
        others = [each.bridge.url for each in machines.all if each is not first]
        clients = [Client(http) for _ in range(count)]
        for start in range(0, count, 100):
            await asyncio.gather(
                *(each.connect(first.bridge.url) for each in clients[start : start + 100])
            )
        writer = Writer(platform.database_url, 5)
        writing = asyncio.create_task(writer.run())
        await asyncio.sleep(3)
        killed = time.monotonic()
        await first.bridge.kill(60)
        await asyncio.gather(*(each.ended.wait() for each in clients))
        began = time.monotonic()
        async with asyncio.timeout(WAIT_SECONDS):
            await asyncio.gather(
                *(each.connect(others[n % len(others)]) for n, each in enumerate(clients))
            )
        took = sorted(each.connected_at - began for each in clients)
        writing.cancel()
        await asyncio.sleep(0.5)
        after, last = killed - 2, max(writer.committed)
        async with asyncio.timeout(WAIT_SECONDS):
            while not all(last in each.at for each in clients):
                await asyncio.sleep(0.1)
        expected = [price for price, at in writer.committed.items() if at > after]
        counts: Counter[str] = sum((each.counts for each in clients), Counter())
        return {
            "clients": count,
            "recovered": counts["recovered"],
            "not recovered": counts["not recovered"],
            "retries": counts["retries"],
            "seconds until half are back": round(took[count // 2], 2),
            "seconds until all are back": round(took[-1], 2),
            "changes": len(expected),
            "lost": sum(price not in each.at for each in clients for price in expected),
            "repeated": counts["repeated"],
        }


async def hop(seconds: float, rounds: int) -> dict[str, dict[str, float]]:
    """Measure latency with the log in a file and in Redis, in turns; return medians of rounds."""
    found: dict[str, list[dict[str, float]]] = {"file": [], "Redis": []}
    for _ in range(rounds):
        for name, measured in found.items():
            async with AsyncExitStack() as stack:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                log = f"sqlite:///{folder / 'bridge.db'}"
                if name == "Redis":
                    log = (await stack.enter_async_context(RedisServer(folder=folder))).url
                parts = await measure(seconds, 100, {"BRIDGE_LOG": log})
                measured.append(parts["bridge (callback to event at the client)"])
                print(f"{name}: {measured[-1]}", file=sys.stderr)
    return {
        name: {word: sorted(each[word] for each in rows)[len(rows) // 2] for word in WORDS}
        for name, rows in found.items()
    }


def table(title: str, rows: dict[str, dict[str, float]]) -> None:
    print(f"| {title} | p50 | p99 | max |\n|---|---:|---:|---:|")
    for name, figures in rows.items():
        print(f"| {name} | " + " | ".join(f"{figures[word]:.2f}" for word in WORDS) + " |")


def percentiles(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {word: percentile(ordered, share) for word, share in WORDS.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("takeover", "reconnect", "hop"))
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--clients", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    result: dict[str, Any]
    code = 0
    if args.what == "takeover":
        result = dict(asyncio.run(takeover(args.rounds or 10)))
        table("seconds", {name: percentiles(values) for name, values in result.items()})
    elif args.what == "reconnect":
        result = asyncio.run(reconnect(args.clients))
        print("\n".join(f"{name}: {value}" for name, value in result.items()))
        code = int(result["recovered"] != args.clients or result["lost"] or result["repeated"])
    else:
        result = dict(asyncio.run(hop(args.seconds, args.rounds or 2)))
        table("ms in the bridge", result)
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
