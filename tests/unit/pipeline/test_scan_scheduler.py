"""Which scan is due after a gap, and in which order."""

from __future__ import annotations

import pytest

from bridge.changes import Gap, GapReason
from bridge.pipeline.scan_scheduler import ScanOptions, ScanScheduler
from bridge.pipeline.table_scan import ScanKind

OPTIONS = ScanOptions(recent_interval=5, key_interval=10, full_scan_rows=100)
GAP = Gap(GapReason.RESUBSCRIBED)
LARGE, SMALL = 1000, 10
SINCE = "2026-01-01T00:00:00.000Z"


class Scans:
    """A scheduler and scans of one step each."""

    def __init__(self, rows: int) -> None:
        self.scheduler = ScanScheduler(OPTIONS, has_updated_at=True)
        self.rows = rows
        self.now = 0.0

    def run(self, seconds: float = 1.0) -> str:
        """Run the next scan, which takes so long, and return its name."""
        self.now = max(self.now, self.scheduler.due())
        scan = self.scheduler.next(self.now, rows=self.rows, since=SINCE)
        assert scan is not None
        scan.started = self.now
        self.now += seconds
        self.scheduler.finished(scan, self.now)
        return scan.name

    def gap(self) -> None:
        self.scheduler.gap(GAP)
        # As the reconciler does, which is woken by a gap.
        self.scheduler.next(self.now, rows=self.rows, since=SINCE)


def test_small_table_has_a_full_scan_after_a_gap() -> None:
    scans = Scans(SMALL)
    scans.gap()
    catching_up = [scans.scheduler.catching_up]
    assert scans.run() == "full scan (resubscribed)"
    catching_up.append(scans.scheduler.catching_up)
    assert catching_up == [True, False]
    assert scans.scheduler.completed_scans == 1


def test_large_table_has_recent_key_and_full_scan_after_a_gap() -> None:
    scans = Scans(LARGE)
    scans.gap()
    assert scans.run() == "recent scan (resubscribed)"
    assert scans.run() == "key scan (resubscribed)"
    assert not scans.scheduler.catching_up
    assert scans.run() == "full scan (resubscribed)"
    assert scans.scheduler.completed_scans == 1


@pytest.mark.parametrize("seconds", [1.0, 60.0])
def test_gap_has_all_its_scans_if_a_periodic_key_scan_falls_due_meanwhile(seconds: float) -> None:
    scans = Scans(LARGE)
    scans.gap()
    while not scans.run().startswith("full scan"):
        pass
    scans.gap()
    scan = scans.scheduler.current
    assert scan is not None
    assert scan.kind is ScanKind.RECENT
    scans.now += seconds
    assert scans.scheduler.next(scans.now, rows=LARGE, since=SINCE) is scan
    names = [scans.run(0.1) for _ in range(4)]
    assert names[0] == "recent scan (resubscribed)"
    assert "key scan (resubscribed)" in names
    assert "full scan (resubscribed)" in names
    assert scans.scheduler.completed_scans == 2


def test_gap_during_a_key_scan_has_another_one() -> None:
    scans = Scans(LARGE)
    scans.gap()
    assert scans.run() == "recent scan (resubscribed)"
    scan = scans.scheduler.next(scans.now, rows=LARGE, since=SINCE)
    assert scan is not None
    assert scan.kind is ScanKind.KEYS
    scans.gap()
    assert scans.run() == "recent scan (resubscribed)"
    assert [scans.run(), scans.run()] == ["key scan (resubscribed)"] * 2
    assert scans.run() == "full scan (resubscribed)"
