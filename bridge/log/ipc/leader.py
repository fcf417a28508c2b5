"""Serves the log of this process, the leader, to other processes over a Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from bridge.errors import PositionGoneError
from bridge.log.base import EventLog, Position
from bridge.log.ipc.calls import CallFailedError, Calls, PeerLostError
from bridge.log.ipc.frames import (
    BEAT_SECONDS,
    Kind,
    Welcome,
    encode_commit,
    encode_entries,
    encode_rows,
    frame,
    read_frame,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from bridge.changes import Key
    from bridge.log.base import Commit, RevocationStore
    from bridge.log.ipc.calls import CallHandler
    from bridge.log.ipc.shared_sessions import SharedSessions
    from bridge.log.recent_entries import RecentEntries

log = logging.getLogger(__name__)

ENTRIES_PER_FRAME = 1_000


class LocalLog(EventLog, Protocol):
    """A log that its process has to itself."""

    @property
    def recent(self) -> RecentEntries: ...

    async def note(self, kind: str, data: bytes, *, origin: str = "") -> None:
        """`origin`: the process that sends it, if it is not this one."""
        ...


class FollowerServer:
    """Sends the commits to each follower, which may be behind by what the log keeps for its own
    followers: one that reads too slowly is disconnected, and loads the log again.
    """

    def __init__(
        self,
        path: Path,
        served: LocalLog,
        sessions: SharedSessions,
        revocations: RevocationStore,
    ) -> None:
        """`path` of the socket. `served` is open when `open` is called."""
        self._path = path
        self._log = served
        self._sessions = sessions
        self._revocations = revocations
        self._followers: dict[str, Calls] = {}
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._sweep: asyncio.Task[None] | None = None
        self._rows: dict[str, AsyncIterator[Sequence[tuple[Key, bytes]]]] = {}
        self._last: tuple[Commit | None, bytes] = (None, b"")  # encoded once for all followers
        self.changed = asyncio.Event()
        """Set and cleared when a follower joined or left."""
        self.on_left: list[Callable[[str], None]] = []
        """Called with each process that left."""
        self.on_history_lost: Callable[[], None] = lambda: None
        """Called if a follower has entries past the head: the log went back, and positions would be
        assigned twice."""
        self.handlers: dict[str, CallHandler] = {
            "note": self._note,
            "rows": self._send_rows,
            "put": self._put,
            "take": self._take,
            "revocations": self._load_revocations,
            "revoke": self._revoke,
        }
        """What followers may call, by name."""

    @property
    def followers(self) -> Sequence[str]:
        """The processes that follow at present."""
        return list(self._followers)

    async def open(self) -> None:
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._accept, self._path)
        self._sweep = asyncio.create_task(self._sessions.run(), name="sweep sessions")

    async def ask(self, name: str, argument: bytes = b"", *, seconds: float) -> dict[str, bytes]:
        """Call all followers; return the results by process. One that does not answer within
        `seconds` is left out.
        """
        results = await asyncio.gather(
            *(
                self._ask(process, calls, name, argument, seconds)
                for process, calls in self._followers.items()
            )
        )
        return {process: result for process, result in results if result is not None}

    async def _ask(
        self, process: str, calls: Calls, name: str, argument: bytes, seconds: float
    ) -> tuple[str, bytes | None]:
        try:
            async with asyncio.timeout(seconds):
                return process, await calls.call(name, argument)
        except (PeerLostError, CallFailedError, TimeoutError) as error:
            log.warning("process %s did not answer %s: %r", process, name, error)
            return process, None

    async def close(self) -> None:
        """Accept no more followers, and disconnect those that are connected."""
        if self._server is not None:
            self._server.close()
        if self._sweep is not None:
            self._sweep.cancel()
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections)
        self._path.unlink(missing_ok=True)

    # -- one follower

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "the server runs it as a task"
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except asyncio.CancelledError:
            pass  # `close`
        except PositionGoneError as error:
            log.warning("a process reads the log too slowly and has to load it again: %s", error)
        except Exception:
            log.exception("the connection of a process has failed")
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kind, payload = await read_frame(reader)
        if kind is not Kind.HELLO:
            raise ValueError(f"expected HELLO, got {kind!r}")
        process, position, claims = orjson.loads(payload)
        calls = Calls(writer, self.handlers, process)
        former = self._followers.pop(process, None)
        if former is not None:
            former.close()
        self._followers[process] = calls
        self._sessions.joined(process, claims)
        self._notify()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._push(writer, position), name="send commits")
                tasks.create_task(self._beat(writer), name="send beats")
                await self._read(reader, calls)
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            calls.close()
            self._rows.pop(process, None)
            if self._followers.get(process) is calls:
                del self._followers[process]
                self._sessions.left(process)
                for call in self.on_left:
                    call(process)
                self._notify()

    async def _read(self, reader: asyncio.StreamReader, calls: Calls) -> None:
        while True:
            calls.on_frame(*await read_frame(reader))

    async def _push(self, writer: asyncio.StreamWriter, at: list[Any] | None) -> None:
        """Send the commits after a position; without one, or if they are not kept, the recent
        entries first.
        """
        recent, commits = self._log.recent, None
        position = None if at is None else Position(*at)
        if position is not None and position.epoch == recent.head.epoch:
            if position.seq > recent.head.seq:
                log.critical(
                    "the log ends at %s, but a process has entries up to %s: another epoch begins",
                    recent.head,
                    position,
                )
                self.on_history_lost()
                return
            with contextlib.suppress(PositionGoneError):
                commits = self._log.follow(position)
        resumed = commits is not None
        # All in one step of the loop: the entries end where the commits begin.
        entries: Sequence[Any] = ()
        if commits is None:
            commits = self._log.follow(recent.head)
            first = Position(recent.head.epoch, recent.first - 1)
            entries = self._log.after(first)
        welcome = Welcome(
            resumed,
            self._log.process,
            recent.head,
            len(entries),
            dict(recent.earlier),
            self._log.progress,
        )
        writer.write(frame(Kind.WELCOME, welcome.encode()))
        for start in range(0, len(entries), ENTRIES_PER_FRAME):
            portion = entries[start : start + ENTRIES_PER_FRAME]
            writer.write(frame(Kind.ENTRIES, encode_entries(portion)))
            await writer.drain()
        async for commit in commits:
            writer.write(self._encoded(commit))
            await writer.drain()

    def _encoded(self, commit: Commit) -> bytes:
        last, data = self._last
        if last is not commit:
            data = frame(Kind.COMMIT, encode_commit(commit))
            self._last = (commit, data)
        return data

    async def _beat(self, writer: asyncio.StreamWriter) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            writer.write(frame(Kind.BEAT))

    def _notify(self) -> None:
        self.changed.set()
        self.changed.clear()

    # -- calls

    async def _note(self, process: str, argument: bytes) -> bytes:
        kind, _, data = argument.partition(b"\n")
        await self._log.note(kind.decode(), data, origin=process)
        return b""

    async def _send_rows(self, process: str, argument: bytes) -> bytes:
        """Return the next portion of rows; the first one for the argument `first`. After the last
        one the head, as a line without rows.
        """
        if argument == b"first":
            self._rows[process] = self._log.rows()
        async for rows in self._rows[process]:
            if rows:
                return b"rows\n" + encode_rows(rows)
        return b"head\n%d" % self._log.head.seq

    async def _put(self, process: str, argument: bytes) -> bytes:
        sessions: dict[str, str | None] = orjson.loads(argument)
        encoded = {name: None if text is None else text.encode() for name, text in sessions.items()}
        return orjson.dumps(list(await self._sessions.put(process, encoded)))

    async def _take(self, process: str, argument: bytes) -> bytes:
        return self._sessions.take(process, argument.decode()) or b""

    async def _load_revocations(self, _process: str, _argument: bytes) -> bytes:
        return orjson.dumps(list(await self._revocations.load()))

    async def _revoke(self, _process: str, argument: bytes) -> bytes:
        kind, name, at, oldest = orjson.loads(argument)
        await self._revocations.put(kind, name, at, oldest=oldest)
        return b""
