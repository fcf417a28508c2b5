"""Connections whose clients have not said yet what they want."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Doorstep:
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
            self._timer = self._call_later(self._seconds, self._look)

    def stop(self) -> None:
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        now = self._clock()
        while self._due and self._due[0][0] <= now:
            self._on_due(self._due.popleft()[1])
        if self._due:  # a second's worth of them at once: it is no matter of moments
            self._timer = self._call_later(max(1.0, self._due[0][0] - now), self._look)
