"""The backend of the leader process: a local log, served to the other processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence

    from bridge.changes import Key
    from bridge.events import Event
    from bridge.log.base import Commit, Entry, Position, Progress, RowUpdate
    from bridge.log.ipc.leader import FollowerServer, LocalLog
    from bridge.log.ipc.shared_sessions import SharedSessions


class ServedEventLog:
    """Implements `log.base.EventLog`: a local log with its server. Both are opened and closed
    together.
    """

    def __init__(self, local: LocalLog, sessions: SharedSessions, server: FollowerServer) -> None:
        self._log = local
        self._sessions = sessions
        self._server = server

    async def open(self) -> None:
        await self._log.open()
        await self._sessions.load()
        await self._server.open()

    def rows(self) -> AsyncIterator[Sequence[tuple[Key, bytes]]]:
        return self._log.rows()

    @property
    def process(self) -> str:
        return self._log.process

    @property
    def progress(self) -> Progress:
        return self._log.progress

    @property
    def error(self) -> str | None:
        return self._log.error

    @property
    def head(self) -> Position:
        return self._log.head

    async def append(
        self,
        events: Sequence[Event],
        rows: Sequence[RowUpdate],
        progress: Progress | None = None,
    ) -> Commit:
        return await self._log.append(events, rows, progress)

    async def note(self, kind: str, data: bytes) -> None:
        await self._log.note(kind, data)

    def locate(self, position: Position) -> Position | None:
        return self._log.locate(position)

    def after(self, position: Position) -> Sequence[Entry]:
        return self._log.after(position)

    def follow(self, after: Position) -> AsyncIterator[Commit]:
        return self._log.follow(after)

    async def close(self) -> None:
        await self._server.close()
        await self._log.close()


class LeaderSessionStore:
    """Implements `log.base.SessionStore`: the shared sessions, for the leader process."""

    shared = True

    def __init__(self, sessions: SharedSessions, process: str) -> None:
        self._sessions = sessions
        self._process = process

    async def load(self) -> Sequence[tuple[str, bytes]]:
        return ()

    async def put(self, sessions: Mapping[str, bytes | None]) -> Collection[str]:
        return await self._sessions.put(self._process, sessions)

    async def take(self, name: str, /) -> bytes | None:
        return self._sessions.take(self._process, name)


class MemoryRevocationStore:
    """Implements `log.base.RevocationStore` in memory, for the processes that start later."""

    def __init__(self) -> None:
        self._at: dict[tuple[str, str], float] = {}

    async def load(self) -> Sequence[tuple[str, str, float]]:
        return [(kind, name, at) for (kind, name), at in self._at.items()]

    async def put(self, kind: str, name: str, at: float, *, oldest: float) -> None:
        self._at = {key: time for key, time in self._at.items() if time >= oldest}
        self._at[kind, name] = at
