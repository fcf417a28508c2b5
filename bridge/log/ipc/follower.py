"""The backend of a process that follows the leader process of the same machine."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import orjson

from bridge.errors import LeaseLostError, PositionGoneError
from bridge.log.base import Position, Progress
from bridge.log.commit_feed import CommitFeed
from bridge.log.ipc.frames import decode_commit, decode_entries, decode_rows
from bridge.log.recent_entries import RecentEntries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence

    from bridge.changes import Key
    from bridge.clock import Clock
    from bridge.events import Event
    from bridge.log.base import Commit, Entry, RowUpdate
    from bridge.log.ipc.frames import Welcome
    from bridge.log.ipc.link import LeaderLink

GONE: Final = "the leader process has another log, or this process read it too slowly"


class FollowerEventLog:
    """Implements `log.base.EventLog`: the log of the leader process, as far as it was received."""

    def __init__(
        self,
        link: LeaderLink,
        process: str,
        sessions: FollowerSessionStore,
        *,
        events: int,
        seconds: float,
        clock: Clock,
    ) -> None:
        self.process = process
        self._link = link
        self._sessions = sessions
        self._limits = (events, seconds)
        self._clock = clock
        self._recent = self._entries_of(Position("none", 0), {})
        self._feed = CommitFeed(self._recent.head)
        self._progress = Progress()
        self._loading: list[Entry] = []
        self._missing = 0  # recent entries that were announced and not received yet
        self._received = False
        self._advanced = asyncio.Event()

    async def open(self) -> None:
        self._link.open(self)
        while not self._received:
            await self._advanced.wait()

    async def rows(self) -> AsyncIterator[Sequence[tuple[Key, bytes]]]:
        argument = b"first"
        while True:
            kind, _, data = (await self._link.call("rows", argument)).partition(b"\n")
            if kind == b"head":
                break
            yield decode_rows(data)
            argument = b"next"
        # The rows are as new as the leader's head was: wait for the commits up to there.
        newest = int(data)
        while self.head.seq < newest:
            await self._advanced.wait()

    @property
    def progress(self) -> Progress:
        return self._progress

    @property
    def error(self) -> str | None:
        return self._link.error

    @property
    def head(self) -> Position:
        return self._recent.head

    async def append(
        self,
        events: Sequence[Event],  # noqa: ARG002 - the shape of `EventLog.append`
        rows: Sequence[RowUpdate],  # noqa: ARG002
        progress: Progress | None = None,  # noqa: ARG002
    ) -> Commit:
        raise LeaseLostError("only the leader process appends to the log")

    async def note(self, kind: str, data: bytes) -> None:
        if self._link.connected:
            await self._link.call("note", b"\n".join((kind.encode(), data)))

    def locate(self, position: Position) -> Position | None:
        return self._recent.locate(position)

    def after(self, position: Position) -> Sequence[Entry]:
        return self._recent.after(position)

    def follow(self, after: Position) -> AsyncIterator[Commit]:
        return self._feed.follow(self._recent.locate(after) or after)

    async def close(self) -> None:
        await self._link.close()
        self._recent.clear()
        self._feed.close()

    # -- for the link

    @property
    def position(self) -> Position | None:
        # Entries that were received in part are no history.
        return self.head if self._received and not self._missing else None

    @property
    def claims(self) -> Mapping[str, float]:
        return self._sessions.claims

    def on_welcome(self, welcome: Welcome) -> None:
        self._progress = welcome.progress
        if welcome.resumed:
            return
        self._loading = []
        self._missing = welcome.entries
        if self._received:
            if welcome.head.epoch != self.head.epoch:
                self._sessions.forget()
            self._feed.end(PositionGoneError(GONE))
        self._recent = self._entries_of(welcome.head, welcome.earlier)
        self._feed = CommitFeed(welcome.head)
        if not self._missing:
            self._complete()

    def on_entries(self, payload: bytes) -> None:
        entries = decode_entries(payload)
        self._loading += entries
        self._missing -= len(entries)
        if self._missing <= 0:
            self._recent.load(self._loading)
            self._loading = []
            self._complete()

    def on_commit(self, payload: bytes) -> None:
        parts = decode_commit(payload)
        self._recent.add(parts.entries)
        self._progress = parts.progress or self._progress
        self._feed.add(parts.entries, parts.rows, parts.progress, parts.notes)
        self._wake()

    def _complete(self) -> None:
        self._received = True
        self._wake()

    def _wake(self) -> None:
        self._advanced.set()
        self._advanced.clear()

    def _entries_of(self, head: Position, earlier: Mapping[str, int]) -> RecentEntries:
        events, seconds = self._limits
        return RecentEntries(
            head.epoch,
            head.seq,
            events=events,
            seconds=seconds,
            clock=self._clock,
            earlier=earlier,
        )


class FollowerLease:
    """Implements `log.base.Lease`. Never acquired: another process of this machine leads."""

    leading = False
    term = 1

    async def acquired(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def lost(self) -> None: ...

    async def release(self, *, pause: float = 0.0) -> None: ...


class FollowerSessionStore:
    """Implements `log.base.SessionStore`: the shared sessions of the leader process. While that is
    away, calls wait for it.
    """

    shared = True

    def __init__(self, link: LeaderLink) -> None:
        self._link = link
        self.claims: dict[str, float] = {}
        """The sessions of this process, and since when (monotonic seconds, the same in all
        processes of a machine)."""

    def forget(self) -> None:
        """Forget all sessions: they belong to a log that is gone."""
        self.claims.clear()

    async def load(self) -> Sequence[tuple[str, bytes]]:
        return ()

    async def put(self, sessions: Mapping[str, bytes | None]) -> Collection[str]:
        now = time.monotonic()
        for name, session in sessions.items():
            if session is not None:
                self.claims.setdefault(name, now)
        argument = orjson.dumps(
            {
                name: None if session is None else session.decode()
                for name, session in sessions.items()
            }
        )
        refused: list[str] = orjson.loads(await self._link.call("put", argument))
        for name in (*refused, *(name for name, session in sessions.items() if session is None)):
            self.claims.pop(name, None)
        return refused

    async def take(self, name: str, /) -> bytes | None:
        session = await self._link.call("take", name.encode())
        if not session:
            return None
        self.claims[name] = time.monotonic()
        return session


class FollowerRevocationStore:
    """Implements `log.base.RevocationStore`: the revocations of the leader process."""

    def __init__(self, link: LeaderLink) -> None:
        self._link = link

    async def load(self) -> Sequence[tuple[str, str, float]]:
        loaded = orjson.loads(await self._link.call("revocations"))
        return [(kind, name, at) for kind, name, at in loaded]

    async def put(self, kind: str, name: str, at: float, *, oldest: float) -> None:
        await self._link.call("revoke", orjson.dumps([kind, name, at, oldest]))
