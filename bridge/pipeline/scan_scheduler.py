"""What is read next, and when. Pure: times are passed in, monotonic seconds.

After a gap:

- in a small table, or where there is no cursor, a **pass** over all rows;
- in a large one a **pass over recent rows**, those that `updated_at` says were changed since;
  then a walk over the **keys**, which finds what is gone and what is unknown; then, at leisure, a
  walk over the **rows**, which finds what `updated_at` did not show: a column that does not move
  with every write, a transaction that was open for longer than the cursor stays behind.

And all the time, every few seconds a **look** at recent rows; more rarely, the keys, or the rows
where there is no `updated_at`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bridge.changes import Gap, GapReason
from bridge.pipeline.table_scan import ScanKind, TableScan, UnseenKeys

if TYPE_CHECKING:
    from bridge.settings import Settings

BACKGROUND_SHARE: Final = 0.2
"""The share of time in which walks that nobody waits for may keep the database busy."""

CATCH_UP_SHARE: Final = 0.5
"""The same right after a gap, when clients wait for what they missed: as much is left for others
as is taken."""


class ScanScheduler:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._timed = bool(settings.updated_at)
        self._gap: Gap | None = None
        self._fill = False
        self._catch_up: TableScan | None = None
        self._recent: TableScan | None = None
        self._keys: TableScan | None = None
        self._keys_again: Gap | None = None
        self._rows: TableScan | None = None
        self._rows_again: Gap | None = None
        self._after_keys: Gap | None = None  # the rows are walked over when the keys are done
        self._recent_due = self._keys_due = self._rows_due = float("inf")
        self._paced_until = 0.0
        self.completed_scans = 0

    @property
    def catching_up(self) -> bool:
        """Whether what a gap made doubtful is being looked for; not at leisure."""
        return (
            self._gap is not None
            or self._catch_up is not None
            or self._keys_again is not None
            or (self._keys is not None and self._keys.catches_up)
        )

    @property
    def current(self) -> TableScan | None:
        """What is under way, the most urgent first."""
        return self._catch_up or self._recent or self._keys or self._rows

    def gap(self, gap: Gap, *, fill: bool = False) -> None:
        """Something may be missing. It never ends what is under way: where gaps come all the time,
        nothing would ever be done.
        """
        self._gap = gap
        self._fill = self._fill or fill

    def schedule_key_scan(self, at: float) -> None:
        """Walk over the keys at that time, if it would be later."""
        self._keys_due = min(self._keys_due, at)

    def next(self, now: float, *, rows: int, since: str | None) -> TableScan | None:
        """The walk of which a step is due; None: not before `due`. `rows` are known, `since` is
        the cursor.
        """
        if self._catch_up is None and self._gap is not None:
            self._begin_catch_up(self._gap, rows, since)
        if self._recent is None and now >= self._recent_due:
            self._recent = TableScan(ScanKind.RECENT, "look at recent rows", since=since)
        if self._keys is None and now >= self._keys_due:
            self._keys = TableScan(
                ScanKind.KEYS, "walk over the keys", BACKGROUND_SHARE, unseen=UnseenKeys()
            )
        if self._rows is None and now >= self._rows_due:
            self._rows = TableScan(
                ScanKind.FULL, "walk over the rows", BACKGROUND_SHARE, unseen=UnseenKeys()
            )
        return next((walk for walk in self._under_way() if self._time_of(walk) <= now), None)

    def due(self) -> float:
        """When `next` will have something."""
        times = [self._time_of(walk) for walk in self._under_way()]
        if self._recent is None:
            times.append(self._recent_due)
        if self._keys is None:
            times.append(self._keys_due)
        if self._rows is None:
            times.append(self._rows_due)
        return min(times)

    def record_step(self, walk: TableScan, seconds: float, now: float) -> None:
        """A step of `walk` kept the database busy for so long, at the most."""
        if walk.share < 1:
            self._paced_until = now + seconds * (1 / walk.share - 1)

    def finished(self, walk: TableScan, now: float) -> None:
        """`walk` is over."""
        pause = max(self._settings.sweep_interval, (now - walk.started) / BACKGROUND_SHARE)
        if walk is self._recent:
            self._recent = None
            self._recent_due = now + self._settings.watch_interval
        elif walk is self._catch_up:
            self._catch_up = None
            self._catch_up_done(walk, now, pause)
        elif walk is self._keys:
            self._keys_done(walk, now, pause)
        elif walk is self._rows:
            again, self._rows_again = self._rows_again, None
            self._rows = None if again is None else self._full_scan(again)
            self._rows_due = float("inf") if self._timed else now + pause

    def _under_way(self) -> list[TableScan]:
        # The keys wait for the pass before them; no look is needed while recent rows are passed.
        if self._catch_up is not None and self._catch_up.kind is ScanKind.RECENT:
            return [self._catch_up]
        walks = (self._catch_up, self._recent, self._keys, self._rows)
        return [walk for walk in walks if walk is not None]

    def _time_of(self, walk: TableScan) -> float:
        return self._paced_until if walk.share < 1 else 0.0

    def _begin_catch_up(self, gap: Gap, rows: int, since: str | None) -> None:
        why, fill = gap.reason.value, self._fill
        self._gap, self._fill = None, False
        if fill or rows <= self._settings.pass_rows or since is None:
            # It finds all that the others would.
            self._recent = self._keys = self._rows = None
            self._keys_again = self._rows_again = self._after_keys = None
            self._recent_due = self._keys_due = self._rows_due = float("inf")
            large = not fill and rows > self._settings.pass_rows
            self._catch_up = TableScan(
                ScanKind.FULL,
                f"pass over the table ({why})",
                CATCH_UP_SHARE if large else 1.0,
                at_once=True,
                initial_load=fill,
                catches_up=True,
                unseen=UnseenKeys(),
            )
            return
        self._catch_up = TableScan(
            ScanKind.RECENT,
            f"pass over recent rows ({why})",
            at_once=True,
            catches_up=True,
            since=since,
        )
        self._recent = None
        # What is under way may have passed the place where something is missing.
        self._after_keys = gap
        if self._keys is not None:
            self._keys_again = gap
            self._keys.share = CATCH_UP_SHARE

    def _catch_up_done(self, walk: TableScan, now: float, pause: float) -> None:
        if self._timed:
            self._recent_due = now + self._settings.watch_interval
        if walk.kind is ScanKind.FULL:
            self.completed_scans += 1
            if self._timed:
                self._keys_due = now + pause
            else:
                self._rows_due = now + pause
        elif self._keys is None:
            self._keys = self._key_scan(self._after_keys)

    def _keys_done(self, walk: TableScan, now: float, pause: float) -> None:
        again, self._keys_again = self._keys_again, None
        self._keys = None if again is None else self._key_scan(again)
        self._keys_due = now + pause
        if self._keys is not None or not walk.catches_up:
            return
        self.completed_scans += 1
        gap, self._after_keys = self._after_keys, None
        if self._rows is not None:
            self._rows_again = gap
        else:
            self._rows = self._full_scan(gap)

    def _key_scan(self, gap: Gap | None) -> TableScan:
        return TableScan(
            ScanKind.KEYS,
            f"walk over the keys ({_why(gap)})",
            CATCH_UP_SHARE,
            at_once=True,
            catches_up=True,
            unseen=UnseenKeys(),
        )

    def _full_scan(self, gap: Gap | None) -> TableScan:
        # What is gone is found by walks over the keys.
        return TableScan(ScanKind.FULL, f"walk over the rows ({_why(gap)})", BACKGROUND_SHARE)


def _why(gap: Gap | None) -> str:
    return (gap.reason if gap else GapReason.SUBSCRIBED).value
