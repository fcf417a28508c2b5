"""Shows that this process uses the log, and removes the sessions of processes that are gone."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from bridge.log.redis.connection import ServerUnavailableError

if TYPE_CHECKING:
    from bridge.log.redis.connection import Connection
    from bridge.log.redis.lease import RedisLease
    from bridge.log.redis.scripts import Scripts
    from bridge.log.redis.session_store import RedisSessionStore

log = logging.getLogger(__name__)

BEAT_SECONDS: Final = 5.0
"""Between two beats of a process."""

MIN_FORGET_SECONDS: Final = 60.0
"""A process counts as gone after so long without a beat at the earliest: its server was away, or it
was paused."""

LEAVE_SECONDS: Final = 1.0
"""Longest wait for the server when a process stops."""

BEATS_PER_SWEEP: Final = 12
"""Beats of the leader between two sweeps of sessions."""


class Machines:
    """Sends the beats of this process. The leader's also keep the sessions in order."""

    def __init__(
        self,
        connection: Connection,
        scripts: Scripts,
        lease: RedisLease,
        sessions: RedisSessionStore,
        *,
        process: str,
        session_seconds: float,
    ) -> None:
        """`session_seconds`: how long the sessions of a process that is gone are kept."""
        self._connection = connection
        self._scripts = scripts
        self._lease = lease
        self._sessions = sessions
        self._process = process
        self._forget = max(session_seconds, MIN_FORGET_SECONDS)

    async def leave(self) -> None:
        """Store that this process stops, if the server is there."""
        with suppress(ServerUnavailableError, TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await self._connection.run(lambda redis: self._scripts.leave(redis, self._process))

    async def run(self) -> None:
        """Send beats until cancelled."""
        beats = 0
        while True:
            try:
                known = await self._connection.run(
                    lambda redis: self._scripts.beat(redis, self._process, forget=self._forget)
                )
                beats += 1
                if self._lease.leading and beats % BEATS_PER_SWEEP == 0:
                    await self._sessions.sweep(known)
            except ServerUnavailableError as error:
                log.debug("no beat: %s", error)
            await asyncio.sleep(BEAT_SECONDS)
