"""Pings of all clients from one timer, on a manual clock."""

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


class Target:
    """Records its pings and timeouts. With a heartbeat it answers each ping at once."""

    def __init__(self, clock: OneTimerClock, answers: Heartbeat | None = None) -> None:
        self._clock, self._answers = clock, answers
        self.pings: list[float] = []
        self.timeouts: list[float] = []

    def ping(self) -> None:
        self.pings.append(round(self._clock.monotonic(), 2))
        if self._answers is not None:
            self._answers.schedule(self)

    def timed_out(self) -> None:
        self.timeouts.append(round(self._clock.monotonic(), 2))


def heartbeat_on(clock: OneTimerClock, interval: float = 25, timeout: float = 20) -> Heartbeat:
    return Heartbeat(interval, timeout, clock=clock.monotonic, call_later=clock.call_later)


def near(times: list[float], *expected: float) -> bool:
    return len(times) == len(expected) and all(
        abs(time - due) < 0.2 for time, due in zip(times, expected, strict=True)
    )


def test_target_that_answers_is_pinged_again_after_the_interval() -> None:
    clock = OneTimerClock()
    heartbeat = heartbeat_on(clock)
    target = Target(clock, heartbeat)
    heartbeat.schedule(target)
    clock.advance_to(80)
    assert near(target.pings, 25, 50, 75)
    assert target.timeouts == []


def test_target_that_does_not_answer_times_out_once() -> None:
    clock = OneTimerClock()
    heartbeat = heartbeat_on(clock)
    target = Target(clock)
    heartbeat.schedule(target)
    clock.advance_to(200)
    assert near(target.pings, 25)
    assert near(target.timeouts, 45)


def test_answer_without_a_ping_does_not_delay_the_next_ping() -> None:
    clock = OneTimerClock()
    heartbeat = heartbeat_on(clock)
    target = Target(clock)
    heartbeat.schedule(target)
    clock.advance_to(20)
    heartbeat.schedule(target)
    clock.advance_to(26)
    assert near(target.pings, 25)


def test_cancelled_targets_are_neither_pinged_nor_timed_out() -> None:
    clock = OneTimerClock()
    heartbeat = heartbeat_on(clock)
    idle, awaited = Target(clock), Target(clock)
    heartbeat.schedule(awaited)
    clock.advance_to(26)
    heartbeat.schedule(idle)
    heartbeat.cancel(idle)
    heartbeat.cancel(awaited)
    heartbeat.cancel(Target(clock))
    clock.advance_to(200)
    assert (idle.pings, idle.timeouts, awaited.timeouts) == ([], [], [])


def test_pings_that_are_due_within_the_slack_are_sent_by_one_timer_run() -> None:
    clock = OneTimerClock()
    heartbeat = heartbeat_on(clock)
    targets = [Target(clock, heartbeat) for _ in range(1000)]
    for number, target in enumerate(targets):
        clock.advance_to(number / 100_000)
        heartbeat.schedule(target)
    clock.advance_to(30)
    assert clock.callbacks_run <= 2
    assert all(near(target.pings, 25) for target in targets)


def test_long_timeout_does_not_delay_pings_of_a_short_interval() -> None:
    clock = OneTimerClock()
    heartbeat = heartbeat_on(clock, interval=1, timeout=100)
    silent = Target(clock)
    heartbeat.schedule(silent)
    clock.advance_to(2)
    target = Target(clock, heartbeat)
    heartbeat.schedule(target)
    clock.advance_to(4.5)
    assert near(target.pings, 3, 4.1)


def test_stop_cancels_every_ping() -> None:
    clock = OneTimerClock()
    heartbeat = heartbeat_on(clock)
    target = Target(clock)
    heartbeat.schedule(target)
    heartbeat.stop()
    clock.advance_to(100)
    assert target.pings == []


def test_timeout_is_not_delayed_by_the_slack_of_another_ping() -> None:
    clock = OneTimerClock()
    heartbeat = heartbeat_on(clock, interval=0.3, timeout=0.2)
    silent, other = Target(clock), Target(clock, heartbeat)
    heartbeat.schedule(silent)
    clock.advance_to(0.17)
    heartbeat.schedule(other)
    clock.advance_to(1)
    assert other.pings[0] == 0.47
    assert silent.timeouts == [0.5]
