from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from bridge.gateway.timers import CLOCK_CHECK_SECONDS, MAX_DUE_PER_STEP, DeadlineTimer
from tests.unit.gateway.engineio.test_heartbeat import Clock

if TYPE_CHECKING:
    from collections.abc import Callable


class Timer:
    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at, self.call, self.cancelled = at, call, False

    def cancel(self) -> None:
        self.cancelled = True


class World:
    """A clock, the timers of a loop, and who was told."""

    def __init__(self) -> None:
        self.now = 1000.0  # Unix seconds
        self.loop = 0.0
        self.timers: list[Timer] = []
        self.told: list[tuple[float, str]] = []
        self.deadlines: DeadlineTimer[str] = DeadlineTimer(
            lambda name: self.told.append((self.now, name)),
            clock=lambda: self.now,
            call_later=self.call_later,
        )

    def call_later(self, seconds: float, call: Callable[[], None]) -> Timer:
        assert seconds >= 0
        timer = Timer(self.loop + seconds, call)
        self.timers.append(timer)
        return timer

    @property
    def pending(self) -> list[Timer]:
        self.timers = [timer for timer in self.timers if not timer.cancelled]
        return self.timers

    def pass_by(self, seconds: float) -> None:
        """So much time passes, and timers run at theirs."""
        until = self.loop + seconds
        while due := [timer for timer in self.pending if timer.at <= until]:
            timer = min(due, key=lambda timer: timer.at)
            self.timers.remove(timer)
            self.now += timer.at - self.loop
            self.loop = timer.at
            timer.call()
        self.now += until - self.loop
        self.loop = until


@pytest.fixture
def world() -> World:
    return World()


def test_each_is_told_of_within_a_second_of_its_time(world: World) -> None:
    for name, at in (("c", 1007.5), ("a", 1002.0), ("b", 1002.2)):
        world.deadlines.set(name, at)
    world.pass_by(20)
    assert [name for _, name in world.told] == ["a", "b", "c"]
    for (at, _), due in zip(world.told, (1002.0, 1002.2, 1007.5), strict=True):
        assert due <= at <= due + 1


def test_what_is_due_already_is_told_at_once(world: World) -> None:
    world.deadlines.set("a", 900)
    assert world.told == []  # not within the call
    world.pass_by(0)
    assert world.told == [(1000, "a")]


def test_a_later_time_replaces_the_one_before(world: World) -> None:
    world.deadlines.set("a", 1002)
    world.deadlines.set("a", 1010)
    world.pass_by(5)
    assert world.told == []
    world.pass_by(5)
    assert world.told == [(1010, "a")]


def test_an_earlier_time_replaces_the_one_before(world: World) -> None:
    world.deadlines.set("a", 1500)
    world.deadlines.set("a", 1002)
    world.pass_by(600)
    assert world.told == [(1002, "a")]


def test_who_is_forgotten_is_not_told_of(world: World) -> None:
    world.deadlines.set("a", 1002)
    world.deadlines.set("b", 1002)
    world.deadlines.cancel("a")
    world.deadlines.cancel("nobody")
    world.pass_by(10)
    assert world.told == [(1002, "b")]
    assert len(world.deadlines) == 0


def test_there_is_one_timer_however_many_there_are(world: World) -> None:
    for number in range(1000):
        world.deadlines.set(f"n{number}", 1001 + number % 50)
    assert len(world.pending) == 1
    world.pass_by(25)
    assert len(world.pending) == 1
    world.pass_by(100)
    assert len(world.told) == 1000
    assert world.pending == []


def test_many_at_once_are_told_in_portions(world: World) -> None:
    for number in range(MAX_DUE_PER_STEP * 2 + 1):
        world.deadlines.set(f"n{number}", 1001)
    steps = []
    world.pass_by(0.999)
    while len(world.told) < MAX_DUE_PER_STEP * 2 + 1:
        before = len(world.told)
        [timer] = world.pending
        world.timers.remove(timer)
        world.now = max(world.now, 1001)
        timer.call()
        steps.append(len(world.told) - before)
    assert steps == [MAX_DUE_PER_STEP, MAX_DUE_PER_STEP, 1]


def test_a_clock_that_is_put_forward_is_noticed(world: World) -> None:
    world.deadlines.set("a", 5000)
    world.pass_by(1)
    world.now = 6000
    world.pass_by(CLOCK_CHECK_SECONDS)
    assert [name for _, name in world.told] == ["a"]


def test_a_clock_that_is_put_back_tells_nobody_too_early(world: World) -> None:
    world.deadlines.set("a", 1010)
    world.now = 500
    world.pass_by(400)
    assert world.told == []
    world.pass_by(111)
    assert world.told == [(1010, "a")]


def test_who_is_told_of_may_be_set_again(world: World) -> None:
    def again(name: str) -> None:
        world.told.append((world.now, name))
        if len(world.told) < 3:
            world.deadlines.set(name, world.now + 5)

    world.deadlines._on_due = again
    world.deadlines.set("a", 1001)
    world.pass_by(100)
    assert [at for at, _ in world.told] == [1001, 1006, 1011]


def test_a_fault_of_one_does_not_stop_the_clock_for_others(world: World) -> None:
    def fail(name: str) -> None:
        world.told.append((world.now, name))
        raise RuntimeError(name)

    world.deadlines._on_due = fail
    world.deadlines.set("a", 1001)
    world.deadlines.set("b", 1002)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            world.pass_by(5)
    assert [name for _, name in world.told] == ["a", "b"]


def test_after_the_end_nobody_is_told_of(world: World) -> None:
    world.deadlines.set("a", 1001)
    world.deadlines.stop()
    world.deadlines.stop()
    world.pass_by(100)
    assert world.told == []


# -- by the clock of the event loop


def test_deadlines_by_a_clock_that_is_never_stepped_need_no_checks() -> None:
    clock = Clock()
    told: list[tuple[float, str]] = []
    timer: DeadlineTimer[str] = DeadlineTimer(
        lambda name: told.append((clock.now, name)),
        clock=clock,
        call_later=clock.call_later,
        check_seconds=math.inf,
    )
    timer.set("a", 45)
    clock.run(10)
    timer.set("b", 55)
    clock.run(44.9)
    assert (told, clock.fired) == ([], 0)
    clock.run(60)
    assert told == [(45, "a"), (55, "b")]
    assert clock.fired == 2


def test_deadlines_within_a_second_share_a_timer() -> None:
    clock = Clock()
    told: list[str] = []
    timer: DeadlineTimer[str] = DeadlineTimer(
        told.append, clock=clock, call_later=clock.call_later, check_seconds=math.inf
    )
    for number in range(100):
        timer.set(str(number), clock.now + 45)
        clock.run(clock.now + 0.01)
    clock.run(60)
    assert told == [str(number) for number in range(100)]
    assert clock.fired == 2


def test_stopped_timer_calls_back_no_more() -> None:
    clock = Clock()
    told: list[str] = []
    timer: DeadlineTimer[str] = DeadlineTimer(
        told.append, clock=clock, call_later=clock.call_later, check_seconds=math.inf
    )
    timer.set("a", 45)
    timer.stop()
    timer.stop()
    clock.run(60)
    assert told == []
    assert clock.timer is None
