"""A Socket.IO client without a library, with the packets of the official JavaScript client."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Client:
    """Keeps pid and offset as the official client does. `connect` may be called repeatedly."""

    def __init__(self, url: str, http: aiohttp.ClientSession, transport: str, auth: Any) -> None:
        self.url = f"{url}/socket.io/?EIO=4&transport={transport}"
        self.http = http
        self.polling = transport == "polling"
        self.auth = auth or {}
        self.pid: str | None = None
        self.offset: str | None = None
        self.sid = ""
        self.recovered = False
        self.seqs: list[int] = []
        """The `seq` of each event received, also of those in batches."""
        self.bridge_states: list[str] = []
        """The states in the status events received."""
        self.events: list[list[Any]] = []
        self._ws: aiohttp.ClientWebSocketResponse | None = None
        self._poll = ""
        self._packets: list[str] = []

    async def connect(self) -> None:
        packet = await self.send_connect()
        assert packet is not None, "the connection was closed"
        assert packet.startswith("40"), packet
        answer = json.loads(packet[2:])
        self.recovered = answer.get("pid") is not None and answer["pid"] == self.pid
        self.pid, self.sid = answer.get("pid"), answer["sid"]

    async def send_connect(self) -> str | None:
        """Send CONNECT, and return the packet that answers it; None: the connection was closed."""
        self._packets = []
        if self.polling:
            async with self.http.get(self.url) as response:
                self._poll = f"{self.url}&sid={json.loads((await response.text())[1:])['sid']}"
        else:
            self._ws = await self.http.ws_connect(self.url)
            assert (await self._ws.receive_str()).startswith("0{")
        auth = {**self.auth}
        if self.pid:
            auth["pid"] = self.pid
            if self.offset is not None:
                auth["offset"] = self.offset
        await self.send("40" + json.dumps(auth))
        while True:
            packet = await self.next_packet_or_end()
            if packet is None or not packet.startswith("42"):
                return packet
            self.receive_packet(packet)

    async def send(self, text: str) -> None:
        if self._ws is not None:
            await self._ws.send_str(text)
            return
        async with self.http.post(self._poll, data=text) as response:
            assert response.status == 200

    async def next_packet(self) -> str:
        packet = await self.next_packet_or_end()
        assert packet is not None, "the connection was closed"
        return packet

    async def next_packet_or_end(self) -> str | None:
        """Return the next packet that is no ping; None: the connection was closed."""
        while not self._packets:
            if self._ws is not None:
                message = await self._ws.receive(timeout=20)
                if message.type is not aiohttp.WSMsgType.TEXT:
                    return None
                self._packets.append(message.data)
            else:
                async with self.http.get(self._poll) as response:
                    if response.status != 200:
                        return None
                    self._packets += (await response.text()).split("\x1e")
            self._packets = [packet for packet in self._packets if packet not in ("2", "6")]
        packet = self._packets.pop(0)
        return None if packet == "1" else packet

    async def next_event(self, name: str) -> list[Any]:
        """Return the next event of that name: the name, then its arguments."""
        async with asyncio.timeout(10):
            while True:
                self.receive_packet(await self.next_packet())
                if self.events and self.events[-1][0] == name:
                    return self.events[-1]

    async def until_closed(self) -> None:
        """Wait until the server has closed the connection."""
        async with asyncio.timeout(10):
            while (packet := await self.next_packet_or_end()) is not None:
                self.receive_packet(packet)

    async def until_seqs(self, count: int) -> list[int]:
        """Return the `seq` of all events, once there are `count`."""
        async with asyncio.timeout(10):
            while len(self.seqs) < count:
                self.receive_packet(await self.next_packet())
        return self.seqs

    async def request(self, name: str, argument: Any) -> Any:
        await self.send(f"427{json.dumps([name, argument])}")
        while not (packet := await self.next_packet()).startswith("437"):
            self.receive_packet(packet)
        return json.loads(packet[3:])[0]

    async def close(self) -> None:
        """Close the connection without a DISCONNECT packet."""
        if self._ws is not None:
            await self._ws.close()

    def receive_packet(self, packet: str) -> None:
        assert packet.startswith("42"), packet
        args = json.loads(packet[2:])
        if isinstance(args[-1], str) and self.pid:
            self.offset = args[-1]
        if args[0] == "bridge-status":
            self.bridge_states.append(args[1]["data"]["state"])
            return
        self.events.append(args)
        for event in args[1]["data"].get("events", [args[1]]):
            if "seq" in event["data"]:
                self.seqs.append(event["data"]["seq"])


@asynccontextmanager
async def client(
    url: str,
    transport: str = "websocket",
    auth: Any = None,
    *,
    headers: dict[str, str] | None = None,
) -> AsyncIterator[Client]:
    """Connect a client; its connection is closed at the end."""
    async with aiohttp.ClientSession(headers=headers) as http:
        connected = Client(url, http, transport, auth)
        await connected.connect()
        yield connected
        await connected.close()
