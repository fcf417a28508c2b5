"""Engine.IO clients without a library: nothing is answered or skipped implicitly."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECONDS = 20.0
"""Time limit of each step."""

Answer = tuple[int, str]
"""An HTTP status and a body."""


class Polls:
    """A session over HTTP long-polling. `url` is where Engine.IO is served."""

    def __init__(self, http: aiohttp.ClientSession, url: str, opening: dict[str, Any]) -> None:
        self._http = http
        self.opening = opening
        self.sid = opening["sid"]
        self.url = f"{url}?EIO=4&transport=polling&sid={self.sid}"

    @classmethod
    async def open(cls, http: aiohttp.ClientSession, url: str) -> Polls:
        status, body = await request(http, "GET", f"{url}?EIO=4&transport=polling")
        assert status == 200
        assert body[0] == "0"
        return cls(http, url, json.loads(body[1:]))

    async def get(self) -> Answer:
        return await request(self._http, "GET", self.url)

    async def answer(self) -> Answer:
        """Answer pings and return the other packets of the next response that has any."""
        while True:
            status, body = await self.get()
            received = body.split("\x1e")
            packets = [packet for packet in received if packet != "2"]
            if len(packets) < len(received):
                await self.post("3")
            if packets:
                return status, "\x1e".join(packets)

    async def post(self, body: str) -> Answer:
        return await request(self._http, "POST", self.url, body)


async def request(
    http: aiohttp.ClientSession, method: str, url: str, body: str | None = None
) -> Answer:
    async with asyncio.timeout(SECONDS), http.request(method, url, data=body) as response:
        return response.status, await response.text()


class Websocket:
    """A websocket connection."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self._ws = ws
        self.pings = 0
        """Pings that were answered."""

    async def send(self, *packets: str | bytes) -> None:
        for packet in packets:
            if isinstance(packet, str):
                await self._ws.send_str(packet)
            else:
                await self._ws.send_bytes(packet)

    async def next(self) -> str | bytes:
        """Return the next packet, pings included. Raises EOFError at the end."""
        async with asyncio.timeout(SECONDS):
            message = await self._ws.receive()
        if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            packet: str | bytes = message.data
            return packet
        assert message.type in (
            aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED
        ), message  # fmt: skip
        raise EOFError

    async def answer(self) -> str | bytes:
        """Answer pings and return the next other packet."""
        while (packet := await self.next()) == "2":
            await self.send("3")
            self.pings += 1
        return packet

    async def end(self) -> list[str | bytes]:
        """Answer pings and return the other packets until the server closes the websocket."""
        packets = []
        try:
            async with asyncio.timeout(SECONDS):
                while True:
                    packets.append(await self.answer())
        except EOFError:
            return packets


@asynccontextmanager
async def websocket(
    http: aiohttp.ClientSession, url: str, query: str = "EIO=4&transport=websocket", sid: str = ""
) -> AsyncIterator[Websocket]:
    """Raises `aiohttp.WSServerHandshakeError` if the handshake is rejected."""
    address = f"{url}?{query}" + (f"&sid={sid}" if sid else "")
    async with asyncio.timeout(SECONDS):
        ws = await http.ws_connect(address)
    try:
        yield Websocket(ws)
    finally:
        await ws.close()
