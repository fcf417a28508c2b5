"""Schedules table scans. No I/O; times are passed in as monotonic seconds.

After a gap:

- in a small table, or where no watermark is known, a **full scan** at once;
- in a large table a **recent scan** (rows with an `updated_at` past the watermark), then a **key
  scan**, which finds deleted and unknown rows, then, in the background, a **full scan**, which
  finds what `updated_at` does not show: a column that does not move with every write, or a
  transaction that was open for longer than the watermark stays behind.

Apart from gaps a recent scan runs every few seconds and, more rarely, a key scan; a full scan in
its place where the table has no `updated_at`. Where it has one, a full scan runs every few minutes,
and soon after a change was missed: `updated_at` is a premise that nothing enforces.

A scan whose reads fail gives its turn to the others and is tried again after a pause of its own. A
full scan stands in for a recent or a key scan that goes on failing, and both of them for a full
scan; whichever succeeds first repairs the gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bridge.changes import GapReason
from bridge.pipeline.backoff import Backoffs
from bridge.pipeline.table_scan import ScanKind, TableScan, UnseenKeys

if TYPE_CHECKING:
    from bridge.changes import Gap

BACKGROUND_SHARE: Final = 0.2
"""Share of time for which background scans, which no client waits for, may load the database."""

CATCH_UP_SHARE: Final = 0.5
"""The same right after a gap, while clients wait for missed changes: as much is left to other users
of the database as is taken."""

FAILURES_BEFORE_STAND_IN: Final = 2
"""Failed attempts of one kind of scan after which another kind stands in for it. A single failure
is repaired by the next attempt."""


SLOW_FAILURE_SECONDS: Final = 5.0
"""A failure after so long counts as that many: all other reads have waited for it."""


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """`recent_interval`: seconds between two recent scans. `key_interval`: least seconds between
    two key scans (full scans without `updated_at`). `full_scan_rows`: largest table that is scanned
    in full after every gap. `full_interval`: least seconds between two full scans.
    """

    recent_interval: float
    key_interval: float
    full_scan_rows: int
    full_interval: float = 300.0


class ScanScheduler:
    """Decides which scan is due and how much of the time it may load the database."""

    def __init__(
        self, options: ScanOptions, *, has_updated_at: bool, backoffs: Backoffs | None = None
    ) -> None:
        """`backoffs`: the pauses of scans by their kind, and those of other reads."""
        self._options = options
        self._has_updated_at = has_updated_at
        self._backoffs = Backoffs() if backoffs is None else backoffs
        self._gap: Gap | None = None
        self._initial_load = False
        self._catch_up: TableScan | None = None
        self._recent: TableScan | None = None
        self._keys: TableScan | None = None
        self._keys_again: Gap | None = None
        self._keys_soon = False  # the key scan under way may have passed what an outage hid
        self._keys_done = False  # the key scan for the gap was complete before its recent scan
        self._full: TableScan | None = None
        self._full_again: Gap | None = None
        self._repairing: Gap | None = None  # the gap that the scans under way repair
        self._recent_due = self._keys_due = self._full_due = float("inf")
        self._stand_in_due = 0.0
        self._paced_until = 0.0
        self._since: str | None = None
        self.completed_scans = 0

    @property
    def catching_up(self) -> bool:
        """Whether a scan for a gap is under way or due, other than in the background."""
        return (
            self._gap is not None
            or self._catch_up is not None
            or self._keys_again is not None
            or (self._keys is not None and self._keys.catches_up)
        )

    @property
    def current(self) -> TableScan | None:
        """The most urgent scan under way."""
        return self._catch_up or self._recent or self._keys or self._full

    def gap(self, gap: Gap, *, initial_load: bool = False) -> None:
        """Schedule the scans for a gap. A gap never aborts a scan: where gaps are frequent, no scan
        would ever be completed. It cuts pauses after failures short.
        """
        self._backoffs.cut_short()
        self._gap = gap
        self._initial_load = self._initial_load or initial_load

    def in_step(self, now: float) -> None:
        """Record that the known rows are those of the table without a scan: all are due later."""
        self.completed_scans += 1
        pause = self._options.key_interval
        if self._has_updated_at:
            self._recent_due = now + self._options.recent_interval
            self._keys_due = now + pause
        self._stand_in_due = now + pause
        self._full_due = now + self._full_pause(pause)

    def schedule_key_scan(self, at: float) -> None:
        """Schedule the next key scan for `at`, unless it is due earlier."""
        self._keys_due = min(self._keys_due, at)

    def schedule_full_scan(self, at: float) -> None:
        """Schedule the next full scan for `at`, unless it is due earlier, and not before the pause
        after the last one is over.
        """
        if self._full_due < float("inf"):
            self._full_due = min(self._full_due, max(at, self._stand_in_due))

    def next(self, now: float, *, rows: int, since: str | None) -> TableScan | None:
        """Return the scan of which a step is due; None: not before `due`.

        `rows`: number of known rows. `since`: the watermark.
        """
        self._since = since
        if self._catch_up is None and self._gap is not None:
            self._begin_catch_up(self._gap, rows, since)
        if self._recent is None and now >= self._recent_due and not self._recent_catch_up:
            self._recent = TableScan(ScanKind.RECENT, "recent scan", since=since)
        # Not during the recent scan for a gap: the key scan for that gap follows it.
        if self._keys is None and now >= self._keys_due and not self._only_recent:
            self._keys = TableScan(ScanKind.KEYS, "key scan", BACKGROUND_SHARE, unseen=UnseenKeys())
        if self._full is None and now >= self._full_due:
            # Deleted rows are found by key scans where there are any.
            unseen = None if self._has_updated_at else UnseenKeys()
            self._full = TableScan(ScanKind.FULL, "full scan", BACKGROUND_SHARE, unseen=unseen)
        return next((scan for scan in self._under_way() if self._earliest(scan) <= now), None)

    def due(self) -> float:
        """Return when `next` will return a scan."""
        times = [self._earliest(scan) for scan in self._under_way()]
        if self._recent is None and not self._recent_catch_up:
            times.append(self._recent_due)
        if self._keys is None and not self._only_recent:
            times.append(self._keys_due)
        if self._full is None:
            times.append(self._full_due)
        return min(times)

    def record_step(self, scan: TableScan, seconds: float, now: float) -> None:
        """Record that a step of `scan` succeeded and loaded the database for so many seconds."""
        scan.busy += seconds
        if scan.share < 1:
            self._paced_until = now + seconds * (1 / scan.share - 1)
        self.recovered(self._backoffs[scan.kind].succeeded(), now)

    def failed(
        self, scan: TableScan, now: float, seconds: float = 0.0, *, readable: bool = False
    ) -> None:
        """Record that a step of `scan` failed after so many seconds: the other scans go on.
        `readable`: the table can be read, and no other kind of scan would find more.
        """
        backoff = self._backoffs[scan.kind]
        for _ in range(FAILURES_BEFORE_STAND_IN if seconds >= SLOW_FAILURE_SECONDS else 1):
            backoff.failed(now)
        if backoff.failures < FAILURES_BEFORE_STAND_IN or (readable and not scan.catches_up):
            return
        if scan.kind is not ScanKind.FULL:
            self._stand_in(scan, now)
        elif scan is self._catch_up and not scan.initial_load and self._since is not None:
            self._give_way(scan)

    def recovered(self, failures: int, now: float) -> None:
        """Record that reads of a kind succeed again, after so many failures: after an outage all
        kinds are tried at once, and deleted rows are looked for.
        """
        if failures < FAILURES_BEFORE_STAND_IN:
            return
        self._backoffs.cut_short()
        self._paced_until = now
        self._keys_soon = self._keys is not None
        if self._keys_due < float("inf"):
            self.schedule_key_scan(now)
        if not self._has_updated_at:
            self.schedule_full_scan(now)

    def finished(self, scan: TableScan, now: float) -> None:
        """Record that `scan` is complete."""
        pause = max(self._options.key_interval, scan.busy / BACKGROUND_SHARE)
        if scan is self._recent:
            self._recent = None
            self._recent_due = now + self._options.recent_interval
        elif scan is self._catch_up:
            self._catch_up = None
            self._catch_up_finished(scan, now, pause)
        elif scan is self._keys:
            self._keys_finished(scan, now, pause)
        elif scan is self._full:
            self._full_finished(scan, now, pause)

    def _under_way(self) -> list[TableScan]:
        # The key scan waits for the scan before it, and a recent scan for a gap replaces the
        # periodic one.
        if self._catch_up is not None and self._only_recent:
            return [self._catch_up]
        scans = (self._catch_up, self._recent, self._keys, self._full)
        return [scan for scan in scans if scan is not None]

    @property
    def _recent_catch_up(self) -> bool:
        return self._catch_up is not None and self._catch_up.kind is ScanKind.RECENT

    @property
    def _only_recent(self) -> bool:
        """Whether all other scans wait for the recent scan of a gap, which succeeds so far."""
        return self._recent_catch_up and not self._backoffs[ScanKind.RECENT].failures

    def _earliest(self, scan: TableScan) -> float:
        return max(self._paced_until if scan.share < 1 else 0.0, self._backoffs[scan.kind].due)

    # -- gaps ---------------------------------------------------------------------------------

    def _begin_catch_up(self, gap: Gap, rows: int, since: str | None) -> None:
        reason, initial_load = gap.reason.value, self._initial_load
        self._gap, self._initial_load = None, False
        self._repairing, self._keys_done = gap, False
        if initial_load or rows <= self._options.full_scan_rows or since is None:
            # It finds all that the others would.
            self._recent = self._keys = self._full = None
            self._keys_again = self._full_again = None
            self._keys_soon = False
            self._recent_due = self._keys_due = self._full_due = float("inf")
            large = not initial_load and rows > self._options.full_scan_rows
            self._catch_up = TableScan(
                ScanKind.FULL,
                f"full scan ({reason})",
                CATCH_UP_SHARE if large else 1.0,
                at_once=True,
                initial_load=initial_load,
                catches_up=True,
                unseen=UnseenKeys(),
            )
            return
        self._catch_up = self._recent_scan(gap)
        self._recent = None
        # A scan under way may be past the place where a row is missing.
        if self._keys is not None:
            self._keys_again = gap
            self._keys.share = CATCH_UP_SHARE
        if self._full is not None:
            self._full.covers = False

    def _catch_up_finished(self, scan: TableScan, now: float, pause: float) -> None:
        if self._has_updated_at:
            self._recent_due = now + self._options.recent_interval
        if scan.kind is ScanKind.FULL:
            self.completed_scans += 1
            self._repairing = None
            self._stand_in_due = now + pause
            self._full_due = now + self._full_pause(pause)
            if self._has_updated_at:
                self._keys_due = now + pause
        elif self._keys_done:
            self._repaired()
        elif self._keys is None:
            self._keys = self._key_scan(self._repairing)
        elif not self._keys.catches_up and self._keys_again is None:
            self._keys_again = self._repairing
            self._keys.share = CATCH_UP_SHARE

    def _keys_finished(self, scan: TableScan, now: float, pause: float) -> None:
        again, self._keys_again = self._keys_again, None
        self._keys = None if again is None else self._key_scan(again)
        self._keys_due = now if self._keys_soon else now + pause
        self._keys_soon = False
        if self._keys is not None or not scan.catches_up:
            return
        if self._catch_up is not None:
            self._keys_done = True  # its recent scan fails, or a full scan stands in for it
        else:
            self._repaired()

    def _repaired(self) -> None:
        """The gap is repaired, but for what `updated_at` does not show."""
        self.completed_scans += 1
        gap, self._repairing, self._keys_done = self._repairing, None, False
        if self._full is None:
            self._full = self._full_scan(gap)
        elif self._full.covers:
            self._full.covers = False
            self._full.share = BACKGROUND_SHARE
        else:
            self._full_again = gap

    def _full_finished(self, scan: TableScan, now: float, pause: float) -> None:
        again, self._full_again = self._full_again, None
        self._full = None
        self._stand_in_due = now + pause
        self._full_due = now + self._full_pause(pause)
        if scan.covers:
            self._catch_up = self._keys = self._keys_again = self._repairing = None
            self._keys_done = False
            self._recent_due = now + self._options.recent_interval
            self._keys_due = now + pause
            self.completed_scans += 1
        elif again is not None:
            self._full = self._full_scan(again, covers=again is self._repairing)

    def _full_pause(self, pause: float) -> float:
        return max(self._options.full_interval, pause) if self._has_updated_at else pause

    # -- scans in place of others -------------------------------------------------------------

    def _stand_in(self, scan: TableScan, now: float) -> None:
        """Have a full scan find what a recent or a key scan can't."""
        if not scan.catches_up:
            if self._full is None and now >= self._stand_in_due:
                self._full = TableScan(
                    ScanKind.FULL,
                    f"full scan (in place of the {scan.name})",
                    BACKGROUND_SHARE,
                    unseen=UnseenKeys(),
                )
            return
        if scan is self._catch_up and self._keys is None and not self._keys_done:
            self._keys = self._key_scan(self._repairing)
        if self._full is None:
            self._full = self._full_scan(self._repairing, covers=True)
        elif not self._full.covers:
            self._full_again = self._repairing
            self._full.share = CATCH_UP_SHARE

    def _give_way(self, scan: TableScan) -> None:
        """Have a recent and a key scan repair the gap; the full scan goes on beside them."""
        scan.share, scan.catches_up, scan.covers = BACKGROUND_SHARE, False, True
        self._full = scan
        self._catch_up = self._recent_scan(self._repairing)

    # -- making scans -------------------------------------------------------------------------

    def _recent_scan(self, gap: Gap | None) -> TableScan:
        return TableScan(
            ScanKind.RECENT,
            f"recent scan ({_reason(gap)})",
            at_once=True,
            catches_up=True,
            since=self._since,
        )

    def _key_scan(self, gap: Gap | None) -> TableScan:
        return TableScan(
            ScanKind.KEYS,
            f"key scan ({_reason(gap)})",
            CATCH_UP_SHARE,
            at_once=True,
            catches_up=True,
            unseen=UnseenKeys(),
        )

    def _full_scan(self, gap: Gap | None, *, covers: bool = False) -> TableScan:
        """`covers`: it stands in for the other scans of the gap. Otherwise deleted rows are found
        by key scans.
        """
        return TableScan(
            ScanKind.FULL,
            f"full scan ({_reason(gap)})",
            CATCH_UP_SHARE if covers else BACKGROUND_SHARE,
            at_once=covers,
            covers=covers,
            unseen=UnseenKeys() if covers else None,
        )


def _reason(gap: Gap | None) -> str:
    return (gap.reason if gap else GapReason.SUBSCRIBED).value
