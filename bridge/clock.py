"""Clocks that are passed in, so that a test controls the time of the parts it drives."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock(Protocol):
    def monotonic(self) -> float:
        """Return seconds that never decrease."""
        ...

    def wall(self) -> float:
        """Return Unix seconds. They may be wrong, and may step in both directions."""
        ...


class SystemClock:
    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()


class ManualTimer:
    """A callback that a `ManualClock` runs at `at`, in monotonic seconds."""

    __slots__ = ("_clock", "at", "callback")

    def __init__(self, clock: ManualClock, at: float, callback: Callable[[], object]) -> None:
        self._clock = clock
        self.at = at
        self.callback = callback

    def cancel(self) -> None:
        """Drop the callback. Has no effect after it has run."""
        if self in self._clock.timers:
            self._clock.timers.remove(self)


class ManualClock:
    """A clock for tests: its time passes only in `advance`, which also runs the timers due.

    `call_later` has the signature of an event loop's, for parts that take one. Both clocks read
    whole seconds at the start, in floats.
    """

    def __init__(self, *, wall: float = 1_767_603_600.0, monotonic: float = 1000.0) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self.timers: list[ManualTimer] = []
        """Pending timers, in the order of their creation."""
        self.callbacks_run = 0

    def monotonic(self) -> float:
        return self._monotonic

    def wall(self) -> float:
        return self._wall

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on both clocks; run each timer that becomes due, at its own time.

        Timers run in the order of their times, also those that a callback creates. `advance(0)`
        runs what is due now. An error of a callback is raised, with the clocks at that timer's time
        and the later timers pending. Raises `ValueError` if `seconds` is negative.
        """
        if seconds < 0:
            raise ValueError("a monotonic clock does not go back; see `step_wall`")
        until = self._monotonic + seconds
        while due := [timer for timer in self.timers if timer.at <= until]:
            timer = min(due, key=lambda timer: timer.at)
            self.timers.remove(timer)
            self._pass_until(max(timer.at, self._monotonic))
            self.callbacks_run += 1
            timer.callback()
        self._pass_until(until)

    def step_wall(self, seconds: float) -> None:
        """Step the wall clock alone, as a correction of the system's time does; may be negative."""
        self._wall += seconds

    def call_later(self, seconds: float, callback: Callable[[], object]) -> ManualTimer:
        """Run `callback` in `advance`, `seconds` from now. Raises `ValueError` if negative."""
        if seconds < 0:
            raise ValueError("a timer can't be set in the past")
        timer = ManualTimer(self, self._monotonic + seconds, callback)
        self.timers.append(timer)
        return timer

    def _pass_until(self, until: float) -> None:
        self._wall += until - self._monotonic
        self._monotonic = until


def timestamp(unix: float) -> str:
    """Return `unix` seconds as RFC 3339 in UTC with milliseconds and `Z`."""
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


FUTURE_SECONDS = 86_400.0
"""How far in the future a row may be dated to count as written now: clocks differ, and a column
without a time zone may be local."""


def is_future(value: object, wall: float) -> bool:
    """Return whether a timestamp of a row (`infinity` too) can't be the time of a write so far."""
    if not isinstance(value, str):
        return False
    at = unix(value)
    return at is None or at > wall + FUTURE_SECONDS


def unix(timestamp: str) -> float | None:
    """Return the Unix seconds of an RFC 3339 timestamp, or None if it is not one (`infinity`)."""
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
