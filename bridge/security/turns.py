"""Whose turn it is: a few at a time, of each address and in all, and the others wait a little."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bridge.errors import Code, Refused
from bridge.security.concurrency import Crowd, Full

if TYPE_CHECKING:
    from bridge.security.concurrency import Place


class Turns:
    """Gives turns, in no promised order."""

    def __init__(
        self, per_key: int, in_all: int, *, waiting_per_key: int, waiting: int, seconds: float
    ) -> None:
        """At most `waiting` wait in all, `waiting_per_key` of each key, none of them longer than
        `seconds`.
        """
        self._turns = Crowd(per_key, in_all)
        self._waiting = Crowd(waiting_per_key, waiting)
        self._seconds = seconds
        self._free = asyncio.Event()

    @property
    def taken(self) -> int:
        return self._turns.total

    async def take(self, key: str | None) -> Place:
        """A turn, to be given to `give_back`. Raises `Refused` if there is none in time."""
        turn = self._turns.enter(key)
        if not isinstance(turn, Full):
            return turn
        seat = self._waiting.enter(key)
        if isinstance(seat, Full):
            raise _too_many()
        try:
            async with asyncio.timeout(self._seconds):
                while isinstance(turn, Full):
                    await self._free.wait()
                    turn = self._turns.enter(key)
        except TimeoutError:
            raise _too_many() from None
        finally:
            seat.give_back()
        return turn

    def give_back(self, turn: Place) -> None:
        turn.give_back()
        # Whoever waits now looks, and whoever comes later waits for the next one.
        self._free.set()
        self._free = asyncio.Event()


def _too_many() -> Refused:
    return Refused(Code.RATE_LIMITED, "too many requests are being answered; try again in a while")
