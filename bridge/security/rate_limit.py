"""How often each of many may do something. Pure; times are monotonic seconds."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bridge.errors import Code, RequestRejected

if TYPE_CHECKING:
    from collections.abc import Hashable

    from bridge.clock import Clock

MAX_KEYS: Final = 20_000
"""How many are remembered, about 4 MB. Past it, those who asked longest ago begin anew."""

ROUNDING: Final = 1e-9
"""Seconds that are none."""


class RateLimiter:
    """A bucket of `burst` for each key, which is filled again at `per_second`.

    Remembers one number per key: when its bucket is full again. Then it is forgotten.
    """

    def __init__(self, per_second: float, burst: float, *, most: int = MAX_KEYS) -> None:
        self._each = 1 / per_second
        self._burst = burst
        self._span = burst / per_second
        self._most = most
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def acquire(self, key: Hashable, now: float, price: float = 1.0) -> float:
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
        self._prune(now)

    def wait(self, key: Hashable, now: float, price: float = 1.0) -> float:
        """What `take` would give. Counts nothing."""
        full_at = max(self._full_at.get(key, now), now)
        wait = full_at + min(price * self._each, self._span) - now - self._span
        return wait if wait > ROUNDING else 0.0

    def _prune(self, now: float) -> None:
        """Two of those that are first in line, so that they go faster than they come."""
        for _ in range(2):
            key, full_at = next(iter(self._full_at.items()))
            if full_at > now and len(self._full_at) <= self._most:
                return
            del self._full_at[key]
            if not self._full_at:
                return


@dataclass(slots=True)
class Allowance:
    """A bucket of `burst` requests that is filled again at `per_second`. Full at first."""

    per_second: float
    burst: float
    left: float
    at: float

    @classmethod
    def full(cls, per_second: float, burst: float, now: float) -> Allowance:
        return cls(per_second, burst, burst, now)

    def take(self, now: float) -> bool:
        """Whether one more request may be made now, in monotonic seconds. If so, it counts."""
        self.left = min(self.burst, self.left + (now - self.at) * self.per_second)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


MIN_PAGES: Final = 0.02
"""What a snapshot counts as if it is smaller, in full pages: to look for nothing has a cost too."""


class SnapshotQuota:
    """Counts in full pages, by address; None is an address that nobody counts."""

    def __init__(self, pace: RateLimiter, clock: Clock) -> None:
        self._pace = pace
        self._clock = clock

    def check(self, address: str | None) -> None:
        """Raises `RequestRejected` if the quota of an address is used up."""
        wait = (
            0.0 if address is None else self._pace.wait(address, self._clock.monotonic(), MIN_PAGES)
        )
        if wait:
            raise RequestRejected(
                Code.RATE_LIMITED,
                f"the clients of this address were given many rows; try again in {wait:.1f} s",
            )

    def charge(self, address: str | None, pages: float) -> None:
        """Count what the clients of an address were given."""
        if address is not None:
            self._pace.charge(address, self._clock.monotonic(), max(MIN_PAGES, pages))
