"""Keeps clients' sessions in a store, so that clients can come back after a restart.

Most of what happens to sessions is stored a moment later, many at a time: a client whose session
was not stored yet comes back as a new one, and is told so. Only a change of a subscription must not
be forgotten, since its client would come back without it and not know. So its ack waits until it is
stored, and everything that the client is told after it waits behind.
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
    from bridge.clock import Clock
    from bridge.gateway.recovery.sessions import RecoverySessions
    from bridge.log.base import SessionStore
    from bridge.rights import View

log = logging.getLogger(__name__)

FLUSH_DELAY_SECONDS: Final = 0.05
"""How long changes gather that nobody waits for."""

CLOSE_SECONDS: Final = 1.0
"""How long the end waits for a store that doesn't take anything."""


class SessionPersistence:
    def __init__(self, sessions: RecoverySessions, store: SessionStore, clock: Clock) -> None:
        self._sessions = sessions
        self._store = store
        self._clock = clock
        self._unstored: dict[str, None] = {}
        self._wake = asyncio.Event()
        sessions.on_change = self._changed

    async def load(self, epoch: str) -> None:
        """Take up the sessions of an earlier process. Those of another epoch have nothing left that
        could be told to them.
        """
        now, wall = self._clock.monotonic(), self._clock.wall()
        found = []
        for pid, text in await self._store.load():
            session, left = _decode(pid, text)
            if session.subscriptions[0][0].epoch == epoch:
                # Who was connected when that process ended has been away since now.
                session.disconnected_at = now if left is None else now - max(0.0, wall - left)
                found.append(session)
            else:
                self._changed(pid)
        self._sessions.load(found, now)

    async def run(self) -> None:
        """Store what changes, for ever. Raises `errors.LogUnusableError`."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(FLUSH_DELAY_SECONDS)
            await self.store()

    async def store(self) -> None:
        """Store all changes made so far. Raises `errors.LogUnusableError`."""
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
        """Store what is left, if the store still takes it."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.store()
        except (TimeoutError, LogUnusableError) as error:
            log.warning(
                "sessions could not be stored (%s): some clients will come back as new ones",
                error or f"not within {CLOSE_SECONDS:g} s",
            )

    def _changed(self, pid: str) -> None:
        self._unstored[pid] = None
        self._wake.set()


def _encode(session: RecoverySession, offset: float) -> bytes:
    """`offset` leads from monotonic seconds to Unix seconds."""
    return orjson.dumps(
        {
            "sid": session.sid,
            "heard": [_heard(at, subscription) for at, subscription in session.subscriptions],
            "complete": session.complete,
            "left_at": None
            if session.disconnected_at is None
            else session.disconnected_at + offset,
        }
    )


def _heard(at: Position, subscription: Subscription) -> list[object]:
    """Sessions that were stored before there were rights have none, and nor has everybody."""
    rights = subscription.rights
    more = [] if rights == UNRESTRICTED else [[rights.regions, rights.view, rights.user]]
    return [str(at), subscription.regions, subscription.properties, *more]


def _decode(pid: str, text: bytes) -> tuple[RecoverySession, float | None]:
    """The session, and when its client left in Unix seconds."""
    kept = orjson.loads(text)
    subscriptions = []
    for at, regions, properties, *rights in kept["heard"]:
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
    return RecoverySession(pid, kept["sid"], subscriptions, complete=kept["complete"]), kept[
        "left_at"
    ]


def _rights(regions: list[str] | None, view: View, user: str | None) -> Rights:
    return Rights(None if regions is None else tuple(regions), view, user)
