"""Engine.IO pings for all clients from one timer. No I/O; time is passed in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from bridge.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable

SLACK_SECONDS: Final = 0.05
"""Pings that are due within this time are sent together, which limits the timer to 20 runs per
second while all clients answer. Timeouts are not delayed by it."""

EARLY_SECONDS: Final = 0.001
"""Tolerance for a timer that fires before its time by the clock."""


class HeartbeatTarget(Protocol):
    def ping(self) -> None: ...

    def timed_out(self) -> None:
        """The ping was not answered. The target is not scheduled any more."""


class Heartbeat:
    """Pings each target `interval` seconds after its last answer, and calls its `timed_out` if the
    ping is not answered within `timeout` seconds.
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
        # When each is due. All wait equally long, so insertion order is the order of due times.
        self._idle: dict[HeartbeatTarget, float] = {}
        self._awaiting_pong: dict[HeartbeatTarget, float] = {}
        self._timer: Any = None
        self.round_trip = Histogram()
        """From a ping to its answer; on a poll, with the time until the client polls."""

    def schedule(self, target: HeartbeatTarget) -> None:
        """Start with a target, or continue after its answer. An answer without a ping has no
        effect.
        """
        timeout_at = self._awaiting_pong.pop(target, None)
        if timeout_at is not None:
            self.round_trip.observe(self._clock() - (timeout_at - self._timeout))
        if target not in self._idle:
            self._idle[target] = self._clock() + self._interval
            if len(self._idle) == 1:  # otherwise another target is due earlier
                self._arm()

    def cancel(self, target: HeartbeatTarget) -> None:
        """Stop pinging a target. Unknown targets are ignored."""
        self._idle.pop(target, None)
        self._awaiting_pong.pop(target, None)

    def stop(self) -> None:
        """Cancel all targets and the timer."""
        self._idle.clear()
        self._awaiting_pong.clear()
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._clock()
        waits = [
            max(next(iter(due.values())) - now, minimum)
            for due, minimum in ((self._idle, SLACK_SECONDS), (self._awaiting_pong, EARLY_SECONDS))
            if due
        ]
        if waits:
            self._timer = self._call_later(min(waits), self._run_due)

    def _run_due(self) -> None:
        self._timer = None
        now = self._clock()
        for target in _due(self._awaiting_pong, now + EARLY_SECONDS):
            del self._awaiting_pong[target]
            target.timed_out()
        for target in _due(self._idle, now + SLACK_SECONDS):
            del self._idle[target]
            self._awaiting_pong[target] = now + self._timeout
            target.ping()
        self._arm()


def _due(waiting: dict[HeartbeatTarget, float], now: float) -> list[HeartbeatTarget]:
    due = []
    for target, at in waiting.items():
        if at > now:
            break
        due.append(target)
    return due
