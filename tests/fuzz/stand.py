"""What is attacked: a whole bridge over a made-up source, a witness, and whoever notes faults."""

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
WITNESS_REGION = "WITNESS"
JWT_SECRET = "the secret of a project's tokens, long enough"
CLASSIFIED = b"classified"
"""In all that nobody may hear who comes without a token."""
HANDSHAKE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: bridge.test\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
ROOMY: dict[str, Any] = {
    # Limits of an address are tested elsewhere; here they would hide what is behind them.
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
    # Memory that is bounded by these would still grow for minutes.
    "recovery_clients": 200,
    "log_events": 2_000,
    "watch_interval": 600,
    "settle": 600,
    "sweep_interval": 600,
}


class Fault(AssertionError):  # noqa: N818 - it is what was found
    """The server did what it never should."""


EXPECTED = "the keys of users' tokens can't be fetched"
"""There are none where the stand's project is."""


class Notes(logging.Handler):
    """Errors that were logged, and exceptions at any level."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.faults: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or record.exc_info:
            text = record.getMessage()
            if text.startswith(EXPECTED):
                return
            if record.exc_info:
                text += "\n" + logging.Formatter().formatException(record.exc_info)
            self.faults.append(f"{record.name}: {text}")


class Witness:
    """A client that behaves, over one websocket: it hears its region's events and no others."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        self._connection = Connection(stand.server, "203.0.113.1")
        self._rest = b""
        self.heard: list[int] = []

    async def connect(self) -> None:
        answer = await self._connection.ask(HANDSHAKE)
        if not answer.startswith(b"HTTP/1.1 101 "):
            raise Fault(f"a client that behaves was refused: {answer[:200]!r}")
        self._rest = answer.split(b"\r\n\r\n", 1)[1]
        auth = json.dumps({"regions": [WITNESS_REGION]})
        self._connection.send(masked(f"40{auth}".encode()))
        packets = await self.packets()
        if not any(packet.startswith("40{") for packet in packets):
            raise Fault(f"a client that behaves was not connected: {packets}")

    async def packets(self) -> list[str]:
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
                    if not self._stand.exact:
                        continue
                    raise Fault(f"the witness heard {packet[:300]}")
                self.heard.append(envelope["data"]["seq"])
        return packets

    async def ask(self, name: str, argument: Any) -> Any:
        self._connection.send(masked(f"429{json.dumps([name, argument])}".encode()))
        for packet in await self.packets():
            if packet.startswith("439"):
                return json.loads(packet[3:])[0]
        raise Fault(f"{name} of a client that behaves was not answered")

    @property
    def ended(self) -> bool:
        return self._connection.ended

    def leave(self) -> None:
        self._connection.hang_up()


