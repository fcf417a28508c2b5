"""The target of the attacks: a whole bridge over a fake source, with a well-behaved client, and a
log of its faults.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import resource
from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from bridge import create_app
from bridge.gateway.engineio import ws_frames as frames
from bridge.server.serve import BridgeServer
from tests.fakes import FakeSource, FakeTable, entry, row, settings
from tests.fuzz.connection import Connection
from tests.unit.gateway.engineio.test_ws_frames import masked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ADMIN_SECRET = "the secret of operators that nobody guesses"
OBSERVER_REGION = "OBSERVER"
JWT_SECRET = "the secret of a project's tokens, long enough"
FORBIDDEN_BYTES = b"classified"
"""Part of every row and event that clients without a token may not receive."""
HANDSHAKE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: bridge.test\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
NO_LIMITS: dict[str, Any] = {
    # Rate and connection limits have their own tests; here they would hide what is behind them.
    "connections": 1_000_000,
    "connections_per_address": 1_000_000,
    "handshakes_per_second": 1e9,
    "handshakes_per_second_per_address": 1e9,
    "handshakes_burst": 1_000_000,
    "handshakes_burst_per_address": 1_000_000,
    "snapshot_pages_per_second_per_address": 1e9,
    "snapshot_pages_burst_per_address": 1_000_000,
    "requests_per_second": 1e9,
    "requests_burst": 1_000_000,
    # Lower than usual: memory limited by these would grow for minutes otherwise.
    "recovery_clients": 200,
    "log_events": 2_000,
    "watch_interval": 600,
    "settle": 600,
    "sweep_interval": 600,
}


class Fault(AssertionError):  # noqa: N818 - the finding of a run
    """The server did what it must never do."""


KEYS_LOGGER = "bridge.auth.jwks_client"
KEYS_ERROR = "of users' tokens can't be fetched"
"""Expected, since no project is served at the target's URL of one."""


class FaultLog(logging.Handler):
    """Collects logged errors, and exceptions logged at any level."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.faults: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or record.exc_info:
            text = record.getMessage()
            if record.name == KEYS_LOGGER and KEYS_ERROR in text:
                return
            if record.exc_info:
                text += "\n" + logging.Formatter().formatException(record.exc_info)
            self.faults.append(f"{record.name}: {text}")


class WellBehavedClient:
    """A client on one websocket, subscribed to its own region. It must receive that region's events
    and no others, whatever the attacks are.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._connection = Connection(target.server, "203.0.113.1")
        self._rest = b""
        self.received: list[int] = []
        """Numbers of the received events."""

    async def connect(self) -> None:
        answer = await self._connection.ask(HANDSHAKE)
        if not answer.startswith(b"HTTP/1.1 101 "):
            raise Fault(f"a well-behaved client was rejected: {answer[:200]!r}")
        self._rest = answer.split(b"\r\n\r\n", 1)[1]
        auth = json.dumps({"regions": [OBSERVER_REGION]})
        self._connection.send(masked(f"40{auth}".encode()))
        packets = await self.read_packets()
        if not any(packet.startswith("40{") for packet in packets):
            raise Fault(f"a well-behaved client was not connected: {packets}")

    async def read_packets(self) -> list[str]:
        """Return the packets received since the last call. Pings are answered."""
        data = self._rest + await self._connection.settle()
        self._rest = b""
        packets = [payload.decode() for payload in frames.payloads(data)]
        for packet in packets:
            if packet == "2":
                self._connection.send(masked(b"3"))
            elif packet.startswith("42"):
                name, envelope, *_ = json.loads(packet[2:])
                if name == "bridge-status":
                    continue
                if "seq" not in envelope["data"]:
                    if not self._target.exact:
                        continue
                    raise Fault(f"a well-behaved client received {packet[:300]}")
                self.received.append(envelope["data"]["seq"])
        return packets

    async def ask(self, name: str, argument: Any) -> Any:
        """Send a request and return its ack."""
        self._connection.send(masked(f"429{json.dumps([name, argument])}".encode()))
        for packet in await self.read_packets():
            if packet.startswith("439"):
                return json.loads(packet[3:])[0]
        raise Fault(f"{name} of a well-behaved client was not answered")

    @property
    def ended(self) -> bool:
        return self._connection.ended

    def close(self) -> None:
        self._connection.close()


