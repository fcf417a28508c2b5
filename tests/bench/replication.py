"""The source `postgres`: latency beside Realtime, changes per second, memory, absence.

    python -m tests.bench.replication [--only latency|throughput|memory|fill|absence]
        [--seconds 20] [--rate 100] [--changes 100000] [--transaction 1000000] [--rows 1000000]
        [--absent 3600] [--json FILE]

Latency: two bridges follow one sandbox in the same run, one over each source, with a listener on
each; a change's time is from its commit to its event at the listener. Throughput: a backlog in the
slot is read by `pg_recvlogical`, which discards it, and by the bridge's parts, each with all parts
before it; CPU time depends less on other load than elapsed time. Memory: the resident set of a
process that publishes one transaction, or that reads a table for the first time. Absence: what is
written at `rate` while the bridge is down for so many seconds, without waiting for them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import multiprocessing
import os
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from websockets.asyncio.client import connect

from bridge.sandbox import Sandbox
from bridge.source.replication import slot as slots
from bridge.source.replication.connection import (
    XLOG_DATA,
    XLOG_HEADER,
    ReplicationConnection,
)
from bridge.source.replication.connection import connect as connect_sql
from bridge.source.replication.lsn import StreamPosition
from bridge.source.replication.slot import SlotOptions, start_command
from bridge.source.replication.stream import TransactionAssembler
from bridge.source.replication.types import TypeCatalog
from tests.bench.latency import FIRST, ROWS, Arrivals, bridge, percentiles, ready
from tests.bench.machine import resident
from tests.integration.replication_rig import ReplicationRig, replication_settings
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from bridge.settings import Settings

WRITE: Final = """
create or replace procedure bench_write(n int, per int) language plpgsql as $$ begin
  for i in 1..n/per loop
    update properties set price = coalesce(price, 0) + 1
      where id in (select id from properties order by id offset (i % 2) * per limit per);
    commit;
  end loop;
end $$"""
PER_TRANSACTION: Final = 100
TIMEOUT: Final = 600
WARNING_BYTES: Final = 100_000_000
STATUS_SECONDS: Final = 1.0
"""Between two reports to the server, which else ends the stream."""


# -- latency ----------------------------------------------------------------------------------


async def latency(seconds: float, rate: float) -> dict[str, dict[str, float]]:
    arrivals = {"realtime": Arrivals(), "postgres": Arrivals()}
    committed: dict[int, float] = {}
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox.open())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tasks, processes = [], []
        for source, seen in arrivals.items():
            port = free_port()
            environment = {
                "SUPABASE_URL": sandbox.supabase_url,
                "SUPABASE_SECRET_KEY": sandbox.supabase_key,
                "BRIDGE_DATABASE_URL": sandbox.database_url,
                "BRIDGE_SOURCE": source,
                "BRIDGE_LOG": f"sqlite:///{directory / source}.sqlite3",
            }
            processes.append(
                await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "bridge",
                    "serve",
                    "--port",
                    str(port),
                    env={**os.environ, **environment},
                    stderr=asyncio.subprocess.DEVNULL,
                )
            )
            await ready(f"http://127.0.0.1:{port}")
            address = f"ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket"
            socket = await stack.enter_async_context(connect(address))
            live = asyncio.Event()
            tasks.append(asyncio.create_task(bridge(socket, seen, live)))
            async with asyncio.timeout(30):
                await live.wait()
        await asyncio.sleep(6)  # until the scan that follows a new subscription has ended
        rows = await sandbox.execute("select id from properties order by id limit %s", [ROWS])
        started = time.monotonic()
        for number in range(int(seconds * rate)):
            await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
            await sandbox.execute(
                "update properties set price = %s where id = %s",
                [FIRST + number, rows[number % len(rows)]["id"]],
            )
            committed[FIRST + number] = time.monotonic()
        async with asyncio.timeout(20):
            while any(len(seen.at) < len(committed) for seen in arrivals.values()):
                await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        for process in processes:
            process.terminate()
            await process.wait()
    return {
        source: dict(percentiles([seen.at[n] - at for n, at in committed.items()]))
        for source, seen in arrivals.items()
    }


# -- throughput -------------------------------------------------------------------------------


async def timed(work: Callable[[], Awaitable[None]], changes: int) -> dict[str, float]:
    elapsed, cpu = time.perf_counter(), time.process_time()
    async with asyncio.timeout(TIMEOUT):
        await work()
    elapsed, cpu = time.perf_counter() - elapsed, time.process_time() - cpu
    return {"per_s": changes / elapsed, "cpu_us": cpu / changes * 1e6}


async def throughput(changes: int) -> dict[str, dict[str, float]]:
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox.open())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings = replication_settings(sandbox, directory)
        async with ReplicationRig.open(settings) as rig:
            await rig.live()
        await sandbox.execute("select pg_create_logical_replication_slot('bench', 'pgoutput')")
        await sandbox.execute(WRITE)
        await sandbox.execute(f"call bench_write({changes}, {PER_TRANSACTION})")
        [end] = await sandbox.execute("select pg_current_wal_lsn()::text as lsn")
        results = {
            "pg_recvlogical": await timed(lambda: recvlogical(sandbox, end["lsn"]), changes),
            "receive": await timed(lambda: receive(settings, changes, decode=False), changes),
            "receive, decode": await timed(
                lambda: receive(settings, changes, decode=True), changes
            ),
            "whole bridge": await timed(lambda: publish(settings, changes), changes),
        }
    for figures in results.values():
        figures["ratio"] = figures["per_s"] / results["pg_recvlogical"]["per_s"]
    return results


async def recvlogical(sandbox: Sandbox, end: str) -> None:
    process = await asyncio.create_subprocess_exec(
        str(sandbox.postgres._bin / "pg_recvlogical"), "-d", sandbox.database_url, "--slot=bench",
        "--start", "--file=/dev/null", "--no-loop", f"--endpos={end}",
        "-o", "proto_version=1", "-o", "publication_names=bridge",
    )  # fmt: skip
    assert await process.wait() == 0


async def receive(settings: Settings, changes: int, *, decode: bool) -> None:
    """Read the bridge's slot without confirming anything."""
    assert settings.database_url is not None
    url = settings.database_url.get_secret_value()
    options = SlotOptions(settings.slot, settings.publication, settings.projection)
    sql, stream = await connect_sql(url), await ReplicationConnection.open(url)
    try:
        state = await slots.slot_state(sql, settings.slot)
        assert state is not None
        [[system, *_]] = await stream.command("IDENTIFY_SYSTEM")
        await stream.start(start_command(options, state.confirmed, streaming=True))
        catalog = TypeCatalog()
        position = StreamPosition(str(system), state.confirmed)
        assembler = TransactionAssembler(settings.projection, catalog, position)
        seen, reported = 0, time.monotonic()
        while seen < changes:
            messages = await stream.receive(512)
            if time.monotonic() - reported >= STATUS_SECONDS:
                reported = time.monotonic()
                stream.send_status(state.confirmed)
            for message in messages:
                if message[0] != XLOG_DATA:
                    continue
                payload = message[XLOG_HEADER:]
                seen += payload[:1] == b"U"
                if decode:
                    if oids := assembler.needed_types(payload):
                        await catalog.load(sql, oids)
                    for _ in assembler.feed(payload):
                        pass
    finally:
        await stream.close()
        await sql.close()


