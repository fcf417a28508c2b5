"""What is due at a time of day, for many, with one timer."""

from __future__ import annotations

import heapq
import math
from collections import deque
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable


CLOCK_CHECK_SECONDS: Final = 10.0
"""The clock is looked at that often, in case it was put forward."""

MAX_DUE_PER_STEP: Final = 100
"""Told in one step of the loop; the others in the next ones."""


class DeadlineTimer:
    """Tells of each name when its time has come, at most a second late.

    A wheel of seconds: to set one or to forget one costs the same however many there are.
    """

    def __init__(
        self,
        on_due: Callable[[str], None],
        *,
        wall: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], Any],
    ) -> None:
        """`wall` gives Unix seconds. `on_due` may set the name again."""
        self._on_due = on_due
        self._wall = wall
        self._call_later = call_later
        self._slots: dict[int, dict[str, None]] = {}  # by the second that they end with
        self._order: list[int] = []  # a heap of the same seconds
        self._slot_of: dict[str, int] = {}
        self._timer: Any = None
        self._armed = math.inf

    def __len__(self) -> int:
        return len(self._slot_of)

    def set(self, name: str, at: float) -> None:
        """It is due then, Unix seconds, and not when it was before."""
        self.cancel(name)
        slot = math.ceil(at)
        names = self._slots.get(slot)
        if names is None:
            names = self._slots[slot] = {}
            heapq.heappush(self._order, slot)
        names[name] = None
        self._slot_of[name] = slot
        if slot < self._armed:
            self._arm()

    def cancel(self, name: str) -> None:
        slot = self._slot_of.pop(name, None)
        if slot is not None:
            del self._slots[slot][name]

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._slots.clear()
        self._order.clear()
        self._slot_of.clear()
        self._armed = math.inf

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._order:
            self._armed = math.inf
            return
        self._armed = self._order[0]
        wait = min(max(0.0, self._armed - self._wall()), CLOCK_CHECK_SECONDS)
        self._timer = self._call_later(wait, self._run_due)

    def _run_due(self) -> None:
        left, now = MAX_DUE_PER_STEP, self._wall()
        try:
            while left and self._order and self._order[0] <= now:
                names = self._slots[self._order[0]]
                if not names:
                    del self._slots[heapq.heappop(self._order)]
                    continue
                left -= 1
                name = next(iter(names))
                self.cancel(name)
                self._on_due(name)
        finally:
            self._arm()


class ConnectTimeout:
    """Tells, `seconds` after it came, of each one that came. One timer for all."""

    def __init__(
        self,
        seconds: float,
        on_due: Callable[[str], None],
        *,
        clock: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], Any],
    ) -> None:
        """`clock` is that of `call_later`, in seconds."""
        self._seconds = seconds
        self._on_due = on_due
        self._clock = clock
        self._call_later = call_later
        self._due: deque[tuple[float, str]] = deque()  # as all wait equally long, in order
        self._timer: Any = None

    def add(self, name: str) -> None:
        self._due.append((self._clock() + self._seconds, name))
        if self._timer is None:
            self._timer = self._call_later(self._seconds, self._run_due)

    def stop(self) -> None:
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run_due(self) -> None:
        self._timer = None
        now = self._clock()
        while self._due and self._due[0][0] <= now:
            self._on_due(self._due.popleft()[1])
        if self._due:  # a second's worth of them at once: it is no matter of moments
            self._timer = self._call_later(max(1.0, self._due[0][0] - now), self._run_due)
