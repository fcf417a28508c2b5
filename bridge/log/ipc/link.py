"""The connection of a process to the leader process: kept up, and with calls that outlive it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final, Protocol

import orjson

from bridge.log.ipc.calls import Calls, PeerLostError
from bridge.log.ipc.frames import SILENCE_SECONDS, Kind, Welcome, frame, read_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from bridge.log.base import Position
    from bridge.log.ipc.calls import CallHandler

log = logging.getLogger(__name__)

RETRY_SECONDS: Final = 0.1
"""Time between two attempts to connect: the socket is on the same machine."""

READ_BYTES: Final = 1 << 20
"""Buffer of the connection's reader."""


class LinkOwner(Protocol):
    """Receives what the leader process sends. No method may raise."""

    @property
    def position(self) -> Position | None:
        """Up to where entries were received; None: nothing yet."""
        ...

    @property
    def claims(self) -> Mapping[str, float]:
        """The sessions of this process, and since when it has them (monotonic seconds)."""
        ...

    def on_welcome(self, welcome: Welcome) -> None: ...

    def on_entries(self, payload: bytes) -> None: ...

    def on_commit(self, payload: bytes) -> None: ...


class LeaderLink:
    """Connects to the leader process again and again, until closed."""

    def __init__(self, path: Path, process: str) -> None:
        self._path = path
        self._process = process
        self._calls: Calls | None = None
        self._connected = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.handlers: dict[str, CallHandler] = {}
        """What the leader process may call, by name."""
        self.on_connected: list[Callable[[], None]] = []
        """Called after each connect, before any call is made."""
        self.error: str | None = "the leader process has not been reached yet"
        """Why the log can't be followed at present."""

    @property
    def connected(self) -> bool:
        return self._calls is not None

    def open(self, owner: LinkOwner) -> None:
        self._task = asyncio.create_task(self._run(owner), name="follow the leader process")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def call(self, name: str, argument: bytes = b"") -> bytes:
        """Return the result of a call; while the leader process is away, wait for the next one. So
        a call may be made twice. Raises `CallFailedError`.
        """
        while True:
            while (calls := self._calls) is None:
                await self._connected.wait()
            with contextlib.suppress(PeerLostError):
                return await calls.call(name, argument)

    async def call_now(self, name: str, argument: bytes = b"") -> bytes | None:
        """Return the result of a call that is made once; None: the leader process is away. Raises
        `CallFailedError`.

        Calls arrive in the order in which they are made.
        """
        if self._calls is None:
            return None
        try:
            return await self._calls.call(name, argument)
        except PeerLostError:
            return None

    def send(self, name: str, argument: bytes = b"") -> None:
        """Make a call without waiting for its result, if the leader process is there."""
        if self._calls is not None:
            self._calls.send(name, argument)

    async def _run(self, owner: LinkOwner) -> None:
        while True:
            try:
                await self._connect(owner)
            except TimeoutError:
                self._say(f"the leader process has sent nothing for {SILENCE_SECONDS:g} s")
            except (OSError, asyncio.IncompleteReadError):
                self._say("the leader process is away")
            except Exception as error:
                log.exception("the connection to the leader process has failed")
                self._say(f"the connection to the leader process has failed: {error!r}")
            await asyncio.sleep(RETRY_SECONDS)

    def _say(self, error: str) -> None:
        if self.error is None:
            log.warning("%s: clients stay connected, and are sent what they missed after it", error)
        self.error = error

    async def _connect(self, owner: LinkOwner) -> None:
        reader, writer = await asyncio.open_unix_connection(self._path, limit=READ_BYTES)
        calls = Calls(writer, self.handlers, "leader")
        try:
            position = owner.position
            hello = [
                self._process,
                None if position is None else [position.epoch, position.seq],
                dict(owner.claims),
            ]
            writer.write(frame(Kind.HELLO, orjson.dumps(hello)))
            while True:
                async with asyncio.timeout(SILENCE_SECONDS):
                    kind, payload = await read_frame(reader)
                if kind is Kind.COMMIT:
                    owner.on_commit(payload)
                elif kind is Kind.WELCOME:
                    owner.on_welcome(Welcome.decode(payload))
                    self._calls = calls
                    self.error = None
                    for call in self.on_connected:
                        call()
                    self._connected.set()
                    self._connected.clear()
                elif kind is Kind.ENTRIES:
                    owner.on_entries(payload)
                elif kind is not Kind.BEAT:
                    calls.on_frame(kind, payload)
        finally:
            self._calls = None
            calls.close()
            writer.close()
