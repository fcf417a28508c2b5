"""How many of each there are at present. Pure."""

from __future__ import annotations

import asyncio
from enum import Enum, auto

from bridge.errors import Code, RequestRejected


class LimitReached(Enum):
    """Why there is no place."""

    KEY = auto()
    ALL = auto()


class Slot:
    """One of those that are counted, until it is given back."""

    __slots__ = ("_crowd", "claimed", "key")

    def __init__(self, crowd: ConcurrencyLimiter, key: str | None) -> None:
        self._crowd: ConcurrencyLimiter | None = crowd
        self.key = key
        self.claimed = False
        """Whether somebody will give it back later than whoever took it."""

    def release(self) -> None:
        """It is free again. To say so twice does no harm."""
        if self._crowd is not None:
            self._crowd.release(self.key)
            self._crowd = None


class ConcurrencyLimiter:
    """Places for `per_key` of each key and for `in_all`. Remembers keys that have a place only. Who
    has no key (None) is counted among all, and by nothing else.
    """

    def __init__(self, per_key: int, in_all: int) -> None:
        self._per_key = per_key
        self._in_all = in_all
        self._by_key: dict[str, int] = {}
        self.total = 0

    def acquire(self, key: str | None) -> Slot | LimitReached:
        """A place, or why there is none."""
        taken = 0 if key is None else self._by_key.get(key, 0)
        if taken >= self._per_key:
            return LimitReached.KEY
        if self.total >= self._in_all:
            return LimitReached.ALL
        if key is not None:
            self._by_key[key] = taken + 1
        self.total += 1
        return Slot(self, key)

    def release(self, key: str | None) -> None:
        self.total -= 1
        if key is None:
            return
        left = self._by_key[key] - 1
        if left:
            self._by_key[key] = left
        else:
            del self._by_key[key]


class WaitingLimiter:
    """Gives turns, in no promised order."""

    def __init__(
        self, per_key: int, in_all: int, *, waiting_per_key: int, waiting: int, seconds: float
    ) -> None:
        """At most `waiting` wait in all, `waiting_per_key` of each key, none of them longer than
        `seconds`.
        """
        self._turns = ConcurrencyLimiter(per_key, in_all)
        self._waiting = ConcurrencyLimiter(waiting_per_key, waiting)
        self._seconds = seconds
        self._free = asyncio.Event()

    @property
    def taken(self) -> int:
        return self._turns.total

    async def acquire(self, key: str | None) -> Slot:
        """A turn, to be given to `give_back`. Raises `RequestRejected` if there is none in time."""
        turn = self._turns.acquire(key)
        if not isinstance(turn, LimitReached):
            return turn
        seat = self._waiting.acquire(key)
        if isinstance(seat, LimitReached):
            raise _too_many()
        try:
            async with asyncio.timeout(self._seconds):
                while isinstance(turn, LimitReached):
                    await self._free.wait()
                    turn = self._turns.acquire(key)
        except TimeoutError:
            raise _too_many() from None
        finally:
            seat.release()
        return turn

    def release(self, turn: Slot) -> None:
        turn.release()
        # Whoever waits now looks, and whoever comes later waits for the next one.
        self._free.set()
        self._free = asyncio.Event()


def _too_many() -> RequestRejected:
    return RequestRejected(
        Code.RATE_LIMITED, "too many requests are being answered; try again in a while"
    )
