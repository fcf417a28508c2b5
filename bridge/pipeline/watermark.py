"""The watermark: the `updated_at` up to which all rows were compared. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bridge import clock as clocks

if TYPE_CHECKING:
    from bridge.changes import Json

OVERLAP_SECONDS: Final = 10.0
"""How far the watermark stays behind the newest row that was read: `updated_at` is often the start
of a transaction, and its rows become visible at its end."""

EVER: Final = "0001-01-01T00:00:00.000Z"
"""Before all rows."""


class Watermark:
    """Every change that `updated_at` dates before `at` has been compared. `at` is RFC 3339 in UTC
    with milliseconds, which sorts as text; None: unknown, as in a table without such a column, or
    where it is null in all rows.
    """

    def __init__(self) -> None:
        self.at: str | None = None
        self._newest: Json = None
        self._newest_at = 0.0  # when that row was first read, monotonic seconds

    def resume(self, stored: str | None) -> None:
        """Continue from the watermark of an earlier run."""
        at = None if stored is None else clocks.unix(stored)
        self.at = None if at is None else clocks.timestamp(at)

    def advance(self, updated_at: Json, wall: float) -> None:
        """Record that all rows up to `updated_at` were compared, as of `wall` (Unix seconds) or
        later. A row may be dated in the future: past `wall` nothing was compared.
        """
        at = clocks.unix(updated_at) if isinstance(updated_at, str) else None
        if at is None:
            return
        at = min(at, wall) - OVERLAP_SECONDS
        compared = clocks.timestamp(at) if at > 0 else EVER
        if self.at is None or compared > self.at:
            self.at = compared

    def advance_idle(self, updated_at: Json, wall: float, began: float, ended: float) -> None:
        """As `advance`, after a recent scan from `began` to `ended` (monotonic seconds), where the
        rows within the overlap are too many to be read again and again.

        The watermark follows the time for which no row was newer: when the newest row was first
        read, the table's clock was past it, so a row that becomes visible after a scan began is
        later by as much as the scan is, less the overlap.
        """
        at = clocks.unix(updated_at) if isinstance(updated_at, str) else None
        if at is None:
            return
        if updated_at != self._newest:
            self._newest, self._newest_at = updated_at, ended
            return
        self.advance(clocks.timestamp(at + began - self._newest_at), wall)

    def rewind(self, to: str | None) -> None:
        """Have changes since `to` compared again."""
        if to is not None and self.at is not None:
            self.at = min(self.at, to)
