"""A log that several bridges in one event loop share: one history, a view of it for each process.

For tests of what several machines do, without a server: leases have terms and are fenced, sessions
are taken over, notes arrive in order with the commits, and the history can be lost. `cut` keeps one
process from the history, as a network would.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from typing import TYPE_CHECKING

from bridge.clock import SystemClock
from bridge.errors import LeaseLostError, PositionGoneError
from bridge.log.backends import LogBackend
from bridge.log.base import Note, Position, Progress
from bridge.log.commit_feed import CommitFeed
from bridge.log.recent_entries import RecentEntries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

    from bridge.changes import Key
    from bridge.events import Event
    from bridge.log.base import Commit, Entry, RowUpdate


class SharedHistory:
    """What all processes share. `backend()` is the view of one more process."""

    def __init__(self, *, events: int = 1000) -> None:
        self.events = events
        self.views: list[SharedLog] = []
        self.holder: SharedLease | None = None
        self.term = 0
        self.revocations: dict[tuple[str, str], float] = {}
        self.released = asyncio.Event()
        self._begin()

    def _begin(self) -> None:
        self.epoch = secrets.token_hex(4)
        self.head = Position(self.epoch, 0)
        self.rows: dict[Key, bytes] = {}
        self.progress = Progress()
        self.sessions: dict[str, tuple[str, bytes]] = {}
        self.kept: list[Entry] = []

    def backend(self) -> LogBackend:
        log = SharedLog(self)
        self.views.append(log)
        return LogBackend(
            log, SharedLease(self, log), SharedSessions(self, log), SharedRevocations(self)
        )

    def lose(self) -> None:
        """Begin another history: everything stored is gone, and the leader's lease."""
        self.take_lease()
        self._begin()
        for view in self.views:
            view.begin()

    def take_lease(self) -> None:
        """Let the lease lapse, as that of a process that was paused for too long."""
        if self.holder is not None:
            self.holder.lapse()

    def deliver(
        self,
        entries: Sequence[Entry],
        rows: Sequence[RowUpdate],
        progress: Progress | None,
        notes: Sequence[Note] = (),
    ) -> None:
        if entries:
            self.head = entries[-1].position
            self.kept.extend(entries)
        for key, row in rows:
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row
        self.progress = progress or self.progress
        for view in self.views:
            view.receive(entries, rows, progress, notes)


class LosableFeed(CommitFeed):
    """Its followers are told when its history is lost."""

    lost = False

    async def take(self, number: int) -> Commit | None:
        commit = None if self.lost else await super().take(number)
        if self.lost:
            raise PositionGoneError("another history has begun")
        return commit

    def lose(self) -> None:
        self.lost = True
        self.close()