class Stand:
    """Made by `Stand.open()`."""

    def __init__(
        self, server: BridgeServer, bridge: Any, source: FakeSource, table: FakeTable
    ) -> None:
        self.server = server
        self.bridge = bridge
        self.source = source
        self.table = table
        self.notes = Notes()
        self.witness = Witness(self)
        self.exact = True
        """Whether it is known what the witness hears and what is in a snapshot."""
        self._told = count(1)
        self._expected: list[int] = []

    @classmethod
    @asynccontextmanager
    async def open(cls, **overrides: Any) -> AsyncIterator[Stand]:
        rows = [row(f"p{n}", state=("TX", "CA", "NV")[n % 3]) for n in range(60)]
        for each in rows:
            if each["state"] == "NV":
                each["name"] = CLASSIFIED.decode()
        source, table = FakeSource(), FakeTable(*rows)
        values: dict[str, Any] = {
            **ROOMY,
            "admin_secret": SecretStr(ADMIN_SECRET),
            "supabase_jwt_secret": SecretStr(JWT_SECRET),
            "anonymous_regions": ("TX", "CA", WITNESS_REGION),
            "cors_origins": "https://*.example.org",
            "trusted_proxies": "203.0.113.66",
            **overrides,
        }
        bridge = create_app(settings(**values), source=source, table=table)
        server = BridgeServer(bridge)
        server.config.load()
        stand = cls(server, bridge, source, table)
        bridge.on_failure = lambda error: stand.notes.faults.append(
            f"the bridge has died: {error!r}"
        )
        root, loop = logging.getLogger(), asyncio.get_running_loop()
        level, handler = root.level, loop.get_exception_handler()
        root.addHandler(stand.notes)
        loop.set_exception_handler(
            lambda _loop, context: stand.notes.faults.append(f"the loop: {context}")
        )
        try:
            async with bridge.lifespan():
                async with asyncio.timeout(10):
                    while not bridge.operations.readiness().ready:
                        await asyncio.sleep(0.01)
                    await stand.gateway.snapshots.wait_ready()
                await stand.witness.connect()
                yield stand
        finally:
            root.removeHandler(stand.notes)
            root.setLevel(level)
            loop.set_exception_handler(handler)

    @property
    def gateway(self) -> Any:
        return self.bridge._running.gateway

    @property
    def engine(self) -> Any:
        return self.gateway.server.eio

    def connection(self) -> Connection:
        return Connection(self.server, forbidden=CLASSIFIED)

    def publish(self, *regions: str) -> int:
        """One event in these regions; its number."""
        number = next(self._told)
        secret: dict[str, Any] = {"name": CLASSIFIED.decode()} if set(regions) == {"NV"} else {}
        self.gateway.hub.publish([entry(number, *regions, key=f"w{number}", **secret)])
        if WITNESS_REGION in regions:
            self._expected.append(number)
        return number

    def blameless(self) -> None:
        """Raises `Fault` where something went wrong that nobody should see."""
        if self.notes.faults:
            faults, self.notes.faults = self.notes.faults, []
            raise Fault("\n".join(faults[:3]))

    async def checked(self) -> None:
        """The server serves those who behave, and nobody has heard what was another's."""
        for regions in (("TX",), (WITNESS_REGION,), ("CA", WITNESS_REGION), ("NV",)):
            self.publish(*regions)
        await self.witness.packets()
        if self.exact and self.witness.heard != self._expected:
            raise Fault(f"the witness heard {self.witness.heard[-8:]}, not {self._expected[-8:]}")
        self.witness.heard.clear()
        self._expected.clear()
        newcomer = Witness(self)
        await newcomer.connect()
        answer = await newcomer.ask("subscribe", {"regions": ["TX"], "snapshot": True})
        if not (answer["ok"] and (len(answer["snapshot"]) == 20 or not self.exact)):
            raise Fault(f"a client that behaves was answered {str(answer)[:300]}")
        newcomer.leave()
        await self.tidied()
        self.blameless()

    async def tidied(self) -> None:
        """Connections that were left open are ended, as their timeouts would do."""
        here = {client.connection.eio_sid for client in self.gateway.clients}
        for sid, each in list(self.engine.sockets.items()):
            if sid not in here or not self._is_witness(each):
                each.abort()
        for _ in range(20):
            await asyncio.sleep(0)
        left = [sid for sid, each in self.engine.sockets.items() if not self._is_witness(each)]
        places = self.bridge.admission.connections.total
        if left or places != 1 or len(self.gateway.clients) != 1:
            raise Fault(
                f"{len(left)} sessions, {places - 1} places and "
                f"{len(self.gateway.clients) - 1} clients stayed"
            )

    def _is_witness(self, socket: Any) -> bool:
        line = socket._raw_websocket
        return line is not None and line._transport is self.witness._connection.transport


def status_of(answer: bytes) -> str:
    """What a client got, in a word: an HTTP status with its code if it has one."""
    answer = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    match = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    if match is None:
        return "closed" if not answer else "frames"
    code = re.search(rb'"code":\s?"([a-z_]+)"', answer)
    return match[1].decode() + (f" {code[1].decode()}" if code else "")


def megabytes() -> float:
    """The most that this process has taken so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
