"""Pings for all from one timer, on a clock that the tests move."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.clock import ManualClock, ManualTimer
from bridge.gateway.engineio.heartbeat import Heartbeat

if TYPE_CHECKING:
    from collections.abc import Callable


class OneTimerClock(ManualClock):
    """Rejects a second timer at a time."""

    def __init__(self) -> None:
        super().__init__(monotonic=0.0)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> ManualTimer:
        assert not self.timers, "one timer at a time"
        return super().call_later(seconds, callback)

    def advance_to(self, at: float) -> None:
        self.advance(at - self.monotonic())


class One:
    def __init__(self, clock: OneTimerClock, heart: Heartbeat | None = None) -> None:
        self.clock, self.heart = clock, heart
        self.pings: list[float] = []
        self.gone: list[float] = []

    def ping(self) -> None:
        self.pings.append(round(self.clock.monotonic(), 2))
        if self.heart is not None:
            self.heart.schedule(self)  # it answers at once

    def timed_out(self) -> None:
        self.gone.append(round(self.clock.monotonic(), 2))


def heart(clock: OneTimerClock, interval: float = 25, timeout: float = 20) -> Heartbeat:
    return Heartbeat(interval, timeout, clock=clock.monotonic, call_later=clock.call_later)


def near(times: list[float], *expected: float) -> bool:
    return len(times) == len(expected) and all(
        abs(time - due) < 0.2 for time, due in zip(times, expected, strict=True)
    )


def test_who_answers_is_pinged_again_an_interval_later() -> None:
    clock = OneTimerClock()
    it = heart(clock)
    one = One(clock, it)
    it.schedule(one)
    clock.advance_to(80)
    assert near(one.pings, 25, 50, 75)
    assert one.gone == []


def test_who_does_not_answer_is_told_once() -> None:
    clock = OneTimerClock()
    it = heart(clock)
    one = One(clock)
    it.schedule(one)
    clock.advance_to(200)
    assert near(one.pings, 25)
    assert near(one.gone, 45)


def test_an_answer_that_nobody_asked_for_delays_nothing() -> None:
    clock = OneTimerClock()
    it = heart(clock)
    one = One(clock)
    it.schedule(one)
    clock.advance_to(20)
    it.schedule(one)
    clock.advance_to(26)
    assert near(one.pings, 25)


def test_who_is_forgotten_is_left_alone() -> None:
    clock = OneTimerClock()
    it = heart(clock)
    resting, asked = One(clock), One(clock)
    it.schedule(asked)
    clock.advance_to(26)
    it.schedule(resting)
    it.cancel(resting)
    it.cancel(asked)
    it.cancel(One(clock))
    clock.advance_to(200)
    assert (resting.pings, resting.gone, asked.gone) == ([], [], [])


def test_many_that_are_due_together_are_one_beat() -> None:
    clock = OneTimerClock()
    it = heart(clock)
    many = [One(clock, it) for _ in range(1000)]
    for n, one in enumerate(many):
        clock.advance_to(n / 100_000)
        it.schedule(one)
    clock.advance_to(30)
    assert clock.callbacks_run <= 2
    assert all(near(one.pings, 25) for one in many)


def test_a_short_interval_is_not_held_up_by_a_long_timeout() -> None:
    clock = OneTimerClock()
    it = heart(clock, interval=1, timeout=100)
    silent = One(clock)
    it.schedule(silent)
    clock.advance_to(2)
    one = One(clock, it)
    it.schedule(one)
    clock.advance_to(4.5)
    assert near(one.pings, 3, 4.1)


def test_after_stop_nothing_happens() -> None:
    clock = OneTimerClock()
    it = heart(clock)
    one = One(clock)
    it.schedule(one)
    it.stop()
    clock.advance_to(100)
    assert one.pings == []


def test_who_does_not_answer_is_given_up_on_time_whoever_is_pinged_just_before() -> None:
    clock = OneTimerClock()
    it = heart(clock, interval=0.3, timeout=0.2)
    mute, other = One(clock), One(clock, it)
    it.schedule(mute)
    clock.advance_to(0.17)
    it.schedule(other)
    clock.advance_to(1)
    assert other.pings[0] == 0.47
    assert mute.gone == [0.5]
