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
        self._wake = asyncio.Event()
        sessions.on_change = self._changed

    async def load(self, locate: Callable[[Position], Position | None]) -> None:
        """Load the sessions of an earlier process. `locate` is the log's; sessions with a position
        that is not in its history are dropped: the log has no entries for them.
        """
        now, wall = self._clock.monotonic(), self._clock.wall()
        found = []
        for pid, text in await self._store.load():
            session, left_at = _decode(pid, text)
            located = [(locate(at), value) for at, value in session.subscriptions]
            session.subscriptions = [(at, value) for at, value in located if at is not None]
            if len(session.subscriptions) == len(located):
                # Clients that were connected when that process ended count as disconnected now.
                away = 0.0 if left_at is None else max(0.0, wall - left_at)
                session.disconnected_at = now - away
                found.append(session)
            else:
                self._changed(pid)
        self._sessions.load(found, now)

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
        encoded = {}
        for pid in pids:
            session = self._sessions.by_pid(pid)
            encoded[pid] = None if session is None else _encode(session, offset)
        await self._store.put(encoded)

    async def close(self) -> None:
        """Store the remaining changes, if the store can still be written."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.store()
        except (TimeoutError, LogUnusableError) as error:
            log.warning(
                "sessions could not be stored (%s): some clients will reconnect as new ones",
                str(error) or f"not within {CLOSE_SECONDS:g} s",
            )

    def _changed(self, pid: str) -> None:
        self._unstored[pid] = None
        self._wake.set()


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
