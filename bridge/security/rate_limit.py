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
        self._burst = burst
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
            self.charge(key, now, min(price, self._burst))
        return wait

    def charge(self, key: Hashable, now: float, price: float) -> None:
        """Count what was done already, whether or not `key` might: it then waits the longer, but
        never longer than it takes to fill the bucket twice.
        """
        full_at = max(self._full_at.get(key, now), now) + price * self._each
        self._full_at[key] = min(full_at, now + 2 * self._span)
        self._full_at.move_to_end(key)
        self._forget(now)

    def wait(self, key: Hashable, now: float, price: float = 1.0) -> float:
        """What `take` would give. Counts nothing."""
        full_at = max(self._full_at.get(key, now), now)
        wait = full_at + min(price * self._each, self._span) - now - self._span
        return wait if wait > ROUNDING else 0.0

    def _forget(self, now: float) -> None:
        """Two of those that are first in line, so that they go faster than they come."""
        for _ in range(2):
            key, full_at = next(iter(self._full_at.items()))
            if full_at > now and len(self._full_at) <= self._most:
                return
            del self._full_at[key]
            if not self._full_at:
                return
