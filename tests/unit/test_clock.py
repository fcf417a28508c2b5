"""`ManualClock` passes time as a system's clocks and an event loop's timers do."""

from __future__ import annotations

from functools import partial

import pytest

from bridge.clock import ManualClock


def test_manual_clock_stands_still_until_it_is_advanced() -> None:
    clock = ManualClock(wall=500.0, monotonic=7.0)
    assert (clock.wall(), clock.monotonic()) == (500.0, 7.0)
    assert (clock.wall(), clock.monotonic()) == (500.0, 7.0)
    clock.advance(2.5)
    assert (clock.wall(), clock.monotonic()) == (502.5, 9.5)


@pytest.mark.parametrize("step", [3600.0, -3600.0])
def test_manual_clock_steps_the_wall_clock_alone(step: float) -> None:
    clock = ManualClock(wall=5000.0, monotonic=7.0)
    clock.step_wall(step)
    assert (clock.wall(), clock.monotonic()) == (5000.0 + step, 7.0)


def test_manual_clock_rejects_negative_times() -> None:
    clock = ManualClock()
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)
    with pytest.raises(ValueError, match="in the past"):
        clock.call_later(-1, lambda: None)


def test_timers_run_in_order_at_their_own_times() -> None:
    clock = ManualClock(monotonic=0.0)
    runs: list[tuple[str, float]] = []

    def run(name: str) -> None:
        runs.append((name, clock.monotonic()))

    for name, seconds in (("c", 3.0), ("a", 1.0), ("b", 1.5), ("late", 9.0)):
        clock.call_later(seconds, partial(run, name))
    clock.advance(0)
    assert runs == []
    clock.advance(5)
    assert runs == [("a", 1.0), ("b", 1.5), ("c", 3.0)]
    assert clock.monotonic() == 5.0
    assert (clock.callbacks_run, len(clock.timers)) == (3, 1)


def test_timer_set_by_a_callback_runs_within_the_same_advance() -> None:
    clock = ManualClock(monotonic=0.0)
    runs: list[float] = []

    def tick() -> None:
        runs.append(clock.monotonic())
        clock.call_later(2, tick)

    clock.call_later(2, tick)
    clock.advance(7)
    assert runs == [2.0, 4.0, 6.0]


def test_cancelled_timer_does_not_run() -> None:
    clock = ManualClock()
    runs: list[str] = []
    timer = clock.call_later(1, lambda: runs.append("run"))
    timer.cancel()
    timer.cancel()
    clock.advance(5)
    assert runs == []
    assert clock.timers == []


def test_error_of_a_callback_leaves_the_later_timers_pending() -> None:
    clock = ManualClock(monotonic=0.0)
    runs: list[str] = []

    def fail() -> None:
        raise RuntimeError("the callback's")

    clock.call_later(1, fail)
    clock.call_later(2, lambda: runs.append("later"))
    with pytest.raises(RuntimeError, match="the callback's"):
        clock.advance(5)
    assert clock.monotonic() == 1.0
    clock.advance(1)
    assert runs == ["later"]
