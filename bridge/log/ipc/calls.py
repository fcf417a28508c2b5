"""Calls between two processes over one connection, in both directions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TYPE_CHECKING, TypeAlias

import orjson

from bridge.errors import BridgeError
from bridge.log.ipc.frames import Kind, frame

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)

CallHandler: TypeAlias = Callable[[str, bytes], Awaitable[bytes]]
"""Answers a call: gets the process that called and the argument, returns the result."""


class PeerLostError(BridgeError):
    """The connection to the other process ended before the result of a call came."""


class CallFailedError(BridgeError):
    """The other process could not answer a call; the message is its error's."""


class Calls:
    """The calls of one connection. `peer` identifies the process at its other end."""

    def __init__(
        self,
        writer: asyncio.StreamWriter,
        handlers: Mapping[str, CallHandler],
        peer: str,
    ) -> None:
        self.peer = peer
        self._writer = writer
        self._handlers = handlers
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = True

    async def call(self, name: str, argument: bytes = b"") -> bytes:
        """Return the result of a call. Raises `PeerLostError` or `CallFailedError`."""
        if not self._open:
            raise PeerLostError("the connection has ended")
        number = next(self._numbers)
        waiting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        self._write(number, name, argument)
        try:
            return await waiting
        finally:
            self._waiting.pop(number, None)

    def send(self, name: str, argument: bytes) -> None:
        """Make a call without waiting for its result."""
        if self._open:
            self._write(next(self._numbers), name, argument)

    def _write(self, number: int, name: str, argument: bytes) -> None:
        head = orjson.dumps([number, name])
        self._writer.write(frame(Kind.CALL, b"\n".join((head, argument))))

    def on_frame(self, kind: Kind, payload: bytes) -> None:
        """Take a frame of the kinds CALL, RESULT and FAILURE."""
        head, _, data = payload.partition(b"\n")
        if kind is Kind.CALL:
            number, name = orjson.loads(head)
            task = asyncio.create_task(self._answer(number, name, data), name=f"call {name}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        result = self._waiting.get(int(head))
        if result is None or result.done():
            return
        if kind is Kind.RESULT:
            result.set_result(data)
        else:
            result.set_exception(CallFailedError(data.decode()))

    def close(self) -> None:
        """End all calls: the connection is lost."""
        self._open = False
        for result in self._waiting.values():
            if not result.done():
                result.set_exception(PeerLostError("the connection has ended"))
        for task in self._tasks:
            task.cancel()

    async def _answer(self, number: int, name: str, argument: bytes) -> None:
        try:
            result = await self._handlers[name](self.peer, argument)
        except Exception as error:
            log.exception("a call of another process failed: %s", name)
            self._send(Kind.FAILURE, number, f"{name}: {error!r}".encode())
        else:
            self._send(Kind.RESULT, number, result)

    def _send(self, kind: Kind, number: int, data: bytes) -> None:
        if self._open:
            self._writer.write(frame(kind, b"%d\n%b" % (number, data)))
