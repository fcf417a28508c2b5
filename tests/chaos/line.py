"""The network between one client and the bridge: a TCP proxy that can fail in every way."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHUNK = 65536


class Line:
    """Made by `Line.open()`; `url` is where the client connects."""

    def __init__(self, port: int) -> None:
        """`port`: the bridge's, on loopback."""
        self._port = port
        self._ends: dict[asyncio.StreamWriter, asyncio.StreamWriter] = {}
        self._dead: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    @classmethod
    @asynccontextmanager
    async def open(cls, port: int) -> AsyncIterator[Line]:
        line = cls(port)
        server = await asyncio.start_server(line._accept, "127.0.0.1", 0)
        line.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield line
        finally:
            server.close()
            line.cut()
            tasks = list(line._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def cut(self) -> None:
        """Every connection is reset, at both ends."""
        for writer in self._ends:
            writer.transport.abort()

    def stall(self) -> None:
        """Nothing is read or written any more, and what comes piles up at both ends."""
        self._flowing.clear()

    def resume(self) -> None:
        """End `stall`."""
        self._flowing.set()

    def swallow(self) -> None:
        """The connections of this moment are half open: what is sent vanishes, nobody is told."""
        self._dead.update(self._ends)

    def heal(self) -> None:
        """End every fault; connections that were half open are reset."""
        self.resume()
        for writer in self._dead:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, onward = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.transport.abort()
            return
        self._ends[writer], self._ends[onward] = onward, writer
        for pair in ((reader, writer, onward), (there, onward, writer)):
            task = asyncio.create_task(self._pump(*pair))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        here: asyncio.StreamWriter,
        onward: asyncio.StreamWriter,
    ) -> None:
        """Carry what comes at one end to the other, and its end too."""
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
            # Its other end hears nothing of it, until `heal`.
            here.close()
        else:
            onward.close()
        self._ends.pop(here, None)
        if not {here, onward} & self._ends.keys():
            self._dead -= {here, onward}
