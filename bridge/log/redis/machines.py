"""The processes that share the log: each sends a beat, and learns of the others with it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from bridge.log.redis.connection import ServerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.clock import Clock
    from bridge.log.redis.connection import Connection
    from bridge.log.redis.history import LocalHistory
    from bridge.log.redis.lease import RedisLease
    from bridge.log.redis.scripts import Beat, Scripts
    from bridge.log.redis.session_store import RedisSessionStore

log = logging.getLogger(__name__)

BEAT_SECONDS: Final = 5.0
"""Between two beats of a process."""

SILENT_SECONDS: Final = 12.0
"""A process without a beat for so long is not there, or cut off."""

LEAVE_SECONDS: Final = 1.0
"""Longest wait for the server when a process stops."""

BEATS_PER_SWEEP: Final = 12
"""Beats of the leader between two sweeps of sessions."""


class Machines:
    """Sends the beats of this process. `alive` are the processes that sent one lately."""

    def __init__(
        self,
        connection: Connection,
        scripts: Scripts,
        history: LocalHistory,
        lease: RedisLease,
        sessions: RedisSessionStore,
        *,
        process: str,
        session_seconds: float,
        clock: Clock,
    ) -> None:
        """`session_seconds`: how long the sessions of a process that is gone are kept."""
        self._connection = connection
        self._scripts = scripts
        self._history = history
        self._lease = lease
        self._sessions = sessions
        self._process = process
        self._forget = max(session_seconds, 2 * SILENT_SECONDS)
        self._clock = clock
        self._last: tuple[float, Beat] | None = None

    @property
    def alive(self) -> Mapping[str, float]:
        """Seconds since the last beat of each process that is there, this one included."""
        if self._last is None:
            return {self._process: 0.0}
        at, beat = self._last
        since = self._clock.monotonic() - at
        if since > SILENT_SECONDS:
            return {self._process: 0.0}
        return {name: ago for name, ago in beat.seen.items() if ago < SILENT_SECONDS}

    @property
    def leader(self) -> str:
        """The process that leads, as of the last beat; empty: none does."""
        return "" if self._last is None else self._last[1].leader.partition("/")[0]

    @property
    def lag(self) -> int:
        """Appends that were stored at the last beat and are not read yet."""
        if self._last is None:
            return 0
        return max(0, self._last[1].appends - self._history.appends)

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
                beat = await self._connection.run(
                    lambda redis: self._scripts.beat(redis, self._process, forget=self._forget)
                )
                self._last = (self._clock.monotonic(), beat)
                beats += 1
                if self._lease.leading and beats % BEATS_PER_SWEEP == 0:
                    await self._sessions.sweep(beat.known)
            except ServerUnavailableError as error:
                log.debug("no beat: %s", error)
            await asyncio.sleep(BEAT_SECONDS)
