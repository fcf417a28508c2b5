"""Detects a mute stream: one that delivers nothing although its table changes.

A joined channel can deliver nothing for hours. The table's newest row is compared with the changes
received: if the stream delivers neither a newer row within the grace nor any other change, it is
mute and has to be resubscribed. So it is if scans found changed rows that it did not deliver,
while it delivered nothing else. Times in the future decide nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge import clock as clocks
from bridge.errors import TableUnreadableError
from bridge.source.realtime.disconnects import MuteStreamError, SubscriptionEnded

if TYPE_CHECKING:
    from bridge.changes import Json
    from bridge.clock import Clock
    from bridge.source.base import Table

SILENCE_SECONDS = 300.0
"""Without an `updated_at` column the rows cannot be compared: after so long without a change, the
stream is resubscribed.
"""


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
    """Watchdog of one session. Times are seconds of the monotonic clock."""

    def __init__(self, options: WatchdogOptions, table: Table, clock: Clock | None = None) -> None:
        """`clock`: for the time of day, with which times of rows are compared."""
        self._options = options
        self._clock = clock or clocks.SystemClock()
        self._table = table
        self._column = options.updated_at
        self._due = 0.0
        self._delivered: Json = None  # the greatest `updated_at` received, or older than the stream
        self._has_baseline = False
        # The awaited `updated_at`, since when, and the number of changes received until then.
        self._awaited: tuple[Json, float, int] | None = None
        self.changes = 0
        """Number of changes received."""
        self.last_activity_at: float | None = None
        self._missed: int | None = None
        self._judged_from = 0.0
        self.error: str | None = None
        """Why the stream can't be compared with the table at present."""

    @property
    def compares(self) -> bool:
        """Whether a look at the table can confirm that the stream is up to date."""
        return self._column is not None

    def record_change(self, updated_at: Json, now: float) -> None:
        """Record a change that the stream delivered."""
        self.changes += 1
        self.last_activity_at = now
        if updated_at is None or clocks.is_future(updated_at, self._clock.wall()):
            return
        if _later(updated_at, self._delivered):
            self._delivered = updated_at

    def check_missed(self, rows: int, now: float) -> None:
        """Compare with the number of rows so far that scans found changed and the stream did not
        deliver within the grace. Raises `SubscriptionEnded` if there are more, and the stream has
        delivered nothing else meanwhile.
        """
        grace = self._options.grace
        if self._missed is None:
            # Rows that changed before the session began are not its to deliver.
            self._missed, self._judged_from = rows, now + 2 * grace
        more, self._missed = rows - self._missed, rows
        quiet = self.last_activity_at is None or now - self.last_activity_at >= grace
        if more > 0 and quiet and now >= self._judged_from:
            raise MuteStreamError(
                f"mute stream: {more} rows of the table have changed, and the stream has delivered "
                f"nothing for {grace:g} s"
            )

    async def check(self, now: float) -> bool:
        """Read the table's newest row, at most once per interval. Return True if the stream is up
        to date with it.

        Raises `SubscriptionEnded` if the stream is mute.
        """
        if now < self._due:
            return False
        self._due = now + self._options.interval
        if self._column is None:
            if self.last_activity_at is None:
                self.last_activity_at = now
            if now - self.last_activity_at > SILENCE_SECONDS:
                raise SubscriptionEnded(f"no changes for {SILENCE_SECONDS:g} s; resubscribing")
            return False
        try:
            # With a timeout, since no other failure of the session is detected meanwhile.
            async with asyncio.timeout(self._options.interval):
                newest = await self._table.newest()
        except TableUnreadableError as error:
            self.error = str(error)
            return False  # the reconciler reads the same table and logs the error
        except TimeoutError:
            self.error = f"the table did not answer within {self._options.interval:g} s"
            return False
        self.error = None
        at = newest[self._column] if newest is not None else None
        if not self._has_baseline:
            self._has_baseline = True
            future = at is None or clocks.is_future(at, self._clock.wall())
            if not future and _later(at, self._delivered):
                self._delivered = at  # older than the subscription; table scans read it
        return self._compare(at, now)

    def _compare(self, at: Json, now: float) -> bool:
        if (
            at is None
            or clocks.is_future(at, self._clock.wall())
            or not _later(at, self._delivered)
        ):
            self._awaited = None
            return True
        if self._awaited is None or self._awaited[2] != self.changes:
            self._awaited = (at, now, self.changes)
            self._due = min(self._due, now + self._options.grace)
            return False
        _, since, _ = self._awaited
        if now - since >= self._options.grace:
            raise MuteStreamError(
                f"mute stream: the table has a row of {at}, the stream has delivered none later "
                f"than {self._delivered} for {now - since:.1f} s"
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
