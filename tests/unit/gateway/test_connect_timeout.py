"""Who connects and says nothing, on a clock that the tests move."""

from __future__ import annotations

from bridge.gateway.timers import ConnectTimeout
from tests.unit.gateway.engineio.test_heartbeat import Clock


def test_each_is_told_of_when_its_time_is_over() -> None:
    clock = Clock()
    told: list[tuple[float, str]] = []
    step = ConnectTimeout(
        45, lambda name: told.append((clock.now, name)), clock=clock, call_later=clock.call_later
    )
    step.add("a")
    clock.run(10)
    step.add("b")
    clock.run(44.9)
    assert told == []
    clock.run(60)
    assert told == [(45, "a"), (55, "b")]


def test_many_share_a_timer_and_a_look() -> None:
    clock = Clock()
    told: list[str] = []
    step = ConnectTimeout(45, told.append, clock=clock, call_later=clock.call_later)
    for number in range(100):
        step.add(str(number))
        clock.run(clock.now + 0.01)
    clock.run(60)
    assert told == [str(number) for number in range(100)]
    assert clock.fired == 2


def test_when_it_stops_nobody_is_told_of() -> None:
    clock = Clock()
    told: list[str] = []
    step = ConnectTimeout(45, told.append, clock=clock, call_later=clock.call_later)
    step.add("a")
    step.stop()
    step.stop()
    clock.run(60)
    assert told == []
    assert clock.timer is None
