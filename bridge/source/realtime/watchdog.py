"""Telling a quiet stream from a mute one.

A joined channel can be deaf for hours. The table's newest row is compared with what the stream has
shown: a newer row that does not come within the grace, while nothing else comes either, means mute.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.errors import TableUnreadableError
from bridge.source.realtime.disconnects import SubscriptionEnded

if TYPE_CHECKING:
    from bridge.changes import Json
    from bridge.source.base import Table

SILENCE_SECONDS = 300.0
"""Without an `updated_at` nothing tells quiet from mute: after so long a silence, a new client."""


@dataclass(frozen=True, slots=True)
class WatchdogOptions:
    """Times are seconds."""

    updated_at: str | None
    """Column that changes with every write; None: the table has none."""
    interval: float
    """Between two reads of the newest row."""
    grace: float
    """For which the stream may lag behind the table."""


class StreamWatchdog:
    """One session's watch. Times are seconds of the monotonic clock."""

    def __init__(self, options: WatchdogOptions, table: Table) -> None:
        self._options = options
        self._table = table
        self._column = options.updated_at
        self._due = 0.0
        self._shown: Json = None  # the greatest `updated_at` that the stream needn't show any more
        self._based = False
        self._waiting: tuple[Json, float, int] | None = None  # what for, since when, at how many
        self.arrivals = 0
        self.proof_at: float | None = None  # of the newest arrival

    def arrived(self, updated_at: Json, now: float) -> None:
        """The stream showed a change."""
        self.arrivals += 1
        self.proof_at = now
        if updated_at is not None and _later(updated_at, self._shown):
            self._shown = updated_at

    async def check(self, now: float) -> bool:
        """Look at the table if it is time. True: the stream is proven to be up to date.

        Raises `Ended` when the stream is mute.
        """
        if now < self._due:
            return False
        self._due = now + self._options.interval
        if self._column is None:
            if self.proof_at is None:
                self.proof_at = now
            if now - self.proof_at > SILENCE_SECONDS:
                raise SubscriptionEnded(f"nothing came for {SILENCE_SECONDS:g} s; subscribing anew")
            return False
        try:
            # Bounded, since nothing else of the session is noticed meanwhile.
            async with asyncio.timeout(self._options.interval):
                newest = await self._table.newest()
        except (TableUnreadableError, TimeoutError):
            return False  # reconcile reads the same table, and says why it can't
        at = newest[self._column] if newest is not None else None
        if not self._based:
            self._based = True
            if at is not None and _later(at, self._shown):
                self._shown = at  # before the stream's time; the pass over the table reads it
        return self._compare(at, now)

    def _compare(self, at: Json, now: float) -> bool:
        if at is None or not _later(at, self._shown):
            self._waiting = None
            return True
        if self._waiting is None or self._waiting[2] != self.arrivals:
            self._waiting = (at, now, self.arrivals)
            self._due = min(self._due, now + self._options.grace)
            return False
        _, since, _ = self._waiting
        if now - since >= self._options.grace:
            raise SubscriptionEnded(
                f"mute: the table has a row of {at}, the stream has shown nothing later than "
                f"{self._shown} for {now - since:.1f} s"
            )
        return False


def _later(a: Json, b: Json) -> bool:
    if b is None:
        return True
    if isinstance(a, str) and isinstance(b, str):
        return a.rstrip("Z") > b.rstrip("Z")
    try:
        return bool(a > b)
    except TypeError:
        return False