class SharedLog:
    """Implements `log.base.EventLog`: one process's view of the history."""

    def __init__(self, history: SharedHistory) -> None:
        self.process = secrets.token_hex(4)
        self.error: str | None = None
        self.append_delay = 0.0
        self._history = history
        self._held: deque[Callable[[], None]] | None = None
        self._closed = False
        self._reset()

    def _reset(self) -> None:
        history = self._history
        self._entries = RecentEntries(
            history.epoch,
            history.head.seq,
            events=history.events,
            seconds=900,
            clock=SystemClock(),
        )
        self._entries.load(history.kept[-history.events :])
        self._feed = LosableFeed(self._entries.head)
        self._progress = history.progress

    async def open(self) -> None:
        self._reset()

    @property
    def head(self) -> Position:
        return self._entries.head

    @property
    def progress(self) -> Progress:
        return self._progress

    async def rows(self) -> AsyncIterator[Sequence[tuple[Key, bytes]]]:
        yield list(self._history.rows.items())

    async def append(
        self,
        events: Sequence[Event],
        rows: Sequence[RowUpdate],
        progress: Progress | None = None,
    ) -> Commit:
        await self._reachable()
        await asyncio.sleep(self.append_delay)
        history = self._history
        if history.holder is None or history.holder.log is not self:
            raise LeaseLostError("fenced: another process leads")
        self._entries.give_back()
        history.deliver(self._entries.next(events), rows, progress)
        commit = self._feed.newest
        assert commit is not None, "a view receives what it delivers"
        return commit

    async def note(self, kind: str, data: bytes) -> None:
        if self.error is None:
            self._history.deliver((), (), None, (Note(kind, self.process, data),))

    def receive(
        self,
        entries: Sequence[Entry],
        rows: Sequence[RowUpdate],
        progress: Progress | None,
        notes: Sequence[Note],
    ) -> None:
        if self._held is not None:
            self._held.append(lambda: self._add(entries, rows, progress, notes))
        elif not self._closed:
            self._add(entries, rows, progress, notes)

    def _add(
        self,
        entries: Sequence[Entry],
        rows: Sequence[RowUpdate],
        progress: Progress | None,
        notes: Sequence[Note],
    ) -> None:
        self._entries.add(entries)
        self._progress = progress or self._progress
        self._feed.add(entries, rows, progress, notes)

    def begin(self) -> None:
        feed = self._feed
        if self._held is not None:
            self._held.clear()
        self._reset()
        feed.lose()

    def cut(self) -> None:
        """Receive and send nothing until `heal`."""
        self._held = deque() if self._held is None else self._held
        self.error = "the server can't be reached"

    def heal(self) -> None:
        held, self._held, self.error = self._held or (), None, None
        for add in held:
            add()

    async def _reachable(self) -> None:
        while self.error is not None:
            await asyncio.sleep(0.01)

    def locate(self, position: Position) -> Position | None:
        return self._entries.locate(position)

    def after(self, position: Position) -> Sequence[Entry]:
        return self._entries.after(position)

    def follow(self, after: Position) -> AsyncIterator[Commit]:
        return self._feed.follow(after)

    async def close(self) -> None:
        self._closed = True
        self._history.views.remove(self)
        self._feed.close()


class SharedLease:
    """Implements `log.base.Lease`. Nobody renews it: it ends by `lapse` or `release`."""

    def __init__(self, history: SharedHistory, log: SharedLog) -> None:
        self.log = log
        self._history = history
        self._lost = asyncio.Event()
        self._paused_until = 0.0

    @property
    def leading(self) -> bool:
        return self._history.holder is self

    @property
    def term(self) -> int:
        return self._history.term

    async def acquired(self) -> None:
        history, loop = self._history, asyncio.get_running_loop()
        while (
            history.holder is not None
            or loop.time() < self._paused_until
            or self.log.error is not None
        ):
            await asyncio.sleep(0.005)
        history.holder = self
        history.term += 1
        self._lost.clear()

    async def lost(self) -> None:
        await self._lost.wait()

    def lapse(self) -> None:
        if self._history.holder is self:
            self._history.holder = None
        self._lost.set()

    async def release(self, *, pause: float = 0.0) -> None:
        self._paused_until = asyncio.get_running_loop().time() + pause
        self.lapse()


class SharedSessions:
    """Implements `log.base.SessionStore`: each session has an owner."""

    shared = True

    def __init__(self, history: SharedHistory, log: SharedLog) -> None:
        self._history = history
        self._log = log
        self.takes = 0

    async def load(self) -> Sequence[tuple[str, bytes]]:
        return ()

    async def put(self, sessions: Mapping[str, bytes | None]) -> Collection[str]:
        await self._log._reachable()
        stored, refused = self._history.sessions, []
        for name, session in sessions.items():
            if name in stored and stored[name][0] != self._log.process:
                refused.append(name)
            elif session is None:
                stored.pop(name, None)
            else:
                stored[name] = (self._log.process, session)
        return refused

    async def take(self, name: str, /) -> bytes | None:
        await self._log._reachable()
        self.takes += 1
        found = self._history.sessions.get(name)
        if found is None:
            return None
        self._history.sessions[name] = (self._log.process, found[1])
        return found[1]


class SharedRevocations:
    """Implements `log.base.RevocationStore`."""

    def __init__(self, history: SharedHistory) -> None:
        self._history = history

    async def load(self) -> Sequence[tuple[str, str, float]]:
        return [(kind, name, at) for (kind, name), at in self._history.revocations.items()]

    async def put(self, kind: str, name: str, at: float, *, oldest: float) -> None:
        self._history.revocations[kind, name] = at
