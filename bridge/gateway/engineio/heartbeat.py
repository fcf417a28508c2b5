"""Pings for all clients from one timer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

SLACK_SECONDS: Final = 0.05
"""Who is to be pinged within this time is pinged now, so that the timer runs 20 times a second at
most while all answer. Who doesn't is given up on time."""

EARLY_SECONDS: Final = 0.001
"""How much too early a timer may come, by its own clock."""


class Pinged(Protocol):
    def ping(self) -> None: ...

    def timed_out(self) -> None:
        """It did not answer. It has to be forgotten or to be expected anew."""


class Heartbeat:
    """Pings each one `interval` seconds after it last answered, and tells it if it then doesn't
    answer for `timeout` seconds.
    """

    def __init__(
        self,
        interval: float,
        timeout: float,
        *,
        clock: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], Any],
    ) -> None:
        self._interval = interval
        self._timeout = timeout
        self._clock = clock
        self._call_later = call_later
        # By when they are due: as all wait equally long, the first to come is the first due.
        self._resting: dict[Pinged, float] = {}
        self._asked: dict[Pinged, float] = {}
        self._timer: Any = None

    def expect(self, one: Pinged) -> None:
        """It is there, or has answered; an answer that nobody asked for changes nothing."""
        self._asked.pop(one, None)
        if one not in self._resting:
            self._resting[one] = self._clock() + self._interval
            if len(self._resting) == 1:  # else another is due before it
                self._arm()

    def forget(self, one: Pinged) -> None:
        self._resting.pop(one, None)
        self._asked.pop(one, None)

    def stop(self) -> None:
        self._resting.clear()
        self._asked.clear()
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._clock()
        waits = [
            max(next(iter(due.values())) - now, least)
            for due, least in ((self._resting, SLACK_SECONDS), (self._asked, EARLY_SECONDS))
            if due
        ]
        if waits:
            self._timer = self._call_later(min(waits), self._beat)

    def _beat(self) -> None:
        self._timer = None
        now = self._clock()
        for one in _due(self._asked, now + EARLY_SECONDS):
            del self._asked[one]
            one.timed_out()
        for one in _due(self._resting, now + SLACK_SECONDS):
            del self._resting[one]
            self._asked[one] = now + self._timeout
            one.ping()
        self._arm()


def _due(waiting: dict[Pinged, float], now: float) -> list[Pinged]:
    due = []
    for one, at in waiting.items():
        if at > now:
            break
        due.append(one)
    return due
