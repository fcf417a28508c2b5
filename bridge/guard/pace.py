"""How often each of many may do something. Pure; times are monotonic seconds."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Hashable

MOST: Final = 20_000
"""How many are remembered, about 4 MB. Past it, those who asked longest ago begin anew."""

ROUNDING: Final = 1e-9
"""Seconds that are none."""


class Pace:
    """A bucket of `burst` for each key, which is filled again at `per_second`.

    Remembers one number per key: when its bucket is full again. Then it is forgotten.
    """

    def __init__(self, per_second: float, burst: float, *, most: int = MOST) -> None:
        self._each = 1 / per_second
        self._span = burst / per_second
        self._most = most
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: Hashable, now: float, price: float = 1.0) -> float:
        """0 if `key` may; it is counted then, as `price`. Else the seconds until it may, and
        nothing was counted. What is dearer than the whole bucket takes all of it.
        """
        wait = self.wait(key, now, price)
        if not wait:
            self._full_at[key] = self._after(key, now, price)
            self._full_at.move_to_end(key)
            self._forget(now)
        return wait

    def wait(self, key: Hashable, now: float, price: float = 1.0) -> float:
        """What `take` would give. Counts nothing."""
        wait = self._after(key, now, price) - now - self._span
        return wait if wait > ROUNDING else 0.0

    def _after(self, key: Hashable, now: float, price: float) -> float:
        """When the bucket is full again after `price` was taken out of it."""
        full_at = max(self._full_at.get(key, now), now)
        return full_at + min(price * self._each, self._span)

    def _forget(self, now: float) -> None:
        """Two of those that are first in line, so that they go faster than they come."""
        for _ in range(2):
            key, full_at = next(iter(self._full_at.items()))
            if full_at > now and len(self._full_at) <= self._most:
                return
            del self._full_at[key]
            if not self._full_at:
                return
