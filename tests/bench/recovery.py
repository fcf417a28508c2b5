"""Connections cut at random under load: counts lost, repeated and disordered events.

    python -m tests.bench recovery [--clients 100] [--cuts 100] [--rate 200] [--json FILE]

The server is a separate process and publishes numbered events of four regions. Each client
subscribes to two of them and reconnects repeatedly: after a regular close, after a reset, while the
old connection is half-open, or before it has read the missed events; one client in five polls. The
received events are then compared with the published ones. Exit code 1 if they differ.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import sys
import time
from collections import Counter
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import aiohttp
from starlette.applications import Starlette
from starlette.routing import Mount

from bridge.events import Event
from bridge.gateway.engineio.raw_websocket import keep_transport
from bridge.gateway.upstream_status import UpstreamState
from bridge.log.memory import MemoryEventLog
from bridge.rooms import ALL_ROOM, property_room, region_room
from tests.bench.figures import percentile
from tests.fakes import build, settings
from tests.serving import served

REGIONS: Final = ("TX", "CA", "NV", "NY")
CUTS: Final = ("close", "reset", "half-open", "unread")
PAD: Final = "x" * 150
STATUS: Final = re.compile(r'^42\["bridge-status",.*-(\d+)"\]$')
EVENT: Final = re.compile(r'"seq":(\d+),.*"([^"]+)"\]$')


# -- the server


async def serve(rate: float) -> None:
    configured = settings(requests_per_second=1000)
    log = MemoryEventLog(configured.log_events, configured.log_seconds)
    live = UpstreamState(live=True, reconciled=True, scanning=False)
    gateway = build(configured, log=log, upstream=lambda: live)
    inner = Starlette(routes=[Mount("/socket.io", app=gateway)])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        keep_transport(scope, send)
        await inner(scope, receive, send)

    async def publish() -> None:
        began = time.monotonic()
        while True:
            due = int((time.monotonic() - began) * rate)
            events = [_event(seq) for seq in range(log.head.seq + 1, due + 1)]
            if events:
                gateway.publish((await log.append(events, [])).entries)
            await asyncio.sleep(1 / rate)

    async with served(app, drain=gateway.close) as url:
        print(json.dumps({"url": url}), flush=True)
        watching = asyncio.create_task(gateway.run())
        publishing = asyncio.create_task(publish())
        await asyncio.to_thread(sys.stdin.readline)
        publishing.cancel()
        watching.cancel()
        print(json.dumps({"last": log.head.seq, **gateway.recoveries()}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)


def _event(seq: int) -> Event:
    region = REGIONS[seq % len(REGIONS)]
    key = f"p{seq % 1000}"
    data = {"property_id": key, "seq": seq, "changes": {"note": {"old": None, "new": PAD}}}
    envelope = json.dumps({"event": "property-updated", "data": data}, separators=(",", ":"))
    rooms = (ALL_ROOM, property_room(key), region_room(region))
    return Event("property-updated", key, rooms, envelope.encode())


# -- the clients


class Client:
    def __init__(self, url: str, http: aiohttp.ClientSession, rng: random.Random) -> None:
        transport = "polling" if rng.random() < 0.2 else "websocket"
        self.url = f"{url}/socket.io/?EIO=4&transport={transport}"
        self.http = http
        self.rng = rng
        self.regions = rng.sample(REGIONS, 2)
        self.polling = transport == "polling"
        self.pid: str | None = None
        self.offset: str | None = None
        self.seqs: list[int] = []
        self.start: int | None = None
        """The position of its first connect."""
        self.counts: Counter[str] = Counter()
        self.took: list[float] = []
        self._ws: aiohttp.ClientWebSocketResponse | None = None
        self._half_open: list[aiohttp.ClientWebSocketResponse] = []
        self._poll = ""

    async def run(self, cuts: int, pause: float) -> None:
        await self._connect()
        while self.start is None:
            await self._read()
        for _ in range(cuts):
            with suppress(TimeoutError):
                async with asyncio.timeout(self.rng.random() * pause * 2):
                    while True:
                        await self._read()
            await self._cut(self.rng.choice(CUTS))
            await asyncio.sleep(self.rng.random() * pause / 2)
            await self._connect()

    async def until(self, last: int) -> None:
        """Receive the remaining events up to number `last`."""
        mine = [seq for seq in range(last - len(REGIONS), last + 1) if self._is_subscribed(seq)]
        while not self.seqs or self.seqs[-1] < mine[-1]:
            await self._read()

    def check(self) -> None:
        """Compare the received events with the published ones."""
        seqs = self.seqs
        assert self.start is not None
        expected = [seq for seq in range(self.start + 1, seqs[-1] + 1) if self._is_subscribed(seq)]
        self.counts["received"] = len(seqs)
        self.counts["lost"] = len(set(expected) - set(seqs))
        self.counts["repeated"] = len(seqs) - len(set(seqs))
        self.counts["disordered"] = sum(a > b for a, b in pairwise(seqs))
        self.counts["unexpected"] = len(set(seqs) - set(expected))

    def _is_subscribed(self, seq: int) -> bool:
        return REGIONS[seq % len(REGIONS)] in self.regions

    async def _connect(self) -> None:
        began = time.perf_counter()
        auth: dict[str, Any] = {"regions": self.regions}
        if self.pid is not None:
            auth["pid"] = self.pid
            if self.offset is not None:
                auth["offset"] = self.offset
        if self.polling:
            async with self.http.get(self.url) as response:
                self._poll = f"{self.url}&sid={json.loads((await response.text())[1:])['sid']}"
        else:
            self._ws = await self.http.ws_connect(self.url)
        await self._send("40" + json.dumps(auth))
        pid, self._accepted = self.pid, ""
        while not self._accepted:
            await self._read()
        self.took.append(time.perf_counter() - began)
        self.pid = json.loads(self._accepted[2:])["pid"]
        if pid is not None:
            self.counts["recovered" if pid == self.pid else "not recovered"] += 1

    async def _send(self, text: str) -> None:
        if self._ws is not None:
            await self._ws.send_str(text)
        else:
            async with self.http.post(self._poll, data=text) as response:
                await response.read()

    async def _read(self) -> None:
        if self._ws is not None:
            self._receive(await self._ws.receive_str())
            return
        async with self.http.get(self._poll) as response:
            text = await response.text()
        for packet in text.split("\x1e"):
            self._receive(packet)

    def _receive(self, packet: str) -> None:
        found = EVENT.search(packet)
        if found:
            self.seqs.append(int(found[1]))
            self.offset = found[2]
        elif packet.startswith("40"):
            self._accepted = packet
        elif (status := STATUS.match(packet)) and self.start is None:
            self.start = int(status[1])

    async def _cut(self, how: str) -> None:
        self.counts[how] += 1
        ws, self._ws = self._ws, None
        if ws is None:
            if how == "close":
                await self._send("1")
            return  # for a polling client every other cut is a half-open connection
        if how == "half-open":
            self._half_open.append(ws)
            return
        if how == "unread":
            # Long enough that unread events are in the socket's buffer.
            await asyncio.sleep(0.03)
        if how == "close":
            await ws.close()
        else:
            transport = ws._response.connection.transport  # type: ignore[union-attr]
            assert transport is not None
            transport.abort()


async def measure(clients: int, cuts: int, rate: float, pause: float, seed: int) -> dict[str, Any]:
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bench.recovery",
        "--serve",
        "--rate",
        str(rate),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        url = json.loads(await server.stdout.readline())["url"]
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as http:
            fleet = [
                Client(url, http, random.Random(f"{seed}-{number}")) for number in range(clients)
            ]
            began = time.monotonic()
            async with asyncio.TaskGroup() as tasks:
                for client in fleet:
                    tasks.create_task(client.run(cuts, pause))
            seconds = time.monotonic() - began
            server.stdin.write(b"stop\n")
            report = json.loads(await server.stdout.readline())
            async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
                for client in fleet:
                    tasks.create_task(client.until(report["last"]))
        counts: Counter[str] = Counter()
        for client in fleet:
            client.check()
            counts += client.counts
        took = sorted(time for client in fleet for time in client.took[1:])
        return {
            "clients": clients,
            "cuts": clients * cuts,
            "by kind": {how: counts[how] for how in CUTS},
            "recovered": counts["recovered"],
            "not recovered": counts["not recovered"],
            "published": report["last"],
            "received": counts["received"],
            "lost": counts["lost"],
            "repeated": counts["repeated"],
            "disordered": counts["disordered"],
            "unexpected": counts["unexpected"],
            "p50 ms": round(percentile(took, 0.5) * 1000, 1) if took else None,
            "p99 ms": round(percentile(took, 0.99) * 1000, 1) if took else None,
            "seconds": round(seconds, 1),
        }
    finally:
        with suppress(ProcessLookupError):
            server.stdin.close()
            async with asyncio.timeout(10):
                await server.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--cuts", type=int, default=100, help="per client")
    parser.add_argument("--rate", type=float, default=200, help="events per second")
    parser.add_argument("--pause", type=float, default=0.3, help="average seconds between cuts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.rate))
        return 0
    figures = asyncio.run(
        measure(options.clients, options.cuts, options.rate, options.pause, options.seed)
    )
    for name, value in figures.items():
        print(f"{name:>14}  {value}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    wrong = ("lost", "repeated", "disordered", "unexpected", "not recovered")
    return 1 if any(figures[name] for name in wrong) else 0


if __name__ == "__main__":
    sys.exit(main())
