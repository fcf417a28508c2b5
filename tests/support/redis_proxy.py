"""A TCP proxy in front of Redis servers, which cuts, freezes and loses answers."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class RedisProxy:
    """Forwards connections to the server at `port`, which a test may change."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connections = 0
        """Connections that were accepted."""
        self._refuses = False
        self._passes = asyncio.Event()
        self._passes.set()
        self._drops: bytes | None = None  # answers to requests with this text are lost
        self._dropped = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None, "the proxy runs"
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        assert self._server is not None, "the proxy runs"
        self._server.close()
        self.cut()
        self._passes.set()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def cut(self) -> None:
        """Close all connections and accept none until `heal`."""
        self._refuses = True
        for writer in self._writers:
            writer.transport.abort()

    def switch(self, port: int) -> None:
        """Close all connections; new ones are to the server at `port`."""
        self.port = port
        for writer in self._writers:
            writer.transport.abort()

    def freeze(self) -> None:
        """Keep the connections open and forward nothing until `heal`."""
        self._passes.clear()

    def heal(self) -> None:
        self._refuses = False
        self._passes.set()

    def lose_answer(self, text: bytes) -> asyncio.Event:
        """Close the connection of the next request that has `text`, once the server has answered
        it. Return an event that is set then.
        """
        self._drops = text
        self._dropped = asyncio.Event()
        return self._dropped

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            writer.transport.abort()
            return
        self.connections += 1
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, up_writer}
        dropping = asyncio.Event()
        there = asyncio.ensure_future(self._requests(reader, up_writer, dropping))
        back = asyncio.ensure_future(self._answers(up_reader, writer, dropping))
        self._tasks |= {there, back}
        await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        for task in (there, back):
            task.cancel()
            self._tasks.discard(task)
        for one in (writer, up_writer):
            one.transport.abort()
            self._writers.discard(one)

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, dropping: asyncio.Event
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                await self._passes.wait()
                if self._drops is not None and self._drops in data:
                    self._drops = None
                    dropping.set()
                writer.write(data)
                await writer.drain()

    async def _answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, dropping: asyncio.Event
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                await self._passes.wait()
                if dropping.is_set():
                    self._dropped.set()
                    return
                writer.write(data)
                await writer.drain()
