"""An in-memory connection: bytes are passed directly to the server's protocol."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from bridge.server.serve import BridgeServer

STEPS = 12
"""Iterations of the event loop after which everything is done that does not wait for time."""


class Transport(asyncio.Transport):
    """Keeps in `written` what its protocol writes."""

    def __init__(self, peer: str) -> None:
        super().__init__({"peername": (peer, 40000), "sockname": ("127.0.0.1", 80)})
        self.protocol: Any = None
        self.written = bytearray()
        self.ended = False
        self._paused = False
        self._waiting: deque[bytes] = deque()

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol

    def write(self, data: Any) -> None:
        self.written += data

    def writelines(self, parts: Any) -> None:
        for part in parts:
            self.write(part)

    def is_closing(self) -> bool:
        return self.ended

    def close(self) -> None:
        if not self.ended:
            self.ended = True
            asyncio.get_running_loop().call_soon(self.protocol_lost)

    abort = close

    def protocol_lost(self) -> None:
        self.protocol.connection_lost(None)

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def is_reading(self) -> bool:
        return not self._paused

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        while self._waiting and not self._paused and not self.ended:
            self.protocol.data_received(self._waiting.popleft())

    def feed(self, data: bytes) -> None:
        if self._paused:
            self._waiting.append(data)
        elif not self.ended:
            self.protocol.data_received(data)


class Connection:
    """The client's end of a connection."""

    def __init__(
        self, server: BridgeServer, peer: str = "203.0.113.66", *, forbidden: bytes | None = None
    ) -> None:
        """No answer may contain `forbidden`."""
        self._forbidden = forbidden
        self.transport = Transport(peer)
        protocol: Any = server.config.http_protocol_class
        self.transport.set_protocol(protocol(server.config, server.server_state, {}))
        self.transport.protocol.connection_made(self.transport)
        self._read = 0

    def send(self, data: bytes) -> None:
        self.transport.feed(data)

    async def settle(self, steps: int = STEPS) -> bytes:
        """Wait until the server has nothing left to do without waiting; return its answer."""
        size = -1
        while size != len(self.transport.written):
            size = len(self.transport.written)
            for _ in range(steps):
                await asyncio.sleep(0)
        return self.take()

    async def ask(self, data: bytes) -> bytes:
        self.send(data)
        return await self.settle()

    def take(self) -> bytes:
        """Return the bytes written since the last call."""
        new = bytes(self.transport.written[self._read :])
        self._read = len(self.transport.written)
        assert self._forbidden is None or self._forbidden not in new, (
            "a client received forbidden bytes"
        )
        return new

    @property
    def ended(self) -> bool:
        return self.transport.ended

    def close(self) -> None:
        self.transport.close()
