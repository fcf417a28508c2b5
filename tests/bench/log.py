"""Cost of the durable event log, compared with the one in memory.

    python -m tests.bench log [--rows 1000 100000 1000000] [--json]

Measures appends of 1, 16 and 256 events with their rows (sequential, on the machine's own disk, or
to a Redis server on loopback that appends to a file); the latency of single appends at 100 per
second, p50 and p99, which is the latency that durability adds to an event; and the cost of opening
a file with so many rows: seconds, and bytes of memory per row.

Of the log in Redis: the hop from the call of `append` to the followers in 1 and 4 other processes,
the commands per second of an idle bridge of 1 and 4 processes, and the server's memory per row and
event. An append returns when the process has received it back.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis

from bridge.log.base import Progress
from bridge.log.memory import MemoryEventLog
from bridge.log.redis.build import RedisParts
from bridge.log.sqlite.database import Database
from bridge.log.sqlite.event_log import SqliteEventLog
from bridge.pipeline import diff
from bridge.projection import Projection
from bridge.rows import RowStore
from bridge.sandbox.redis import RedisServer
from bridge.source.normalize import normalize
from tests.bench.figures import percentile
from tests.bench.machine import resident
from tests.bench.pipeline import listing, type_of
from tests.support.redis import parts, unused_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.events import Event
    from bridge.log.base import EventLog, RowUpdate

ROUNDS = 3
SECONDS = 2.0
"""Duration of each throughput measurement."""
IDLE_SECONDS = 15.0
APPENDS_PER_SECOND = 100
"""Rate of appends in the latency measurement."""

Append = tuple[list["Event"], list["RowUpdate"]]


def batches(size: int, number: int) -> list[Append]:
    """Return updates of random rows out of 10,000, as the pipeline appends them."""
    rng = random.Random(size)
    projection = Projection()
    rows = RowStore(projection.known)
    known = []
    for n in range(10_000):
        record = {name: normalize(value, type_of(name)) for name, value in listing(rng, n).items()}
        known.append(record)
    out = []
    for n in range(number):
        events: list[Event] = []
        left: dict[Any, bytes | None] = {}
        for before in rng.sample(known, size):
            after = {**before, "price": rng.randrange(10**6, 10**7), "units": n}
            events += diff.events_between(
                projection, before["id"], before, after, "2026-03-01T10:00:00Z"
            )
            left[before["id"]] = rows.encode(after)
        out.append((events, list(left.items())))
    return out


async def throughput(log: EventLog, prepared: list[Append]) -> tuple[float, float]:
    """Return events per second and CPU µs per event, of all threads."""
    done = turn = 0
    started, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - started < SECONDS:
        events, rows = prepared[turn % len(prepared)]
        await log.append(events, rows)
        done += len(events)
        turn += 1
    spent = time.perf_counter() - started
    return done / spent, (time.process_time() - cpu) / done * 1e6


async def latency(log: EventLog, prepared: list[Append]) -> list[float]:
    """Return the milliseconds of each append of one event, at a constant rate."""
    out = []
    for turn in range(int(APPENDS_PER_SECOND * SECONDS)):
        events, rows = prepared[turn % len(prepared)]
        started = time.perf_counter()
        await log.append(events, rows)
        out.append((time.perf_counter() - started) * 1e3)
        await asyncio.sleep(max(0.0, 1 / APPENDS_PER_SECOND - (time.perf_counter() - started)))
    return out


async def appends(make: Callable[[], EventLog | RedisParts]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for size in (1, 16, 256):
        prepared = batches(size, 20 if size > 16 else 200)
        rounds = []
        for _ in range(ROUNDS):
            log = await open_log(make())
            rounds.append(await throughput(log, prepared))
            await log.close()
        figures[f"events_per_s_{size}"] = statistics.median(rate for rate, _ in rounds)
        figures[f"cpu_us_{size}"] = statistics.median(cpu for _, cpu in rounds)
    log = await open_log(make())
    ordered = sorted(await latency(log, batches(1, 200)))
    await log.close()
    figures["p50_ms"] = percentile(ordered, 0.5)
    figures["p99_ms"] = percentile(ordered, 0.99)
    return figures


async def open_log(made: EventLog | RedisParts) -> EventLog:
    """Open a log that this process may write."""
    if isinstance(made, RedisParts):
        await made.log.open()
        await made.lease.acquired()
        return made.log
    await made.open()
    return made


async def follow(url: str, name: str, sent: multiprocessing.Queue[float]) -> None:
    """Follow a log in a process of its own: put the milliseconds of each hop."""
    made = parts(url, name, events=100_000)
    await made.log.open()
    sent.put(-1.0)  # it is there
    async for commit in made.log.follow(made.log.head):
        now = time.time()
        for entry in commit.entries:
            sent.put((now - entry.at) * 1e3)


def run_follower(url: str, name: str, sent: multiprocessing.Queue[float]) -> None:
    asyncio.run(follow(url, name, sent))


async def hop(server: RedisServer, followers: int) -> dict[str, float]:
    """Measure the time from the append of one event to its arrival in other processes."""
    name = unused_name()
    context = multiprocessing.get_context("spawn")
    sent: multiprocessing.Queue[float] = context.Queue()
    processes = [
        context.Process(target=run_follower, args=(server.url, name, sent), daemon=True)
        for _ in range(followers)
    ]
    made = parts(server.url, name, events=100_000)
    log = await open_log(made)
    for process in processes:
        process.start()
    for _ in processes:
        await asyncio.to_thread(sent.get)
    prepared = batches(1, 200)
    cpu = cpu_seconds(server.pid)
    count = int(APPENDS_PER_SECOND * SECONDS)
    for turn in range(count):
        events, rows = prepared[turn % len(prepared)]
        await log.append(events, rows)
        await asyncio.sleep(1 / APPENDS_PER_SECOND)
    spent = cpu_seconds(server.pid) - cpu
    expected = followers * sum(len(prepared[turn % len(prepared)][0]) for turn in range(count))
    hops = sorted([await asyncio.to_thread(sent.get) for _ in range(expected)])
    for process in processes:
        process.terminate()
        process.join()
    await log.close()
    return {
        "followers": followers,
        "p50_ms": percentile(hops, 0.5),
        "p99_ms": percentile(hops, 0.99),
        "server_us": spent / count * 1e6,
    }


async def idle(server: RedisServer, processes: int) -> dict[str, float]:
    """Count the commands of processes that share a log to which nothing is appended."""
    name = unused_name()
    made = [parts(server.url, name, lease_seconds=2.5) for _ in range(processes)]
    for one in made:
        await one.log.open()
    await made[0].lease.acquired()
    waiting = [asyncio.create_task(one.lease.acquired()) for one in made[1:]]
    async with Redis.from_url(server.url) as client:
        before = await sent_commands(client)
        await asyncio.sleep(IDLE_SECONDS)
        count = await sent_commands(client) - before
    for task in waiting:
        task.cancel()
    for one in reversed(made):
        await one.log.close()
    return {"processes": processes, "per_s": count / IDLE_SECONDS}


async def sent_commands(client: Redis) -> int:
    """Return the number of commands that bridges have sent, without those within their scripts."""
    stats = await client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "xread"))


async def redis_size(server: RedisServer) -> dict[str, float]:
    """Return the server's memory for each row and for each retained event."""
    name = unused_name()
    made = parts(server.url, name, events=100_000, seconds=900)
    log = await open_log(made)
    count = 0
    for events, rows in batches(16, 100):
        await log.append(events, rows)
        count += len(events)
    async with Redis.from_url(server.url) as client:
        kept: Any = await client.hlen(f"{{bridge:{name}}}:rows")
        rows_size: Any = await client.memory_usage(f"{{bridge:{name}}}:rows", samples=0)
        stream_size: Any = await client.memory_usage(f"{{bridge:{name}}}:stream", samples=0)
    await log.close()
    return {"row_bytes": rows_size / kept, "event_bytes": stream_size / count}


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def opening(folder: Path, count: int) -> dict[str, float]:
    """Measure a file with `count` rows, written as by the first scan and opened as by a restart."""
    rng = random.Random(count)
    projection = Projection()
    rows = RowStore(projection.known)
    path = folder / f"rows-{count}.sqlite3"

    def make() -> SqliteEventLog:
        return SqliteEventLog(Database(path), shape="", events=100_000, seconds=900)

    log = make()
    await log.open()
    started = time.perf_counter()
    for start in range(0, count, 1000):
        page = []
        for number in range(start, min(start + 1000, count)):
            record = {
                name: normalize(value, type_of(name))
                for name, value in listing(rng, number).items()
            }
            # In key order, as a table scan reads them.
            page.append((str(uuid.UUID(int=number << 96)), rows.encode(record)))
        await log.append([], page)
    await log.append([], [], Progress(loaded=True))
    filled = time.perf_counter() - started
    await log.close()
    gc.collect()
    before = resident()
    started = time.perf_counter()
    log = make()
    await log.open()
    opened = time.perf_counter() - started
    async for portion in log.rows():
        rows.load(portion)
    loaded = time.perf_counter() - started
    gc.collect()
    weight = (resident() - before) / count
    await log.close()
    return {
        "rows": count,
        "fill_s": filled,
        "open_s": opened,
        "load_s": loaded,
        "bytes_per_row": weight,
        "file_mb": path.stat().st_size / 1e6,
    }


