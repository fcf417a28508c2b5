"""The servers under comparison, each as a process: this gateway, unmodified python-socketio, and
the floor of Python: a loop of `transport.write` over plain TCP connections.

    python -m tests.bench.servers bridge|stock|python

Prints {"port": P}, then reads commands from stdin: `tell COUNT RATE BATCH` publishes BATCH events
at once, COUNT times at RATE per second; `stall COUNT RATE BATCH` does the same and measures for how
long the event loop was blocked; `report` prints the slow clients closed since the last command.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import orjson
import socketio
import uvicorn

from bridge.events import Event
from bridge.gateway.engineio import encoding as parcel
from bridge.gateway.engineio import ws_frames as frames
from bridge.gateway.gateway import Gateway
from bridge.log.base import Entry, Position
from bridge.rooms import ALL_ROOM, property_room, region_room
from bridge.server import serve
from bridge.server.websocket_protocol import WebSocketProtocol
from tests.fakes import build


class SlowClientLog:
    """The slow clients closed since the last command: number, time and unsent bytes."""

    began: ClassVar[float] = 0.0
    first: ClassVar[tuple[float, int] | None] = None
    count: ClassVar[Callable[[], int]] = staticmethod(lambda: 0)
    """The gateway's own counter."""

    @classmethod
    def attach(cls, gateway: Gateway) -> None:
        engine = gateway.server.eio
        on_overflow = engine.on_overflow

        def recorded(socket: Any, unsent: int) -> None:
            cls.first = cls.first or (time.monotonic() - cls.began, unsent)
            on_overflow(socket, unsent)

        engine.on_overflow = recorded
        cls.count = staticmethod(lambda: gateway.slow_clients_closed)

    @classmethod
    def report(cls) -> dict[str, Any]:
        seconds, unsent = cls.first or (None, None)
        return {
            "cut_off": cls.count(),
            "cut_s": seconds,
            "cut_kb": None if unsent is None else unsent / 1024,
        }


Publish = Callable[[int, int], Awaitable[None]]
"""Publishes events: first sequence number, number of events."""

PING_SECONDS = float(os.environ.get("BENCH_PING_SECONDS", "300"))
"""The same in all servers, so that no ping falls into a measurement."""


def envelope(seq: int) -> dict[str, Any]:
    """Return an event of typical length."""
    return {
        "event": "property-updated",
        "data": {
            "t": time.monotonic_ns(),
            "property_id": f"5c1f2c9e-0d7e-4b51-8f0e-{seq:012d}",
            "changes": {
                "price": {"old": 4250000, "new": 4175000},
                "status": {"old": "available", "new": "pending"},
            },
            "updated_at": "2026-02-01T10:00:00.123456Z",
        },
    }


def position(seq: int) -> Position:
    return Position("9f86d081", 1_000_000 + seq)


def bridge() -> tuple[Any, Publish, dict[str, Any]]:
    gateway = build()
    gateway.server.eio.ping_interval = PING_SECONDS
    SlowClientLog.attach(gateway)

    async def publish(seq: int, number: int) -> None:
        entries = []
        for n in range(seq, seq + number):
            content = envelope(n)
            key = content["data"]["property_id"]
            rooms = (ALL_ROOM, property_room(key), region_room("TX"))
            event = Event("property-updated", key, rooms, orjson.dumps(content))
            entries.append(Entry(position(n), event, 0.0))
        gateway.hub.publish(entries)

    return gateway, publish, {"ws": WebSocketProtocol}


def stock() -> tuple[Any, Publish, dict[str, Any]]:
    server = socketio.AsyncServer(async_mode="asgi", ping_interval=PING_SECONDS)

    async def connect(sid: str, _environ: Any, auth: Any) -> None:
        for region in auth["regions"]:
            await server.enter_room(sid, region_room(region))

    server.on("connect", connect)

    async def publish(seq: int, number: int) -> None:
        for n in range(seq, seq + number):
            args = (envelope(n), str(position(n)))
            await server.emit("property-updated", args, to=region_room("TX"))

    return socketio.ASGIApp(server), publish, {"ws": "websockets-sansio"}


class BareConnection(asyncio.Protocol):
    """A connection that is only written to."""

    writes: ClassVar[list[Callable[[bytes], None]]] = []

    def connection_made(self, transport: Any) -> None:
        self.writes.append(transport.write)


async def publish_bare(seq: int, number: int) -> None:
    out = b""
    for n in range(seq, seq + number):
        out += frames.text(
            parcel.encode_event("property-updated", orjson.dumps(envelope(n)), str(position(n)))
        )
    for write in BareConnection.writes:
        write(out)


async def run(name: str) -> None:
    if name == "python":
        with serve.listen("127.0.0.1", 0) as listening:
            listening.listen(4096)
            await asyncio.get_running_loop().create_server(BareConnection, sock=listening)
            await run_commands(listening.getsockname()[1], publish_bare)
        return
    app, publish, options = {"bridge": bridge, "stock": stock}[name]()
    config = uvicorn.Config(
        app,
        lifespan="off",
        access_log=False,
        log_config=None,
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        **options,
    )
    with serve.listen("127.0.0.1", 0) as listening:
        listening.listen(4096)
        serving = asyncio.create_task(uvicorn.Server(config).serve([listening]))
        await run_commands(listening.getsockname()[1], publish)
        serving.cancel()


async def run_commands(port: int, publish: Publish) -> None:
    """Run the commands on stdin until it closes."""
    print(json.dumps({"port": port}), flush=True)
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := (await lines.readline()).decode().split():
        if line[0] == "report":
            print(json.dumps(SlowClientLog.report()), flush=True)
            continue
        SlowClientLog.began = time.monotonic()
        command, count, rate, batch = line[0], int(line[1]), float(line[2]), int(line[3])
        stall = Stall() if command == "stall" else None
        start = loop.time()
        for n in range(count):
            await asyncio.sleep(max(0.0, start + n / rate - loop.time()))
            await publish(n * batch, batch)
        if stall is not None:
            await asyncio.sleep(1 / rate)
        result: dict[str, Any] = {"told": True}
        if stall is not None:
            result["stall_ms"], result["step_ms"] = stall.stop()
        print(json.dumps(result), flush=True)


class Stall:
    """The longest block of the event loop: by the clock, which includes other load of the machine,
    and as the maximum CPU time of one callback.
    """

    EVERY = 0.001

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._worst = 0.0
        self._due = 0.0
        self._step = 0.0
        self._run = run = asyncio.Handle._run

        def timed(handle: asyncio.Handle) -> None:
            began = time.thread_time()
            run(handle)
            self._step = max(self._step, time.thread_time() - began)

        asyncio.Handle._run = timed  # type: ignore[method-assign,assignment]
        self._arm()

    def _arm(self) -> None:
        self._due = self._loop.time() + self.EVERY
        self._timer = self._loop.call_later(self.EVERY, self._fire)

    def _fire(self) -> None:
        self._worst = max(self._worst, self._loop.time() - self._due)
        self._arm()

    def stop(self) -> tuple[float, float]:
        """Stop measuring. Return the longest block and the longest callback in milliseconds."""
        self._timer.cancel()
        asyncio.Handle._run = self._run  # type: ignore[method-assign]
        return self._worst * 1000, self._step * 1000


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1]))
