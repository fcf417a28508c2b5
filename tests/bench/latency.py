"""Latency from commit to client, and the bridge's share of it.

    python -m tests.bench.latency [--seconds 20] [--rate 100] [--json FILE]

Runs a sandbox with Realtime's real delays, `bridge serve` as a process, and two listeners: one on
Realtime itself, one on the bridge over a websocket. Each change has a number, by which its arrivals
are matched. The bridge's process records when the `realtime` package passed each change on, which
splits the time after Realtime into the package's share (about 0.13 ms per message; the burst of one
poll is passed on as a whole) and the bridge's own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from bridge import roles
from bridge.changes import Change, Item
from bridge.cli import main as cli
from bridge.sandbox import Sandbox
from bridge.source.change_queue import ChangeQueue
from tests.bench.figures import percentile
from tests.support.ports import free_port

RECORD_FILE = "BENCH_NOTES"
"""Environment variable with the file in which the bridge's process records arrivals."""

ROWS = 200
FIRST = 1_000_000_000
"""Prices from this value on are numbers of changes."""


class Arrivals:
    """The arrival of each change, in seconds of the monotonic clock."""

    def __init__(self) -> None:
        self.at: dict[int, float] = {}

    def record(self, price: Any) -> None:
        if isinstance(price, int) and price >= FIRST:
            self.at[price] = time.monotonic()


class RecordingQueue(ChangeQueue):
    """A change queue that records when the `realtime` package put each change."""

    arrivals = Arrivals()

    def put_nowait(self, item: Item) -> None:
        if isinstance(item, Change):
            self.arrivals.record(item.record.get("price"))
        super().put_nowait(item)


def serve(arguments: list[str]) -> int:
    """Run `bridge serve` with a recording change queue."""
    vars(roles)["ChangeQueue"] = RecordingQueue
    try:
        return cli.main(["serve", *arguments])
    finally:
        Path(os.environ[RECORD_FILE]).write_text(json.dumps(RecordingQueue.arrivals.at), "utf-8")


async def realtime(url: str, key: str, arrivals: Arrivals, live: asyncio.Event) -> None:
    address = f"{url.replace('http', 'ws')}/realtime/v1/websocket?apikey={key}&vsn=1.0.0"
    binding = {"event": "*", "schema": "public", "table": "properties"}
    async with connect(address) as socket:
        join = {"config": {"postgres_changes": [binding]}}
        message = {"topic": "realtime:b", "event": "phx_join", "ref": "1", "payload": join}
        await socket.send(json.dumps(message))
        async for frame in socket:
            message = json.loads(frame)
            if message["event"] == "system":
                live.set()
            if message["event"] == "postgres_changes":
                arrivals.record(message["payload"]["data"]["record"]["price"])


async def bridge(socket: ClientConnection, arrivals: Arrivals, live: asyncio.Event) -> None:
    async for frame in socket:
        text = str(frame)
        if text.startswith("0"):
            await socket.send("40")
        elif text == "2":
            await socket.send("3")
        elif text.startswith("40"):
            live.set()
        elif text.startswith('42["property-updated"'):
            for change in json.loads(text[2:])[1]["data"]["changes"].values():
                arrivals.record(change["new"])


async def ready(url: str) -> None:
    async with httpx.AsyncClient() as http, asyncio.timeout(60):
        while True:
            try:
                if (await http.get(url + "/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)


async def measure(
    seconds: float, rate: float, settings: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """`settings`: environment variables of the bridge."""
    straight, bridged = Arrivals(), Arrivals()
    committed: dict[int, float] = {}
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox.open())
        url = f"http://127.0.0.1:{free_port()}"
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environment = {
            "SUPABASE_URL": sandbox.supabase_url,
            "SUPABASE_SECRET_KEY": sandbox.supabase_key,
        }
        environment[RECORD_FILE] = str(notes := directory / "notes.json")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __spec__.name, "--serve", url.rpartition(":")[2],
            env={**os.environ, **environment, **(settings or {})},
        )  # fmt: skip
        await ready(url)
        address = url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
        socket = await stack.enter_async_context(connect(address))
        lives = asyncio.Event(), asyncio.Event()
        listeners = [
            asyncio.create_task(
                realtime(sandbox.supabase_url, sandbox.supabase_key, straight, lives[0])
            ),
            asyncio.create_task(bridge(socket, bridged, lives[1])),
        ]
        async with asyncio.timeout(30):
            for live in lives:
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
        async with asyncio.timeout(10):
            while len(bridged.at) < len(committed):
                await asyncio.sleep(0.05)
        for task in listeners:
            task.cancel()
        process.terminate()
        await process.wait()
        handed = {int(n): at for n, at in json.loads(notes.read_text("utf-8")).items()}
    parts = {
        "Realtime (commit to its message)": [straight.at[n] - t for n, t in committed.items()],
        "realtime package (message to callback)": [handed[n] - straight.at[n] for n in committed],
        "bridge (callback to event at the client)": [bridged.at[n] - handed[n] for n in committed],
        "commit to client": [bridged.at[n] - t for n, t in committed.items()],
    }
    return {name: dict(percentiles(values)) for name, values in parts.items()}


def percentiles(seconds: list[float]) -> Iterator[tuple[str, float]]:
    ordered = sorted(seconds)
    for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
        yield name, percentile(ordered, share) * 1000


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rate", type=float, default=100, help="changes per second")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--serve", metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.serve:
        return serve(["--port", options.serve])
    result = asyncio.run(measure(options.seconds, options.rate))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    print("| ms | p50 | p99 | max |\n|---|---:|---:|---:|")
    for name, figures in result.items():
        print(f"| {name} | " + " | ".join(f"{value:.1f}" for value in figures.values()) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
