"""Limits of concurrent uses, per key and in total."""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import TYPE_CHECKING

from bridge.errors import Code, RequestRejected

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class LimitReached(Enum):
    """Which limit has no free slot."""

    KEY = auto()
    ALL = auto()


class Slot:
    """One use that counts until it is released."""

    __slots__ = ("_limiter", "claimed", "key")

    def __init__(self, limiter: ConcurrencyLimiter, key: str | None) -> None:
        self._limiter: ConcurrencyLimiter | None = limiter
        self.key = key
        self.claimed = False
        """Whether another part than the one that acquired the slot will release it."""

    def release(self) -> None:
        """Free the slot. Idempotent."""
        if self._limiter is not None:
            self._limiter.release(self.key)
            self._limiter.on_release(self.key)
            self._limiter = None

    def cancel(self) -> None:
        """Free the slot as if it had never been acquired. Idempotent."""
        if self._limiter is not None:
            self._limiter.release(self.key)
            self._limiter = None


class ConcurrencyLimiter:
    """At most `per_key` slots per key and `total_limit` in total. Stores only keys with a slot. The
    key None counts towards the total only.
    """

    def __init__(self, per_key: int, total_limit: int) -> None:
        self._per_key = per_key
        self._total_limit = total_limit
        self._by_key: dict[str, int] = {}
        self.total = 0
        self.on_release: Callable[[str | None], None] = lambda _key: None
        """Called with the key of each slot that is released."""

    @property
    def by_key(self) -> Mapping[str, int]:
        """The number of slots of each key."""
        return self._by_key

    def hold(self, key: str | None, count: int) -> None:
        """Count slots that are taken already, limits or not."""
        self.total += count
        if key is not None:
            self._by_key[key] = self._by_key.get(key, 0) + count

    def acquire(self, key: str | None) -> Slot | LimitReached:
        """Return a slot, or the limit that is reached."""
        taken = 0 if key is None else self._by_key.get(key, 0)
        if taken >= self._per_key:
            return LimitReached.KEY
        if self.total >= self._total_limit:
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
    """A `ConcurrencyLimiter` with a queue of callers, served in no guaranteed order."""

    def __init__(
        self, per_key: int, total: int, *, waiting_per_key: int, waiting: int, seconds: float
    ) -> None:
        """At most `waiting` callers wait in total and `waiting_per_key` per key, each for at most
        `seconds`.
        """
        self._slots = ConcurrencyLimiter(per_key, total)
        self._waiting = ConcurrencyLimiter(waiting_per_key, waiting)
        self._seconds = seconds
        self._free = asyncio.Event()

    @property
    def taken(self) -> int:
        """Number of acquired slots."""
        return self._slots.total

    async def acquire(self, key: str | None) -> Slot:
        """Return a slot, to be passed to `release`. Raises `RequestRejected` if none is free in
        time, or if too many callers wait.
        """
        slot = self._slots.acquire(key)
        if not isinstance(slot, LimitReached):
            return slot
        waiting = self._waiting.acquire(key)
        if isinstance(waiting, LimitReached):
            raise _too_many()
        try:
            async with asyncio.timeout(self._seconds):
                while isinstance(slot, LimitReached):
                    await self._free.wait()
                    slot = self._slots.acquire(key)
        except TimeoutError:
            raise _too_many() from None
        finally:
            waiting.release()
        return slot

    def release(self, slot: Slot) -> None:
        """Free a slot and wake all waiting callers."""
        slot.release()
        # Callers that start to wait later wait for the next release.
        self._free.set()
        self._free = asyncio.Event()


def _too_many() -> RequestRejected:
    return RequestRejected(
        Code.RATE_LIMITED, "too many requests are in progress; try again in a few seconds"
    )
