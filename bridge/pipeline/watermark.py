"""From where on `updated_at` still has to be compared. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bridge import clock as clocks

if TYPE_CHECKING:
    from bridge.changes import Json

OVERLAP_SECONDS: Final = 10.0
"""How far the cursor stays behind the newest row that was seen: `updated_at` is often the start of
a transaction, and rows become visible at its end."""

EVER: Final = "0001-01-01T00:00:00.000Z"
"""Before all rows."""


class Watermark:
    """Everything that `updated_at` says was changed before `at` has been compared. `at` is RFC 3339
    in UTC with milliseconds, which sorts as text; None: not known, as in a table without such a
    column, or where it is null in all rows.
    """

    def __init__(self) -> None:
        self.at: str | None = None
        self._newest: Json = None
        self._newest_at = 0.0  # when that row had been read first, monotonic seconds

    def resume(self, stored: str | None) -> None:
        """Go on from where a run before this one was."""
        at = None if stored is None else clocks.unix(stored)
        self.at = None if at is None else clocks.timestamp(at)

    def advance(self, updated_at: Json, wall: float) -> None:
        """All rows up to `updated_at` were compared, as they were at `wall` (Unix seconds) or
        later. A row may claim to be from the future: what is later than `wall` was not compared.
        """
        at = clocks.unix(updated_at) if isinstance(updated_at, str) else None
        if at is None:
            return
        at = min(at, wall) - OVERLAP_SECONDS
        reached = clocks.timestamp(at) if at > 0 else EVER
        if self.at is None or reached > self.at:
            self.at = reached

    def advance_idle(self, updated_at: Json, wall: float, began: float, ended: float) -> None:
        """As `reached`, by a look that took from `began` to `ended` (monotonic seconds), where the
        rows just behind the newest are so many that they must not be read again and again.

        The cursor follows the time for which nothing was newer: when the newest row was read first,
        the table's clock had passed it, so a row that has become visible since a look began is as
        much later as the look is, but for the overlap.
        """
        at = clocks.unix(updated_at) if isinstance(updated_at, str) else None
        if at is None:
            return
        if updated_at != self._newest:
            self._newest, self._newest_at = updated_at, ended
            return
        self.advance(clocks.timestamp(at + began - self._newest_at), wall)

    def rewind(self, to: str | None) -> None:
        """What was changed since then has to be compared again."""
        if to is not None and self.at is not None:
            self.at = min(self.at, to)
