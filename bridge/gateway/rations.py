"""How much of snapshots the clients of one address are given. Pure: the clock is passed in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bridge.errors import Code, Refused

if TYPE_CHECKING:
    from bridge.clock import Clock
    from bridge.security.rate_limit import Pace

LEAST: Final = 0.02
"""What a snapshot counts as if it is smaller, in full pages: to look for nothing has a cost too."""


class Rations:
    """Counts in full pages, by address; None is an address that nobody counts."""

    def __init__(self, pace: Pace, clock: Clock) -> None:
        self._pace = pace
        self._clock = clock

    def check(self, address: str | None) -> None:
        """Raises `Refused` where the clients of an address were given all that they may for now."""
        wait = 0.0 if address is None else self._pace.wait(address, self._clock.monotonic(), LEAST)
        if wait:
            raise Refused(
                Code.RATE_LIMITED,
                f"the clients of this address were given many rows; try again in {wait:.1f} s",
            )

    def charge(self, address: str | None, pages: float) -> None:
        """Count what the clients of an address were given."""
        if address is not None:
            self._pace.charge(address, self._clock.monotonic(), max(LEAST, pages))
