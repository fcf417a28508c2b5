"""One timer for the deadlines of many keys."""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

CLOCK_CHECK_SECONDS: Final = 10.0
"""Longest wait of a timer by the wall clock, which may be stepped forward meanwhile."""

MAX_DUE_PER_STEP: Final = 100
"""Deadlines handled in one iteration of the event loop; the others follow in the next ones."""

DeadlineKey = TypeVar("DeadlineKey")


class DeadlineTimer(Generic[DeadlineKey]):
    """Calls back for each key when its deadline has passed, at most a second late.

    A timer wheel with slots of one second: setting and cancelling a deadline cost the same
    whatever their number.
    """

    def __init__(
        self,
        on_due: Callable[[DeadlineKey], None],
        *,
        clock: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], Any],
        check_seconds: float = CLOCK_CHECK_SECONDS,
    ) -> None:
        """Deadlines are seconds of `clock`, which is read at least every `check_seconds`: pass
        `math.inf` for the clock of the event loop, which is never stepped. `on_due` may set the
        deadline of its key again.
        """
        self._on_due = on_due
        self._clock = clock
        self._call_later = call_later
        self._check_seconds = check_seconds
        self._slots: dict[int, dict[DeadlineKey, None]] = {}  # by the second at which they end
        self._order: list[int] = []  # a heap of these seconds
        self._slot_of: dict[DeadlineKey, int] = {}
        self._timer: Any = None
        self._armed = math.inf

    def __len__(self) -> int:
        return len(self._slot_of)

    def set(self, key: DeadlineKey, at: float) -> None:
        """Set the deadline of a key, in place of its earlier one."""
        self.cancel(key)
        slot = math.ceil(at)
        keys = self._slots.get(slot)
        if keys is None:
            keys = self._slots[slot] = {}
            heapq.heappush(self._order, slot)
        keys[key] = None
        self._slot_of[key] = slot
        if slot < self._armed:
            self._arm()

    def cancel(self, key: DeadlineKey) -> None:
        slot = self._slot_of.pop(key, None)
        if slot is not None:
            del self._slots[slot][key]

    def stop(self) -> None:
        """Cancel all deadlines."""
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
        wait = min(max(0.0, self._armed - self._clock()), self._check_seconds)
        self._timer = self._call_later(wait, self._run_due)

    def _run_due(self) -> None:
        left, now = MAX_DUE_PER_STEP, self._clock()
        try:
            while left and self._order and self._order[0] <= now:
                keys = self._slots[self._order[0]]
                if not keys:
                    del self._slots[heapq.heappop(self._order)]
                    continue
                left -= 1
                key = next(iter(keys))
                self.cancel(key)
                self._on_due(key)
        finally:
            self._arm()