async def publish(settings: Settings, changes: int) -> None:
    async with ReplicationRig.open(settings) as rig:
        rig.replica.subscribe(lambda entries: rig.commits.append([{}] * len(entries)))
        await rig.until(lambda: sum(map(len, rig.commits)) >= changes, TIMEOUT)


# -- memory -----------------------------------------------------------------------------------


async def memory(rows: int) -> dict[str, float]:
    """Publish one transaction that inserts `rows` in a process of its own."""
    async with Sandbox.open(seed=False) as sandbox:
        context = multiprocessing.get_context("spawn")
        with tempfile.TemporaryDirectory() as directory:
            queue = context.Queue()
            process = context.Process(
                target=_follow,
                args=(sandbox.supabase_url, sandbox.database_url, directory, rows, queue),
            )
            process.start()
            await asyncio.to_thread(queue.get)
            began = time.perf_counter()
            await sandbox.execute(
                "insert into properties (name, state, price)"
                f" select 'Listing ' || n, 'TX', n from generate_series(1, {rows}) n"
            )
            written = time.perf_counter() - began
            figures: dict[str, float] = await asyncio.to_thread(queue.get)
            await asyncio.to_thread(process.join)
    return {"written_s": written, **figures}


def _follow(url: str, database_url: str, directory: str, rows: int, queue: Any) -> None:
    class Addresses:
        supabase_url, supabase_key = url, "sb_secret_bench"

    Addresses.database_url = database_url  # type: ignore[attr-defined]

    async def run() -> None:
        sandbox: Any = Addresses
        settings = replication_settings(sandbox, Path(directory))
        async with ReplicationRig.open(settings) as rig:
            await rig.live()
            before, most, most_queued, began = resident(), 0, 0, time.perf_counter()
            counted = 0

            def count(entries: Any) -> None:
                nonlocal counted
                counted += len(entries)

            rig.replica.subscribe(count)
            queue.put(None)
            while counted < rows:
                await asyncio.sleep(0.02)
                most = max(most, resident())
                most_queued = max(most_queued, len(rig.queue))
            queue.put(
                {
                    "published_s": time.perf_counter() - began,
                    "before_mb": before / 1e6,
                    "most_mb": most / 1e6,
                    "rows_mb": sum(
                        len(rig.pipeline.rows.get(key) or b"") + 120 for key in rig.pipeline.rows
                    )
                    / 1e6,
                    "most_queued": most_queued,
                }
            )

    asyncio.run(run())


