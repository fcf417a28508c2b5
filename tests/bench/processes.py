"""CPU and memory of the bridge as one process and as several (BRIDGE_PROCESSES).

    python -m tests.bench processes [--clients N] [--events N] [--processes 1,2] [--json FILE]

A sandbox, `bridge serve`, and the load client, each in processes of their own. Rows are changed one
at a time, so that no two events are merged into one write; CPU time is read per process, so that
the machine's other load counts little. What two cores can deliver follows from it: with one
process that is 1 / (its CPU per delivery), with several 2 / (the CPU of all of them per delivery),
as long as no single one is the bottleneck.

Beside them runs a bridge in one process with as many clients as one serving process has (`share`):
what a serving process costs more than that is the price of the connection to the leader process;
what that one costs more than the process with all clients depends on the number of clients alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psycopg

from bridge.sandbox import Sandbox
from tests.bench.machine import memory
from tests.bench.rig import rig
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.bench.rig import Program

CORES = 2
INTERVAL_SECONDS = 0.4
"""Between two changes: longer than the sandbox's poll, and than one event takes."""


def cpu(pid: int) -> float:
    """Return the CPU seconds of a process and its threads, in nanoseconds' resolution."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


@asynccontextmanager
async def serving(sandbox: Sandbox, processes: int) -> AsyncIterator[tuple[str, dict[str, int]]]:
    """Run `bridge serve`. Yields its URL and the pids of its processes by name."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("BRIDGE_", "SUPABASE_"))}
    clean["BRIDGE_LOG_FORMAT"] = "text"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bridge",
        "serve",
        "--port",
        str(port),
        env={
            **clean,
            "SUPABASE_URL": sandbox.supabase_url,
            "SUPABASE_SECRET_KEY": sandbox.supabase_key,
            "BRIDGE_LOG": "memory:",
            "BRIDGE_PROCESSES": str(processes),
            "BRIDGE_LOG_LEVEL": "warning",
        },
    )
    try:
        async with httpx.AsyncClient() as http, asyncio.timeout(60):
            while True:
                try:
                    status = (await http.get(url + "/status")).json()
                except httpx.TransportError:
                    status = {"ready": False}
                found = {each["name"]: each["pid"] for each in status.get("processes", [])}
                if status["ready"] and len(found) == (processes + 1 if processes > 1 else 0):
                    break
                await asyncio.sleep(0.1)
        await asyncio.sleep(8)  # the first scans are done
        yield url, found or {"bridge": process.pid}
    finally:
        process.terminate()
        await process.wait()


async def settled(load: Program) -> dict[str, Any]:
    """Return the counters of the clients once they have received everything."""
    before: dict[str, Any] = {}
    while True:
        stat = await asyncio.to_thread(load.ask, "stat")
        if stat == before:
            return stat
        before = stat
        await asyncio.sleep(3)


class Bridge:
    """One bridge with its load client."""

    def __init__(self, pids: dict[str, int], load: Program, clients: int) -> None:
        self.pids = pids
        self.load = load
        self.clients = clients
        self._before: dict[str, float] = {}

    def begin(self) -> None:
        self._before = {name: cpu(pid) for name, pid in self.pids.items()}

    @property
    def spent(self) -> dict[str, float]:
        """CPU seconds of each process since `begin`."""
        return {name: cpu(pid) - self._before[name] for name, pid in self.pids.items()}

    @property
    def resident(self) -> dict[str, float]:
        """Megabytes of each process."""
        return {name: memory(pid)[0] / 1e6 for name, pid in self.pids.items()}


async def measure(
    bridges: dict[str, Bridge], sandbox: Sandbox, events: int
) -> dict[str, dict[str, Any]]:
    """Return the figures of each bridge. All deliver the same changes, at the same time, so that
    the machine's other load affects all of them.
    """
    empty = {name: bridge.resident for name, bridge in bridges.items()}
    for bridge in bridges.values():
        await asyncio.to_thread(bridge.load.ask, f"open {bridge.clients}")
    async with await psycopg.AsyncConnection.connect(
        sandbox.database_url, autocommit=True
    ) as connection:
        base = time.time_ns() // 1_000_000 % 1_000_000_000  # other prices than of the run before

        async def change(number: int) -> None:
            await connection.execute(
                "update properties set price = %s where id = (select id from properties"
                " where state = 'TX' order by id limit 1 offset %s %% 30)",
                (base + number, number),
            )
            await asyncio.sleep(INTERVAL_SECONDS)

        for number in range(-3, 0):  # excludes one-time work
            await change(3 + number)
        await asyncio.sleep(1)
        for bridge in bridges.values():
            await asyncio.to_thread(bridge.load.ask, "reset")
            bridge.begin()
        for number in range(events):
            await change(10 + number)
        stats = {name: await settled(bridge.load) for name, bridge in bridges.items()}
    spent = {name: bridge.spent for name, bridge in bridges.items()}
    # Reads of the table and beats cost the same without any event.
    for bridge in bridges.values():
        bridge.begin()
    await asyncio.sleep(events * INTERVAL_SECONDS)
    results = {}
    for name, bridge in bridges.items():
        assert stats[name]["dead"] == 0, stats
        deliveries = stats[name]["events"]
        idle = bridge.spent
        by_process = {each: max(0.0, value - idle[each]) for each, value in spent[name].items()}
        total, cores = sum(by_process.values()), 1 if len(by_process) == 1 else CORES
        serving = sum(value for each, value in by_process.items() if each != "leader")
        results[name] = {
            "deliveries": deliveries,
            "cpu_us": total / deliveries * 1e6,
            "serving_us": serving / deliveries * 1e6,
            "by_process_us": {each: value / deliveries * 1e6 for each, value in by_process.items()},
            "deliveries_per_s": min(cores / total, 1 / max(by_process.values())) * deliveries,
            "empty_mb": empty[name],
            "loaded_mb": bridge.resident,
        }
    return results


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=2500, help="of each bridge")
    parser.add_argument("--events", type=int, default=40)
    parser.add_argument("--processes", default="1,2")
    parser.add_argument("--json")
    args = parser.parse_args()
    with rig() as machine:
        async with AsyncExitStack() as stack:
            sandbox = await stack.enter_async_context(Sandbox.open(port=0))
            bridges = {}
            counts = [int(count) for count in args.processes.split(",")]
            wanted = {str(count): (count, args.clients) for count in counts}
            wanted["share"] = (1, args.clients // max(counts))
            for name, (count, clients) in wanted.items():
                url, pids = await stack.enter_async_context(serving(sandbox, count))
                port = int(url.rpartition(":")[2])
                load = stack.enter_context(machine.clients("bridge", port))
                bridges[name] = Bridge(pids, load, clients)
            results = await measure(bridges, sandbox, args.events)
    for name, figures in results.items():
        print(json.dumps({"processes": name, **figures}), flush=True)
    first, last = (results[str(count)] for count in (counts[0], counts[-1]))
    share = results["share"]["cpu_us"]
    print(f"CPU of a delivery in a process with its share of the clients: {share:.2f} us")
    print(f"… of a serving process: {last['serving_us'] / share:.2f} times that")
    print(f"… of the one process with all clients: {first['cpu_us'] / share:.2f} times that")
    ratio = last["deliveries_per_s"] / first["deliveries_per_s"]
    print(f"deliveries/s on {CORES} cores: {ratio:.2f} times as many")
    if args.json:
        with open(args.json, "w") as file:  # noqa: PTH123
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    asyncio.run(main())
