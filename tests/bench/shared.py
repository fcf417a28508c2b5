"""Cost of a log in Redis: for the server, for its leader, and for each machine that follows it.

    python -m tests.bench shared [--machines 1 4 8] [--seconds 5] [--json FILE]

Runs a Redis server and the logs of so many machines in this process, with the beats and notes that
machines send. First nothing is appended, then 100 appends a second of 1 and of 16 events each.
Requests and bytes are the server's own counts (INFO), with and without appends; CPU of the
followers is what each further machine adds to this process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis

from bridge.log.redis.build import RedisOptions, build
from bridge.members import BEAT_SECONDS
from bridge.sandbox.redis import RedisServer
from tests.bench.figures import percentile
from tests.bench.log import batches

if TYPE_CHECKING:
    from bridge.log.redis.build import RedisParts

APPENDS_PER_SECOND = 100
SIZES = (1, 16)
NOTE = b'{"machine":"1781e2a0c12345","role":"follower","users":1000}'
"""A machine's beat, as long as they are."""
NOTES = {"beat": NOTE, "upstream": NOTE * 8}


@dataclass(frozen=True, slots=True)
class Counts:
    """What a server has counted so far, and the CPU seconds of this process."""

    at: float
    requests: int
    received: int
    sent: int
    server_cpu: float
    cpu: float

    @classmethod
    async def read(cls, redis: Redis) -> Counts:
        info = await redis.info()
        commands = await redis.info("commandstats")
        return cls(
            time.perf_counter(),
            sum(commands.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in REQUESTS),
            info["total_net_input_bytes"],
            info["total_net_output_bytes"],
            info["used_cpu_sys"] + info["used_cpu_user"],
            time.process_time(),
        )


FRAME_BYTES = len('42["property-updated",,"f3a1c2d4e5b6-1234567"]') + 4
"""Around the envelope: the packet with a position, and a websocket's header."""

REQUESTS = ("evalsha", "xread")
"""Commands of machines; those within a script are not counted."""


def per_second(before: Counts, after: Counts) -> dict[str, float]:
    seconds = after.at - before.at
    return {
        "requests": (after.requests - before.requests) / seconds,
        "received": (after.received - before.received) / seconds,
        "sent": (after.sent - before.sent) / seconds,
        "server_cpu_us": (after.server_cpu - before.server_cpu) / seconds * 1e6,
        "cpu_us": (after.cpu - before.cpu) / seconds * 1e6,
    }


async def _notes(machine: RedisParts, wait: float) -> None:
    """Send what a machine sends of itself; machines start at different times."""
    await asyncio.sleep(wait)
    while True:
        await machine.log.note("beat", NOTES["beat"])
        if machine.lease.leading:
            await machine.log.note("upstream", NOTES["upstream"])
        await asyncio.sleep(BEAT_SECONDS)


async def _follow(machine: RedisParts, latencies: list[float] | None, sent: list[float]) -> None:
    async for commit in machine.log.follow(machine.log.head):
        if commit.entries and latencies is not None and sent:
            latencies.append((time.perf_counter() - sent[-1]) * 1e3)


async def measure(machines: int, seconds: float) -> dict[str, dict[str, float]]:
    """Return figures per second: idle, and with appends of each size."""
    out: dict[str, dict[str, float]] = {}
    async with RedisServer() as server, AsyncExitStack() as closing:
        options = RedisOptions(server.url, "bench", "a", 100_000, 900.0, 3.0, 120.0)
        parts = [build(options) for _ in range(machines)]
        for each in parts:
            await each.log.open()
            closing.push_async_callback(each.log.close)
        leader = parts[0]
        await leader.lease.acquired()
        latencies: list[float] = []
        sent: list[float] = []
        tasks = [
            asyncio.create_task(_notes(each, BEAT_SECONDS * turn / machines))
            for turn, each in enumerate(parts)
        ]
        tasks += [
            asyncio.create_task(_follow(each, latencies if each is parts[-1] else None, sent))
            for each in parts
        ]
        redis = await closing.enter_async_context(Redis.from_url(server.url))
        await asyncio.sleep(BEAT_SECONDS)
        before = await Counts.read(redis)
        await asyncio.sleep(2 * BEAT_SECONDS)
        out["idle"] = per_second(before, await Counts.read(redis))
        for size in SIZES:
            prepared = batches(size, 50)
            del latencies[:], sent[:]
            before = await Counts.read(redis)
            await _append(leader, prepared, seconds, sent)
            after = await Counts.read(redis)
            figures = per_second(before, after)
            figures["appends"] = len(sent) / (after.at - before.at)
            ordered = sorted(latencies)
            figures["p50_ms"], figures["p99_ms"] = (percentile(ordered, q) for q in (0.5, 0.99))
            out[f"{size} events"] = figures
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return out


