"""Stores recovery sessions, so that clients can recover after a restart.

Most changes of sessions are stored a moment later, many at a time: if a session was not stored yet,
its client reconnects as a new one, and is informed of it. Only a changed subscription must not be
lost, since its client would reconnect with the earlier one unnoticed. So its ack is held until it
is stored, with everything that is sent to the client after it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import orjson

from bridge.errors import LogUnusableError
from bridge.gateway.recovery.sessions import RecoverySession
from bridge.gateway.subscription import Subscription
from bridge.log.base import Position
from bridge.rights import UNRESTRICTED, Rights

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.clock import Clock
    from bridge.gateway.recovery.sessions import RecoverySessions
    from bridge.log.base import SessionStore
    from bridge.rights import View

log = logging.getLogger(__name__)

FLUSH_DELAY_SECONDS: Final = 0.05
"""How long changes are collected that no ack waits for."""

CLOSE_SECONDS: Final = 1.0
"""How long `close` waits for a store that can't be written."""


class SessionPersistence:
    """Keeps a store equal to the sessions."""

    def __init__(self, sessions: RecoverySessions, store: SessionStore, clock: Clock) -> None:
        self._sessions = sessions
        self._store = store
        self._clock = clock
        self._unstored: dict[str, None] = {}
        self._writes: set[asyncio.Future[None]] = set()  # those under way
        self._next_store: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self.on_taken: Callable[[str], None] = lambda _pid: None
        """Called with the pid of each session that this process takes from another one."""
        self.on_refused: Callable[[RecoverySession], None] = lambda _session: None
        """Called with each session that another process has taken from this one."""
        sessions.on_change = self._changed

    async def load(self, locate: Callable[[Position], Position | None]) -> None:
        """Load the sessions of an earlier process. `locate` is the log's; sessions with a position
        that is not in its history are dropped: the log has no entries for them.
        """
        found = []
        for pid, text in await self._store.load():
            session = self._restored(pid, text)
            if _relocate(session, locate):
                found.append(session)
            else:
                self._changed(pid)
        self._sessions.load(found, self._clock.monotonic())

    async def claim(self, pid: str) -> RecoverySession | None:
        """Return the session of that pid after making it one of this process; None: there is none.
        One that another process had is not among the sessions before `adopt`. Raises
        `errors.LogUnusableError`.
        """
        session = self._sessions.by_pid(pid)
        if session is not None:
            # Another process may have taken it, and changed it.
            self._changed(pid)
            await self._stored()
            if self._sessions.by_pid(pid) is session:
                return session
        text = await self._store.take(pid)
        known = self._sessions.by_pid(pid)  # another connection was faster
        return self._restored(pid, text) if text is not None and known is None else known

    def adopt(
        self, session: RecoverySession, locate: Callable[[Position], Position | None]
    ) -> None:
        """Add a claimed session to those of this process, as `load` does."""
        if self._sessions.by_pid(session.pid) is not None:
            return
        now = self._clock.monotonic()
        assert session.disconnected_at is not None, "its process has lost it"
        expired = now - session.disconnected_at >= self._sessions.limits.seconds
        if not expired and _relocate(session, locate):
            self._sessions.load([session], now)
            self.on_taken(session.pid)
        else:
            self._changed(session.pid)

    def verify(self, pid: str) -> None:
        """Find out soon whether a session still belongs to this process."""
        if self._sessions.by_pid(pid) is not None:
            self._changed(pid)

    def _restored(self, pid: str, text: bytes) -> RecoverySession:
        session, left_at = _decode(pid, text)
        # Clients that were connected when their process ended count as disconnected now.
        away = 0.0 if left_at is None else max(0.0, self._clock.wall() - left_at)
        session.disconnected_at = self._clock.monotonic() - away
        return session

    async def run(self) -> None:
        """Store changes until cancelled. Raises `errors.LogUnusableError`."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(FLUSH_DELAY_SECONDS)
            await self.store()

    async def store(self) -> None:
        """Store all changes made so far, before this returns. Raises `errors.LogUnusableError`."""
        if not self._unstored:
            return
        pids, self._unstored = self._unstored, {}
        offset = self._clock.wall() - self._clock.monotonic()
        sessions = {pid: self._sessions.by_pid(pid) for pid in pids}
        writing = asyncio.get_running_loop().create_future()
        self._writes.add(writing)
        try:
            refused = await self._store.put(
                {
                    pid: None if session is None else _encode(session, offset)
                    for pid, session in sessions.items()
                }
            )
        finally:
            self._writes.discard(writing)
            writing.set_result(None)
        for pid in refused:
            session = sessions[pid]
            if session is not None and self._sessions.by_pid(pid) is session:
                self._sessions.forget(session)
                self.on_refused(session)

    async def _stored(self) -> None:
        """Wait until all changes made so far are stored; the callers of one iteration of the event
        loop share one write.
        """
        if self._next_store is None:
            self._next_store = asyncio.create_task(self._store_next(), name="verify sessions")
        await asyncio.shield(self._next_store)

    async def _store_next(self) -> None:
        await asyncio.sleep(0)
        self._next_store = None
        await self._store_all()

    async def _store_all(self) -> None:
        before = set(self._writes)
        await self.store()
        if before:
            await asyncio.wait(before)

    async def close(self) -> None:
        """Store the remaining changes, if the store can still be written."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._store_all()
        except (TimeoutError, LogUnusableError) as error:
            log.warning(
                "sessions could not be stored (%s): some clients will reconnect as new ones",
                str(error) or f"not within {CLOSE_SECONDS:g} s",
            )

    def _changed(self, pid: str) -> None:
        self._unstored[pid] = None
        self._wake.set()


def _relocate(session: RecoverySession, locate: Callable[[Position], Position | None]) -> bool:
    """Move a session to the present epoch; False if the log does not have all its positions."""
    located = [(locate(at), value) for at, value in session.subscriptions]
    session.subscriptions = [(at, value) for at, value in located if at is not None]
    return len(session.subscriptions) == len(located)


def _encode(session: RecoverySession, offset: float) -> bytes:
    """`offset` is added to monotonic seconds to get Unix seconds."""
    return orjson.dumps(
        {
            "sid": session.sid,
            "heard": [_subscription(at, value) for at, value in session.subscriptions],
            "complete": session.complete,
            "left_at": None
            if session.disconnected_at is None
            else session.disconnected_at + offset,
        }
    )


def _subscription(at: Position, subscription: Subscription) -> list[object]:
    """Unrestricted rights are left out, as in sessions stored before there were rights."""
    rights = subscription.rights
    limited = [] if rights == UNRESTRICTED else [[rights.regions, rights.view, rights.user]]
    return [str(at), subscription.regions, subscription.properties, *limited]


def _decode(pid: str, text: bytes) -> tuple[RecoverySession, float | None]:
    """Return the session, and when its client disconnected in Unix seconds."""
    stored = orjson.loads(text)
    subscriptions = []
    for at, regions, properties, *rights in stored["heard"]:
        position = Position.parse(at)
        assert position is not None, "positions are read as they were written"
        subscriptions.append(
            (
                position,
                Subscription(
                    None if regions is None else tuple(regions),
                    tuple(properties),
                    _rights(*rights[0]) if rights else UNRESTRICTED,
                ),
            )
        )
    session = RecoverySession(pid, stored["sid"], subscriptions, complete=stored["complete"])
    return session, stored["left_at"]


def _rights(regions: list[str] | None, view: View, user: str | None) -> Rights:
    return Rights(None if regions is None else tuple(regions), view, user)
