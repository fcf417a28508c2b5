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


class HeartbeatTarget(Protocol):
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
        self._idle: dict[HeartbeatTarget, float] = {}
        self._awaiting_pong: dict[HeartbeatTarget, float] = {}
        self._timer: Any = None

    def schedule(self, one: HeartbeatTarget) -> None:
        """It is there, or has answered; an answer that nobody asked for changes nothing."""
        self._awaiting_pong.pop(one, None)
        if one not in self._idle:
            self._idle[one] = self._clock() + self._interval
            if len(self._idle) == 1:  # else another is due before it
                self._arm()

    def cancel(self, one: HeartbeatTarget) -> None:
        self._idle.pop(one, None)
        self._awaiting_pong.pop(one, None)

    def stop(self) -> None:
        self._idle.clear()
        self._awaiting_pong.clear()
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._clock()
        waits = [
            max(next(iter(due.values())) - now, least)
            for due, least in ((self._idle, SLACK_SECONDS), (self._awaiting_pong, EARLY_SECONDS))
            if due
        ]
        if waits:
            self._timer = self._call_later(min(waits), self._run_due)

    def _run_due(self) -> None:
        self._timer = None
        now = self._clock()
        for one in _due(self._awaiting_pong, now + EARLY_SECONDS):
            del self._awaiting_pong[one]
            one.timed_out()
        for one in _due(self._idle, now + SLACK_SECONDS):
            del self._idle[one]
            self._awaiting_pong[one] = now + self._timeout
            one.ping()
        self._arm()


def _due(waiting: dict[HeartbeatTarget, float], now: float) -> list[HeartbeatTarget]:
    due = []
    for one, at in waiting.items():
        if at > now:
            break
        due.append(one)
    return due
