"""`DeadlineTimer` reports names at their times of day, with one timer and on a wall clock that may
step.
"""

from __future__ import annotations

import math

import pytest

from bridge.clock import ManualClock
from bridge.gateway.timers import MAX_DUE_PER_STEP, DeadlineTimer

CLOCK_STEP_NOTICED_SECONDS = 10
"""The bound that a wall clock put forward is noticed within; not taken from the code under test."""


class World:
    """A clock, a `DeadlineTimer` on it, and the names that it reported as due, with their times."""

    def __init__(self) -> None:
        self.clock = ManualClock(wall=1000.0, monotonic=0.0)
        self.due: list[tuple[float, str]] = []
        self.deadlines: DeadlineTimer[str] = DeadlineTimer(
            lambda name: self.due.append((self.clock.wall(), name)),
            clock=self.clock.wall,
            call_later=self.clock.call_later,
        )

    @property
    def names(self) -> list[str]:
        return [name for _, name in self.due]


@pytest.fixture
def world() -> World:
    return World()


def test_names_are_due_in_order_within_a_second_of_their_times(world: World) -> None:
    for name, at in (("c", 1007.5), ("a", 1002.0), ("b", 1002.2)):
        world.deadlines.set(name, at)
    world.clock.advance(20)
    assert world.names == ["a", "b", "c"]
    for (at, _), due in zip(world.due, (1002.0, 1002.2, 1007.5), strict=True):
        assert due <= at <= due + 1


def test_name_with_a_past_time_is_due_in_the_next_step(world: World) -> None:
    world.deadlines.set("a", 900)
    assert world.due == []  # not within the call
    world.clock.advance(0)
    assert world.due == [(1000, "a")]


def test_later_time_replaces_the_earlier_one(world: World) -> None:
    world.deadlines.set("a", 1002)
    world.deadlines.set("a", 1010)
    world.clock.advance(5)
    assert world.due == []
    world.clock.advance(5)
    assert world.due == [(1010, "a")]


def test_earlier_time_replaces_the_later_one(world: World) -> None:
    world.deadlines.set("a", 1500)
    world.deadlines.set("a", 1002)
    world.clock.advance(600)
    assert world.due == [(1002, "a")]


def test_cancelled_name_is_not_due(world: World) -> None:
    world.deadlines.set("a", 1002)
    world.deadlines.set("b", 1002)
    world.deadlines.cancel("a")
    world.deadlines.cancel("unknown")
    world.clock.advance(10)
    assert world.due == [(1002, "b")]
    assert len(world.deadlines) == 0


def test_one_timer_serves_a_thousand_names(world: World) -> None:
    for number in range(1000):
        world.deadlines.set(f"n{number}", 1001 + number % 50)
    assert len(world.clock.timers) == 1
    world.clock.advance(25)
    assert len(world.clock.timers) == 1
    world.clock.advance(100)
    assert len(world.due) == 1000
    assert world.clock.timers == []


def test_names_due_together_are_reported_in_portions(world: World) -> None:
    for number in range(MAX_DUE_PER_STEP * 2 + 1):
        world.deadlines.set(f"n{number}", 1001)
    steps = []
    world.clock.advance(0.999)
    while len(world.due) < MAX_DUE_PER_STEP * 2 + 1:
        before = len(world.due)
        [timer] = world.clock.timers
        timer.cancel()
        world.clock.step_wall(max(0, 1001 - world.clock.wall()))
        timer.callback()
        steps.append(len(world.due) - before)
    assert steps == [MAX_DUE_PER_STEP, MAX_DUE_PER_STEP, 1]


def test_wall_clock_put_forward_is_noticed_within_ten_seconds(world: World) -> None:
    world.deadlines.set("a", 5000)
    world.clock.advance(1)
    world.clock.step_wall(5000)
    world.clock.advance(CLOCK_STEP_NOTICED_SECONDS)
    assert world.names == ["a"]


def test_wall_clock_put_back_delays_a_deadline_until_its_time(world: World) -> None:
    world.deadlines.set("a", 1010)
    world.clock.step_wall(-500)
    world.clock.advance(400)
    assert world.due == []
    world.clock.advance(111)
    assert world.due == [(1010, "a")]


def test_name_can_be_set_again_by_its_callback(world: World) -> None:
    def again(name: str) -> None:
        world.due.append((world.clock.wall(), name))
        if len(world.due) < 3:
            world.deadlines.set(name, world.clock.wall() + 5)

    world.deadlines._on_due = again
    world.deadlines.set("a", 1001)
    world.clock.advance(100)
    assert [at for at, _ in world.due] == [1001, 1006, 1011]


def test_error_of_a_callback_does_not_stop_later_deadlines(world: World) -> None:
    def fail(name: str) -> None:
        world.due.append((world.clock.wall(), name))
        raise RuntimeError(name)

    world.deadlines._on_due = fail
    world.deadlines.set("a", 1001)
    world.deadlines.set("b", 1002)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            world.clock.advance(5)
    assert world.names == ["a", "b"]


def test_stopped_timer_reports_no_name(world: World) -> None:
    world.deadlines.set("a", 1001)
    world.deadlines.stop()
    world.deadlines.stop()
    world.clock.advance(100)
    assert world.due == []


# -- by the clock of the event loop


def test_deadlines_by_a_monotonic_clock_need_no_clock_checks() -> None:
    clock = ManualClock(monotonic=0.0)
    due: list[tuple[float, str]] = []
    timer: DeadlineTimer[str] = DeadlineTimer(
        lambda name: due.append((clock.monotonic(), name)),
        clock=clock.monotonic,
        call_later=clock.call_later,
        check_seconds=math.inf,
    )
    timer.set("a", 45)
    clock.advance(10)
    timer.set("b", 55)
    clock.advance(34.9)
    assert (due, clock.callbacks_run) == ([], 0)
    clock.advance(15.1)
    assert due == [(45, "a"), (55, "b")]
    assert clock.callbacks_run == 2


def test_deadlines_within_a_second_share_a_timer() -> None:
    clock = ManualClock(monotonic=0.0)
    due: list[str] = []
    timer: DeadlineTimer[str] = DeadlineTimer(
        due.append, clock=clock.monotonic, call_later=clock.call_later, check_seconds=math.inf
    )
    for number in range(100):
        timer.set(str(number), clock.monotonic() + 45)
        clock.advance(0.01)
    clock.advance(60)
    assert due == [str(number) for number in range(100)]
    assert clock.callbacks_run == 2