class Target:
    """Made by `Target.open()`."""

    def __init__(
        self, server: BridgeServer, bridge: Any, source: FakeSource, table: FakeTable
    ) -> None:
        self.server = server
        self.bridge = bridge
        self.source = source
        self.table = table
        self.log = FaultLog()
        self.observer = WellBehavedClient(self)
        self.exact = True
        """Whether the observer's events and the snapshot's rows are known."""
        self._numbers = count(1)
        self._expected: list[int] = []

    @classmethod
    @asynccontextmanager
    async def open(cls, **overrides: Any) -> AsyncIterator[Target]:
        rows = [row(f"p{n}", state=("TX", "CA", "NV")[n % 3]) for n in range(60)]
        for each in rows:
            if each["state"] == "NV":
                each["name"] = FORBIDDEN_BYTES.decode()
        source, table = FakeSource(), FakeTable(*rows)
        values: dict[str, Any] = {
            **NO_LIMITS,
            "admin_secret": SecretStr(ADMIN_SECRET),
            "supabase_jwt_secret": SecretStr(JWT_SECRET),
            "anonymous_regions": ("TX", "CA", OBSERVER_REGION),
            "cors_origins": "https://*.example.org",
            "trusted_proxies": "203.0.113.66",
            **overrides,
        }
        bridge = create_app(settings(**values), source=source, table=table)
        server = BridgeServer(bridge)
        server.config.load()
        target = cls(server, bridge, source, table)
        bridge.on_failure = lambda error: target.log.faults.append(
            f"a task of the bridge failed: {error!r}"
        )
        root, loop = logging.getLogger(), asyncio.get_running_loop()
        level, handler = root.level, loop.get_exception_handler()
        root.addHandler(target.log)
        loop.set_exception_handler(
            lambda _loop, context: target.log.faults.append(f"the event loop: {context}")
        )
        try:
            async with bridge.lifespan():
                async with asyncio.timeout(10):
                    while not bridge.operations.readiness().ready:
                        await asyncio.sleep(0.01)
                    await target.gateway.snapshots.wait_ready()
                await target.observer.connect()
                yield target
        finally:
            root.removeHandler(target.log)
            root.setLevel(level)
            loop.set_exception_handler(handler)

    @property
    def gateway(self) -> Any:
        return self.bridge._running.gateway

    @property
    def engine(self) -> Any:
        return self.gateway.server.eio

    def connection(self) -> Connection:
        """Return a new connection that must not receive `FORBIDDEN_BYTES`."""
        return Connection(self.server, forbidden=FORBIDDEN_BYTES)

    def publish(self, *regions: str) -> int:
        """Publish one event in these regions and return its number."""
        number = next(self._numbers)
        secret: dict[str, Any] = {}
        if set(regions) == {"NV"}:
            secret = {"name": FORBIDDEN_BYTES.decode()}
        self.gateway.hub.publish([entry(number, *regions, key=f"w{number}", **secret)])
        if OBSERVER_REGION in regions:
            self._expected.append(number)
        return number

    def raise_faults(self) -> None:
        """Raise `Fault` if an error was logged or raised since the last call."""
        if self.log.faults:
            faults, self.log.faults = self.log.faults, []
            raise Fault("\n".join(faults[:3]))

    async def check_service(self) -> None:
        """Raise `Fault` unless well-behaved clients are served, and receive only their own events;
        then close everything that attacks left open.
        """
        for regions in (("TX",), (OBSERVER_REGION,), ("CA", OBSERVER_REGION), ("NV",)):
            self.publish(*regions)
        await self.observer.read_packets()
        received = self.observer.received
        if self.exact and received != self._expected:
            raise Fault(f"the observer received {received[-8:]}, not {self._expected[-8:]}")
        received.clear()
        self._expected.clear()
        newcomer = WellBehavedClient(self)
        await newcomer.connect()
        answer = await newcomer.ask("subscribe", {"regions": ["TX"], "snapshot": True})
        if not (answer["ok"] and (len(answer["snapshot"]) == 20 or not self.exact)):
            raise Fault(f"a well-behaved client was answered {str(answer)[:300]}")
        newcomer.close()
        await self.close_leftovers()
        self.raise_faults()

    async def close_leftovers(self) -> None:
        """Close connections that attacks left open, as their timeouts would. Raise `Fault` if a
        session, a slot or a client remains.
        """
        connected = {client.connection.eio_sid for client in self.gateway.clients}
        for session in self.engine.open_sessions():
            if session.sid not in connected or not self._is_observer(session):
                session.abort()
        for _ in range(20):
            await asyncio.sleep(0)
        left = [each for each in self.engine.open_sessions() if not self._is_observer(each)]
        slots = self.bridge.admission.connections.total
        if left or slots != 1 or len(self.gateway.clients) != 1:
            raise Fault(
                f"{len(left)} sessions, {slots - 1} slots and "
                f"{len(self.gateway.clients) - 1} clients remained"
            )

    def _is_observer(self, session: Any) -> bool:
        websocket = session._raw_websocket
        return websocket is not None and websocket._transport is self.observer._connection.transport


def status_of(answer: bytes) -> str:
    """Return the HTTP status of a response, with its error code if it has one."""
    answer = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    match = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    if match is None:
        return "closed" if not answer else "frames"
    code = re.search(rb'"code":\s?"([a-z_]+)"', answer)
    return match[1].decode() + (f" {code[1].decode()}" if code else "")


def peak_megabytes() -> float:
    """Return the peak memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
