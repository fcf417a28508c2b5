"""Takes the sessions of clients that reconnect to another process than the one they were at."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from bridge.errors import LogUnusableError
from bridge.log.base import Position

if TYPE_CHECKING:
    from bridge.gateway.recovery.persistence import SessionPersistence
    from bridge.gateway.recovery.sessions import RecoveryOffer
    from bridge.log.base import EntryReader

TAKE_SECONDS: Final = 3.0
"""How long a client waits for its session."""

CATCH_UP_SECONDS: Final = 2.0
"""How long a client waits for this process to apply what the client has received elsewhere."""


class SharedReader(Protocol):
    """The log that other processes follow as well."""

    @property
    def error(self) -> str | None:
        """Why the log can't be used at present."""
        ...

    async def reached(self, position: Position) -> None:
        """Wait until the head is at `position`, or past it in the same history."""
        ...


class SessionTakeover:
    """Makes the session that a client wants to resume one of this process."""

    def __init__(
        self,
        persistence: SessionPersistence,
        log: EntryReader,
        shared: SharedReader,
    ) -> None:
        self._persistence = persistence
        self._log = log
        self._shared = shared

    async def prepare(self, offer: RecoveryOffer) -> bool:
        """Take the session, if there is one, so that `RecoverySessions.find` decides on it. False
        if that is not known at present, and the client has to try again.
        """
        if offer.pid is None:
            return True
        try:
            async with asyncio.timeout(TAKE_SECONDS):
                session = await self._persistence.claim(offer.pid)
            if session is None:
                return self._shared.error is None
            received = Position.parse(offer.offset or "")
            async with asyncio.timeout(CATCH_UP_SECONDS):
                for position in (session.subscriptions[-1][0], received):
                    if position is not None and position.epoch == self._log.head.epoch:
                        await self._shared.reached(position)
        except (TimeoutError, LogUnusableError):
            return False
        self._persistence.adopt(session, self._log.locate)
        return True
