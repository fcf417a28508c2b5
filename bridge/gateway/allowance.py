"""How many requests a client may make. Pure."""

from __future__ import annotations

from dataclasses import dataclass


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