# -- first fill -------------------------------------------------------------------------------


async def fill(rows: int) -> dict[str, float]:
    """Read a table of `rows` for the first time, in a process of its own."""
    async with Sandbox.open(seed=False) as sandbox:
        await sandbox.execute(
            "insert into properties (name, state, city, price, units, latitude, longitude)"
            " select 'Listing ' || n, 'TX', 'Austin', n, n % 500 + 1, 30.5, -97.25"
            f" from generate_series(1, {rows}) n"
        )
        with tempfile.TemporaryDirectory() as directory:
            return await in_process(_fill, sandbox, directory, rows)


async def _fill(settings: Settings, rows: int) -> dict[str, float]:
    before, began, cpu = resident(), time.perf_counter(), time.process_time()
    async with ReplicationRig.open(settings) as rig:
        most = before
        while len(rig.pipeline.rows) < rows or not rig.pipeline.status().reconciled:
            await asyncio.sleep(0.02)
            most = max(most, resident())
        return {
            "seconds": time.perf_counter() - began,
            "cpu_s": time.process_time() - cpu,
            "before_mb": before / 1e6,
            "most_mb": most / 1e6,
            "after_mb": resident() / 1e6,
        }


async def in_process(
    work: Callable[[Settings, int], Coroutine[Any, Any, dict[str, float]]],
    sandbox: Sandbox,
    directory: str,
    rows: int,
) -> dict[str, float]:
    """Return what `work` returns in a process of its own."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    settings = replication_settings(sandbox, Path(directory))
    process = context.Process(target=_work, args=(work, settings, rows, queue))
    process.start()
    figures: dict[str, float] = await asyncio.to_thread(queue.get)
    await asyncio.to_thread(process.join)
    return figures


def _work(work: Any, settings: Settings, rows: int, queue: Any) -> None:
    queue.put(asyncio.run(work(settings, rows)))


# -- absence ----------------------------------------------------------------------------------


async def absence(seconds: float, rate: float) -> dict[str, Any]:
    """Leave a slot while changes of so many seconds are written, then catch up."""
    changes = int(seconds * rate) // PER_TRANSACTION * PER_TRANSACTION
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox.open())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings = replication_settings(sandbox, directory, slot_warning_bytes=WARNING_BYTES)
        async with ReplicationRig.open(settings) as rig:
            await rig.live()
        await sandbox.execute(WRITE)
        await sandbox.execute(f"call bench_write({changes}, {PER_TRANSACTION})")
        [slot] = await sandbox.execute(
            "select pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::int8 as bytes"
            " from pg_replication_slots where slot_name = 'bridge'"
        )
        warnings: list[str] = []
        handler = logging.Handler(logging.WARNING)
        handler.emit = lambda record: warnings.append(record.getMessage())  # type: ignore[method-assign]
        logging.getLogger("bridge").addHandler(handler)
        figures = await timed(lambda: publish(settings, changes), changes)
        logging.getLogger("bridge").removeHandler(handler)
    return {
        "changes": changes,
        "retained_mb": slot["bytes"] / 1e6,
        "catch_up_s": changes / figures["per_s"],
        "cpu_us": figures["cpu_us"],
        "warning": next((text for text in warnings if "keeps" in text and "yet" in text), None),
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rate", type=float, default=100, help="changes per second")
    parser.add_argument("--changes", type=int, default=100_000)
    parser.add_argument("--transaction", type=int, default=1_000_000, help="rows")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the first fill")
    parser.add_argument("--absent", type=float, default=3600, help="seconds")
    parser.add_argument("--only", choices=("latency", "throughput", "memory", "fill", "absence"))
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    results: dict[str, Any] = {}
    if options.only in (None, "latency"):
        results["latency"] = asyncio.run(latency(options.seconds, options.rate))
        print("| commit to client, ms | p50 | p99 | max |\n|---|---:|---:|---:|")
        for name, figures in results["latency"].items():
            print(f"| {name} | " + " | ".join(f"{value:.1f}" for value in figures.values()) + " |")
    if options.only in (None, "throughput"):
        results["throughput"] = asyncio.run(throughput(options.changes))
        print(
            "\n| part | changes/s | CPU µs per change | of pg_recvlogical |\n|---|---:|---:|---:|"
        )
        for name, each in results["throughput"].items():
            print(f"| {name} | {each['per_s']:.0f} | {each['cpu_us']:.1f} | {each['ratio']:.2f} |")
    if options.only in (None, "memory"):
        results["memory"] = asyncio.run(memory(options.transaction))
        print(f"\none transaction of {options.transaction:,} rows: {results['memory']}")
    if options.only in (None, "fill"):
        results["fill"] = asyncio.run(fill(options.rows))
        print(f"\nfirst fill of {options.rows:,} rows: {results['fill']}")
    if options.only in (None, "absence"):
        results["absence"] = asyncio.run(absence(options.absent, options.rate))
        print(f"\nabsent for {options.absent:g} s: {results['absence']}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
