"""The log in Redis: one stream of appends, and the rows they led to, for all processes.

**A process serves what it has received from the stream**, the leader too: `append` returns once the
reader of this process has received it back.

**Nothing is skipped.** A history that went back (a restart without persistence, a flush, a failover
to a replica that lacks the last second) ends: another epoch begins, and all followers get an error.

Replays are answered from memory: each process holds the same entries as the stream.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from bridge.errors import LogUnusableError, PositionGoneError
from bridge.log.event_text import key_of
from bridge.log.redis.connection import ServerUnavailableError, delays, end, refused_credentials
from bridge.log.redis.server_check import inspect
from bridge.log.redis.stream_entry import note_head

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from redis.asyncio import Redis

    from bridge.changes import Key
    from bridge.clock import Clock
    from bridge.events import Event
    from bridge.log.base import Commit, Entry, LogServer, Position, Progress, RowUpdate
    from bridge.log.redis.appender import Appender
    from bridge.log.redis.connection import Connection
    from bridge.log.redis.history import LocalHistory
    from bridge.log.redis.keys import Keys
    from bridge.log.redis.lease import RedisLease
    from bridge.log.redis.loader import HistoryLoader
    from bridge.log.redis.machines import Machines
    from bridge.log.redis.reader import StreamReader
    from bridge.log.redis.scripts import Scripts

log = logging.getLogger(__name__)

OPEN_SECONDS: Final = 10.0
"""Longest wait for the server at the start. Then its address counts as wrong."""

CHECK_SECONDS: Final = 60.0
"""Between two checks of the server."""

ROWS_PER_READ: Final = 1_000
"""Rows in one answer; the event loop loads them in about 1 ms."""


class RedisEventLog:
    """Implements `log.base.EventLog` with the parts that `build.py` makes."""

    def __init__(
        self,
        *,
        connection: Connection,
        scripts: Scripts,
        keys: Keys,
        history: LocalHistory,
        loader: HistoryLoader,
        reader: StreamReader,
        lease: RedisLease,
        appender: Appender,
        machines: Machines,
        process: str,
        clock: Clock,
    ) -> None:
        self.process = process
        self.server: LogServer | None = None
        """The server as of the last check."""
        self._connection = connection
        self._scripts = scripts
        self._keys = keys
        self._history = history
        self._loader = loader
        self._reader = reader
        self._lease = lease
        self._appender = appender
        self._machines = machines
        self._clock = clock
        self._failure: str | None = None  # of a task that a retry can't help
        self._unreadable: str | None = None  # while something waits to be read
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        try:
            await self._reach()
        except BaseException:
            await self._connection.close()
            raise
        parts = {
            "read the log": self._reader.run,
            "send beats": self._machines.run,
            "check the log's server": self._check_regularly,
        }
        self._tasks = [
            asyncio.create_task(self._run(part), name=name) for name, part in parts.items()
        ]

    async def rows(self) -> AsyncIterator[Sequence[tuple[Key, bytes]]]:
        history = self._history
        begins = history.begins
        cursor = 0
        while True:
            cursor, found = await self._read(
                lambda redis: redis.hscan(self._keys("rows"), cursor, count=ROWS_PER_READ)  # noqa: B023
            )
            if found:
                yield [(key_of(key), row) for key, row in found.items()]
            if not cursor:
                break
        # The rows are at most as new as this; what is applied after them has to be newer.
        epoch, appends = await self._read(
            lambda redis: redis.hmget(self._keys("meta"), "epoch", "appends")
        )
        same = epoch is not None and epoch.decode() == history.epoch
        if not (same and history.begins == begins and await history.reached(int(appends))):
            raise PositionGoneError("another history has begun while the rows were read")

    @property
    def progress(self) -> Progress:
        return self._history.progress

    @property
    def error(self) -> str | None:
        return self._failure or self._appender.error or self._reader.error or self._unreadable

    @property
    def head(self) -> Position:
        return self._history.entries.head

    async def append(
        self,
        events: Sequence[Event],
        rows: Sequence[RowUpdate],
        progress: Progress | None = None,
    ) -> Commit:
        return await self._appender.append(events, rows, progress)

    async def note(self, kind: str, data: bytes) -> None:
        epoch, head = self._history.epoch, note_head(self.process, kind)
        try:
            written = await self._connection.run(
                lambda redis: self._scripts.note(redis, epoch, head, data)
            )
            if written != "ok":
                log.warning("a note %r was not sent: the history is lost", kind)
                await self._reader.doubt()
        except ServerUnavailableError as error:
            log.warning("a note %r was not sent: %s", kind, error)

    def locate(self, position: Position) -> Position | None:
        return self._history.entries.locate(position)

    def after(self, position: Position) -> Sequence[Entry]:
        return self._history.entries.after(position)

    def follow(self, after: Position) -> AsyncIterator[Commit]:
        return self._history.feed.follow(after)

    async def close(self) -> None:
        await self._appender.close()
        await self._lease.release()
        if self._tasks:
            await end(*self._tasks)
            await self._machines.leave()
        self._history.close()
        await self._connection.close()

    async def _reach(self) -> None:
        """Wait for the server, check it, and load the history. Raises `LogUnusableError`."""
        until = self._clock.monotonic() + OPEN_SECONDS
        for delay in delays():
            try:
                await self._check()
                await self._loader.load()
            except ServerUnavailableError as error:
                if refused_credentials(error) or self._clock.monotonic() > until:
                    raise LogUnusableError(
                        f"{error}. Check the address, the user and the password in BRIDGE_LOG, and "
                        "that the server runs"
                    ) from error
                self._unread(str(error))
                await asyncio.sleep(delay)
            else:
                self._unreadable = None
                return

    async def _check(self) -> None:
        known = () if self.server is None else self.server.warnings
        self.server = await self._connection.run(
            lambda redis: inspect(redis, self._connection.shown)
        )
        for warning in self.server.warnings:
            if warning not in known:
                log.warning("the server of the log, %s: %s", self._connection.shown, warning)

    async def _check_regularly(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                await self._check()
            except (ServerUnavailableError, LogUnusableError) as error:
                # A server that can't be used is an error of the commands that need it.
                log.debug("the server was not checked: %s", error)

    async def _run(self, part: Callable[[], Awaitable[None]]) -> None:
        """Run one task of the log; followers get its error."""
        try:
            await part()
        except LogUnusableError as error:
            self._failure = str(error)
            self._history.feed.end(error)

    async def _read(self, command: Callable[[Redis], Awaitable[Any]]) -> Any:
        """Return the result of a command that reads, retried while the server is away."""
        try:
            return await self._connection.until_done(command, self._unread)
        finally:
            self._unreadable = None

    def _unread(self, reason: str) -> None:
        if self._unreadable is None:
            log.error("the log can't be read: %s; retrying", reason)
        self._unreadable = reason