async def _append(leader: RedisParts, prepared: Any, seconds: float, sent: list[float]) -> None:
    started = time.perf_counter()
    for turn in range(int(APPENDS_PER_SECOND * seconds)):
        events, rows = prepared[turn % len(prepared)]
        sent.append(time.perf_counter())
        await leader.log.append(events, rows)
        due = started + (turn + 1) / APPENDS_PER_SECOND
        await asyncio.sleep(max(0.0, due - time.perf_counter()))


def costs(results: dict[str, dict[str, dict[str, float]]]) -> dict[str, float]:
    """Return the costs of appends of one event for `tests.bench.capacity`, from the fewest and the
    most machines, and those of idle machines from three numbers of machines.
    """
    numbers = sorted(map(int, results))

    def each(figure: str, machines: int) -> float:
        case = results[str(machines)]["1 events"]
        return (case[figure] - results[str(machines)]["idle"][figure]) / case["appends"]

    def split(figure: str) -> tuple[float, float]:
        """Return what an append costs, and what each machine adds."""
        few, many = numbers[0], numbers[-1]
        added = max(0.0, (each(figure, many) - each(figure, few)) / (many - few))
        return each(figure, few) - few * added, added

    out = {"event_bytes": event_bytes(), "read_bytes": split("sent")[1]}
    out["append_bytes"], out["request_bytes"] = split("received")
    out["append_us"], out["read_us"] = split("server_cpu_us")
    out["leader_us"], out["follower_us"] = split("cpu_us")
    few, some, many = numbers[0], numbers[len(numbers) // 2], numbers[-1]
    idle = {machines: results[str(machines)]["idle"]["requests"] for machines in numbers}
    first, second = ((idle[b] - idle[a]) / (b - a) for a, b in ((few, some), (some, many)))
    pair = max(0.0, (second - first) / (many - few))
    machine = first - pair * (few + some)
    out["idle_pair_requests"], out["idle_requests"] = pair, machine
    out["idle_leader_requests"] = max(0.0, idle[few] - few * machine - few**2 * pair)
    return {name: float(f"{value:.3g}") for name, value in out.items()}


def event_bytes() -> float:
    """Return the mean size of an event as a client receives it."""
    sizes = [len(event.envelope) for events, _ in batches(1, 200) for event in events]
    return sum(sizes) / len(sizes) + FRAME_BYTES


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--machines", type=int, nargs="+", default=[1, 4, 8], help="three different numbers"
    )
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    results = {}
    print(
        "| machines | case | appends/s | requests/s | received KB/s | sent KB/s | server CPU % "
        "| p50 / p99 ms |"
    )
    print("|---:|---|---:|---:|---:|---:|---:|---:|")
    for machines in options.machines:
        results[str(machines)] = asyncio.run(measure(machines, options.seconds))
        for case, figures in results[str(machines)].items():
            hop = (
                f"{figures['p50_ms']:.1f} / {figures['p99_ms']:.1f}" if "p50_ms" in figures else ""
            )
            print(
                f"| {machines} | {case} | {figures.get('appends', 0):.1f} "
                f"| {figures['requests']:.1f} "
                f"| {figures['received'] / 1e3:.1f} | {figures['sent'] / 1e3:.1f} "
                f"| {figures['server_cpu_us'] / 1e4:.1f} | {hop} |"
            )
    print(f"for `capacity --costs`: {json.dumps(costs(results))}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
