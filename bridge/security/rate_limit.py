"""Rate limits by key (GCRA). No I/O; times are monotonic seconds and are passed in."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from bridge.errors import Code, RequestRejected

if TYPE_CHECKING:
    from collections.abc import Hashable

MAX_KEYS: Final = 20_000
"""Maximum number of keys stored, about 4 MB. Beyond it, the key used longest ago is evicted, and
starts again with a full bucket.
"""

ROUNDING: Final = 1e-9
"""Waits below this many seconds are rounding errors of floats and count as none."""


class RateLimiter:
    """A bucket of `burst` tokens per key, refilled at `per_second` tokens per second.

    Stores one number per key: the time at which its bucket is full again. A key with a full bucket
    is evicted. The key None is never limited.
    """

    def __init__(
        self,
        per_second: float,
        burst: float,
        *,
        min_price: float = 0.0,
        reason: str = "too many requests",
        max_keys: int = MAX_KEYS,
    ) -> None:
        """`min_price` is the lowest price of `check` and `charge`; `reason` begins the message of a
        rejection.
        """
        self.per_second = per_second
        self._min_price = min_price
        self._reason = reason
        self._burst = burst
        self._refill_seconds = burst / per_second
        self._max_keys = max_keys
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def acquire(self, key: Hashable | None, now: float, price: float = 1.0) -> float:
        """Take `price` tokens and return 0, or take none and return the seconds to wait for them.
        A price above `burst` takes the whole bucket.
        """
        wait = self.wait(key, now, price)
        if not wait:
            self.charge(key, now, min(price, self._burst))
        return wait

    def wait(self, key: Hashable | None, now: float, price: float = 1.0) -> float:
        """Return what `acquire` would return, and take nothing."""
        if key is None:
            return 0.0
        full_at = max(self._full_at.get(key, now), now)
        needed = min(price / self.per_second, self._refill_seconds)
        wait = full_at + needed - now - self._refill_seconds
        return wait if wait > ROUNDING else 0.0

    def check(self, key: Hashable | None, now: float) -> None:
        """Raise `RequestRejected` unless the bucket holds `min_price` tokens. Takes nothing: for
        work with a price that is known afterwards, and then passed to `charge`.
        """
        wait = self.wait(key, now, self._min_price)
        if wait:
            raise RequestRejected(Code.RATE_LIMITED, f"{self._reason}; try again in {wait:.1f} s")

    def charge(self, key: Hashable | None, now: float, price: float) -> None:
        """Take `price` tokens for work that is done already, even if the bucket holds fewer. The
        debt is bounded by one `burst`.
        """
        if key is None:
            return
        price = max(price, self._min_price)
        full_at = max(self._full_at.get(key, now), now) + price / self.per_second
        self._full_at[key] = min(full_at, now + 2 * self._refill_seconds)
        self._full_at.move_to_end(key)
        self._evict(now)

    def remove(self, key: Hashable) -> None:
        """Forget a key that is no longer used."""
        self._full_at.pop(key, None)

    def _evict(self, now: float) -> None:
        """Evict up to two of the keys used longest ago: more than one call can add."""
        for _ in range(2):
            key, full_at = next(iter(self._full_at.items()))
            if full_at > now and len(self._full_at) <= self._max_keys:
                return
            del self._full_at[key]
            if not self._full_at:
                return
