"""Who connects and says nothing, on a clock that the tests move."""

from __future__ import annotations

from bridge.clock import ManualClock
from bridge.gateway.timers import ConnectTimeout


def test_each_is_told_of_when_its_time_is_over() -> None:
    clock = ManualClock(monotonic=0.0)
    told: list[tuple[float, str]] = []
    step = ConnectTimeout(
        45,
        lambda name: told.append((clock.monotonic(), name)),
        clock=clock.monotonic,
        call_later=clock.call_later,
    )
    step.add("a")
    clock.advance(10)
    step.add("b")
    clock.advance(34.9)
    assert told == []
    clock.advance(15.1)
    assert told == [(45, "a"), (55, "b")]


def test_many_share_a_timer_and_a_look() -> None:
    clock = ManualClock(monotonic=0.0)
    told: list[str] = []
    step = ConnectTimeout(45, told.append, clock=clock.monotonic, call_later=clock.call_later)
    for number in range(100):
        step.add(str(number))
        clock.advance(0.01)
    clock.advance(60)
    assert told == [str(number) for number in range(100)]
    assert clock.callbacks_run == 2


def test_when_it_stops_nobody_is_told_of() -> None:
    clock = ManualClock(monotonic=0.0)
    told: list[str] = []
    step = ConnectTimeout(45, told.append, clock=clock.monotonic, call_later=clock.call_later)
    step.add("a")
    step.stop()
    step.stop()
    clock.advance(60)
    assert told == []
    assert clock.timers == []
