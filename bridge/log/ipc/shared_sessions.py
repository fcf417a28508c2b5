"""The sessions of the clients of all processes, in the leader process: which process has which.

They are kept in memory, and in the store of the log if it has one. A process that takes a session
has it from then on; a `put` of the process that had it before is refused. After a restart of the
leader process each process claims its sessions with the time at which it got them: the latest claim
is right.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from bridge.clock import Clock
    from bridge.log.base import SessionStore

SWEEP_SECONDS: Final = 5.0
"""Interval at which the sessions of processes that are gone are looked at."""


class SharedSessions:
    """Sessions by name, each of one process or of one that is gone."""

    def __init__(self, store: SessionStore | None, *, seconds: float, clock: Clock) -> None:
        """`seconds`: how long the sessions of a process that is gone are kept."""
        self._store = store
        self._seconds = seconds
        self._clock = clock
        self._sessions: dict[str, bytes] = {}
        self._owners: dict[str, tuple[str, float]] = {}  # process, and since when
        self._taken: dict[str, set[str]] = {}  # by process: names that others took from it
        self._gone: dict[str, float] = {}  # processes that are gone, and since when

    async def load(self) -> None:
        """Load the stored sessions. Their processes are gone until they claim them."""
        if self._store is None:
            return
        now = self._clock.monotonic()
        for name, session in await self._store.load():
            self._sessions[name] = session
            self._owners[name] = ("", now)
        self._gone[""] = now

    def joined(self, process: str, claims: Mapping[str, float]) -> None:
        """Note a process that begins to follow, and what it has: names, and since when."""
        self._gone.pop(process, None)
        for name, since in claims.items():
            owner, taken_at = self._owners.get(name, ("", 0.0))
            if name not in self._sessions or owner == process:
                continue
            if owner and taken_at > since:
                self._taken.setdefault(process, set()).add(name)
                continue
            if owner:
                self._taken.setdefault(owner, set()).add(name)
            self._owners[name] = (process, since)

    def left(self, process: str) -> None:
        """Note that a process is gone. It may come back."""
        self._gone[process] = self._clock.monotonic()

    async def put(self, process: str, sessions: Mapping[str, bytes | None]) -> Collection[str]:
        """Store or delete sessions of a process; return the names of those that others took."""
        taken = self._taken.get(process, set())
        refused, stored = [], {}
        for name, session in sessions.items():
            owner = self._owners.get(name, (process, 0.0))[0]
            if name in taken or owner not in (process, ""):
                taken.discard(name)
                refused.append(name)
                continue
            stored[name] = session
            if session is None:
                self._forget(name)
            else:
                self._sessions[name] = session
                if owner == "" or name not in self._owners:
                    self._owners[name] = (process, self._clock.monotonic())
        await self._write(stored)
        return refused

    def take(self, process: str, name: str) -> bytes | None:
        """Return the session and make it one of `process`; None if there is none."""
        session = self._sessions.get(name)
        if session is None:
            return None
        owner = self._owners[name][0]
        if owner not in (process, ""):
            self._taken.setdefault(owner, set()).add(name)
        self._taken.get(process, set()).discard(name)
        self._owners[name] = (process, self._clock.monotonic())
        return session

    async def run(self) -> None:
        """Drop the sessions of processes that stay away, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await self.sweep()

    async def sweep(self) -> None:
        """Drop the sessions of processes that have been away for longer than `seconds`."""
        now = self._clock.monotonic()
        away = {process for process, at in self._gone.items() if now - at > self._seconds}
        if not away:
            return
        names = [name for name, (owner, _) in self._owners.items() if owner in away]
        for name in names:
            self._forget(name)
        for process in away:
            del self._gone[process]
            self._taken.pop(process, None)
        await self._write(dict.fromkeys(names))

    def __len__(self) -> int:
        return len(self._sessions)

    def _forget(self, name: str) -> None:
        self._sessions.pop(name, None)
        self._owners.pop(name, None)

    async def _write(self, sessions: Mapping[str, bytes | None]) -> None:
        if self._store is not None and sessions:
            await self._store.put(sessions)
