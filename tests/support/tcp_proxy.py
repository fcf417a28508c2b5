"""A TCP proxy between one client and the bridge that can reset, stall or lose connections."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHUNK = 65536


class TcpProxy:
    """Created by `TcpProxy.open()`; the client connects to `url`."""

    def __init__(self, port: int) -> None:
        """`port`: the bridge's, on loopback."""
        self._upstream = port
        self._peers: dict[asyncio.StreamWriter, asyncio.StreamWriter] = {}
        self._dead: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""
        self.port = 0

    @classmethod
    @asynccontextmanager
    async def open(cls, port: int) -> AsyncIterator[TcpProxy]:
        proxy = cls(port)
        server = await asyncio.start_server(proxy._accept, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        proxy.url = f"http://127.0.0.1:{proxy.port}"
        try:
            yield proxy
        finally:
            server.close()
            proxy.reset()
            tasks = list(proxy._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def connect_to(self, port: int) -> None:
        """Connect new connections to another port."""
        self._port = port

    def reset(self) -> None:
        """Reset every connection, at both ends."""
        for writer in self._peers:
            writer.transport.abort()

    def stall(self) -> None:
        """Stop reading and writing, so that the buffers of both ends fill up."""
        self._flowing.clear()

    def resume(self) -> None:
        """End `stall`."""
        self._flowing.set()

    def half_open(self) -> None:
        """Make the present connections half open: data is dropped, and no end is notified."""
        self._dead.update(self._peers)

    def heal(self) -> None:
        """End every fault; half-open connections are reset."""
        self.resume()
        for writer in self._dead:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream_reader, onward = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:
            writer.transport.abort()
            return
        self._peers[writer], self._peers[onward] = onward, writer
        for pair in ((reader, writer, onward), (upstream_reader, onward, writer)):
            task = asyncio.create_task(self._pump(*pair))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        here: asyncio.StreamWriter,
        onward: asyncio.StreamWriter,
    ) -> None:
        """Forward data and the end of the stream from one end to the other."""
        with suppress(ConnectionError):
            while True:
                await self._flowing.wait()
                data = await reader.read(CHUNK)
                if not data:
                    break
                await self._flowing.wait()
                if onward not in self._dead:
                    onward.write(data)
                    await onward.drain()
        if here in self._dead:
            # The other end is not closed until `heal`.
            here.close()
        else:
            onward.close()
        self._peers.pop(here, None)
        if not {here, onward} & self._peers.keys():
            self._dead -= {here, onward}
