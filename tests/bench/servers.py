"""The servers that are compared, each as a process: this gateway, python-socketio as it comes, and
what Python itself takes: a loop of `transport.write` over bare TCP connections.

    python -m tests.bench.servers bridge|stock|python

Prints {"port": P}; then takes lines on stdin: `tell COUNT RATE BATCH` tells BATCH events at once,
COUNT times at RATE a second; `stall COUNT RATE BATCH` too, and measures how long the loop was held;
`report` says who was cut off for taking nothing.
"""

from __future__ import annotations

import asyncio
import json
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


class Cuts:
    """Who was cut off since the last command, when, and with how much waiting."""

    began: ClassVar[float] = 0.0
    first: ClassVar[tuple[float, int] | None] = None
    count: ClassVar[Callable[[], int]] = staticmethod(lambda: 0)
    """As the gateway itself says."""

    @classmethod
    def watch(cls, gateway: Gateway) -> None:
        engine = gateway.server.eio
        cut = engine.on_overflow

        def noted(socket: Any, unsent: int) -> None:
            cls.first = cls.first or (time.monotonic() - cls.began, unsent)
            cut(socket, unsent)

        engine.on_overflow = noted
        cls.count = staticmethod(lambda: gateway.slow_clients_closed)

    @classmethod
    def report(cls) -> dict[str, Any]:
        seconds, unsent = cls.first or (None, None)
        return {
            "cut_off": cls.count(),
            "cut_s": seconds,
            "cut_kb": None if unsent is None else unsent / 1024,
        }


Tell = Callable[[int, int], Awaitable[None]]
"""Tells so many events, numbered from the first one on."""

PING_SECONDS = 300
"""As in all the servers that are compared, so that no pings come between."""


def envelope(seq: int) -> dict[str, Any]:
    """An event of the usual length."""
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


def bridge() -> tuple[Any, Tell, dict[str, Any]]:
    gateway = build()
    gateway.server.eio.ping_interval = PING_SECONDS
    Cuts.watch(gateway)

    async def tell(seq: int, number: int) -> None:
        entries = []
        for n in range(seq, seq + number):
            told = envelope(n)
            key = told["data"]["property_id"]
            rooms = (ALL_ROOM, property_room(key), region_room("TX"))
            event = Event("property-updated", key, rooms, orjson.dumps(told))
            entries.append(Entry(position(n), event, 0.0))
        gateway.hub.publish(entries)

    return gateway, tell, {"ws": WebSocketProtocol}


def stock() -> tuple[Any, Tell, dict[str, Any]]:
    server = socketio.AsyncServer(async_mode="asgi", ping_interval=PING_SECONDS)

    async def connect(sid: str, _environ: Any, auth: Any) -> None:
        for region in auth["regions"]:
            await server.enter_room(sid, region_room(region))

    server.on("connect", connect)

    async def tell(seq: int, number: int) -> None:
        for n in range(seq, seq + number):
            args = (envelope(n), str(position(n)))
            await server.emit("property-updated", args, to=region_room("TX"))

    return socketio.ASGIApp(server), tell, {"ws": "websockets-sansio"}


class Bare(asyncio.Protocol):
    """One of those who are written to and nothing else."""

    writes: ClassVar[list[Callable[[bytes], None]]] = []

    def connection_made(self, transport: Any) -> None:
        self.writes.append(transport.write)


async def tell_bare(seq: int, number: int) -> None:
    out = b""
    for n in range(seq, seq + number):
        out += frames.text(
            parcel.encode_event("property-updated", orjson.dumps(envelope(n)), str(position(n)))
        )
    for write in Bare.writes:
        write(out)


async def run(name: str) -> None:
    if name == "python":
        with serve.listen("127.0.0.1", 0) as listening:
            listening.listen(4096)
            await asyncio.get_running_loop().create_server(Bare, sock=listening)
            await obey(listening.getsockname()[1], tell_bare)
        return
    app, tell, options = {"bridge": bridge, "stock": stock}[name]()
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
        await obey(listening.getsockname()[1], tell)
        serving.cancel()


async def obey(port: int, tell: Tell) -> None:
    """Do as the lines on stdin say, until they end."""
    print(json.dumps({"port": port}), flush=True)
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := (await lines.readline()).decode().split():
        if line[0] == "report":
            print(json.dumps(Cuts.report()), flush=True)
            continue
        Cuts.began = time.monotonic()
        command, count, rate, batch = line[0], int(line[1]), float(line[2]), int(line[3])
        stall = Stall() if command == "stall" else None
        start = loop.time()
        for n in range(count):
            await asyncio.sleep(max(0.0, start + n / rate - loop.time()))
            await tell(n * batch, batch)
        if stall is not None:
            await asyncio.sleep(1 / rate)
        told: dict[str, Any] = {"told": True}
        if stall is not None:
            told["stall_ms"], told["step_ms"] = stall.stop()
        print(json.dumps(told), flush=True)


class Stall:
    """How long the loop was kept from its work at the worst: by the clock, in which all else that
    the machine does is too, and the most CPU time that one step of the loop took.
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
        """Milliseconds."""
        self._timer.cancel()
        asyncio.Handle._run = self._run  # type: ignore[method-assign]
        return self._worst * 1000, self._step * 1000


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1]))