async def measure(counts: list[int]) -> dict[str, Any]:
    server = RedisServer(folder=Path(tempfile.mkdtemp(prefix="bridge-bench-")))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = iter(range(1000))

        def sqlite() -> EventLog:
            database = Database(folder / f"{next(files)}.sqlite3")
            return SqliteEventLog(database, shape="", events=100_000, seconds=900)

        async with server:
            return {
                "memory": await appends(lambda: MemoryEventLog(100_000, 900)),
                "sqlite": await appends(sqlite),
                "redis": await appends(lambda: parts(server.url, unused_name(), events=100_000)),
                "hop": [await hop(server, count) for count in (1, 4)],
                "idle": [await idle(server, count) for count in (1, 4)],
                "size": await redis_size(server),
                "opening": [await opening(folder, count) for count in counts],
            }


def show(results: dict[str, Any]) -> str:
    lines = [
        "| | memory | sqlite | redis |",
        "|---|---:|---:|---:|",
    ]
    for figure in results["memory"]:
        cells = " | ".join(f"{results[log][figure]:,.4g}" for log in ("memory", "sqlite", "redis"))
        lines.append(f"| {figure} | {cells} |")
    lines += [
        "",
        "| redis: followers | hop p50 ms | hop p99 ms | Redis CPU µs per append |",
        "|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r['followers']} | {r['p50_ms']:.2f} | {r['p99_ms']:.2f} | {r['server_us']:.0f} |"
        for r in results["hop"]
    ]
    idle_text = ", ".join(f"{r['processes']}: {r['per_s']:.1f}" for r in results["idle"])
    size = results["size"]
    lines += [
        "",
        f"redis: commands per second of idle processes {idle_text}",
        f"redis: {size['row_bytes']:.0f} bytes per row, {size['event_bytes']:.0f} per event",
        "",
        "",
        "| rows | first fill s | open s | open and load s | bytes per row | file MB |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r['rows']:,} | {r['fill_s']:.2f} | {r['open_s']:.2f} | {r['load_s']:.2f} "
        f"| {r['bytes_per_row']:.0f} | {r['file_mb']:.1f} |"
        for r in results["opening"]
    ]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 100_000, 1_000_000])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    results = asyncio.run(measure(options.rows))
    print(json.dumps(results) if options.json else show(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
