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


def kinds_of(scans: Scans, failing: ScanKind, steps: int = 12) -> list[str]:
    """Run `steps` due scans, of which those of one kind fail; return those that are completed."""
    completed = []
    for _ in range(steps):
        scans.now = max(scans.now, scans.scheduler.due())
        scan = scans.scheduler.next(scans.now, rows=scans.rows, since=SINCE)
        assert scan is not None
        if scan.kind is failing:
            scans.scheduler.failed(scan, scans.now)
        else:
            scans.scheduler.finished(scan, scans.now)
            completed.append(scan.name)
    return completed


@pytest.mark.parametrize("rows", [SMALL, LARGE])
@pytest.mark.parametrize("failing", ScanKind)
def test_gap_is_repaired_while_one_kind_of_scan_fails(failing: ScanKind, rows: int) -> None:
    scans = Scans(rows)
    scans.gap()
    assert kinds_of(scans, failing)
    assert not scans.scheduler.catching_up
    assert scans.scheduler.completed_scans == 1


def test_initial_load_has_no_stand_in() -> None:
    scans = Scans(SMALL)
    scans.scheduler.gap(GAP, initial_load=True)
    assert kinds_of(scans, ScanKind.FULL) == []
    assert scans.scheduler.catching_up


def test_full_scan_stands_in_for_a_periodic_recent_scan_that_fails() -> None:
    scans = Scans(SMALL)
    scans.gap()
    scans.run()
    assert "full scan (in place of the recent scan)" in kinds_of(scans, ScanKind.RECENT)


def test_key_scans_go_on_while_recent_scans_fail() -> None:
    scans = Scans(SMALL)
    scans.gap()
    scans.run()
    assert "key scan" in kinds_of(scans, ScanKind.RECENT)


def test_recent_scan_that_fails_is_tried_again_within_5_seconds() -> None:
    scans = Scans(LARGE)
    scans.gap()
    last = scans.now
    for _ in range(20):
        scan = scans.scheduler.next(last, rows=LARGE, since=SINCE)
        assert scan is not None
        scans.scheduler.failed(scan, last)
        pause = scans.scheduler.due() - last
        assert pause <= 5
        last += 5


def following(rows: int = LARGE) -> Scans:
    """Return the scans of a table after its first gap, with nothing due."""
    scans = Scans(rows)
    scans.gap()
    while scans.scheduler.current is not None or scans.scheduler.catching_up:
        scans.run(0.0)
    return scans


def test_key_scan_is_due_at_once_after_an_outage() -> None:
    scans = following()
    scans.now = scans.scheduler.due()
    scan = scans.scheduler.next(scans.now, rows=LARGE, since=SINCE)
    assert scan is not None
    assert scan.kind is ScanKind.RECENT
    for _ in range(3):
        scans.scheduler.failed(scan, scans.now)
    scans.scheduler.record_step(scan, 0.01, scans.now)
    scans.scheduler.finished(scan, scans.now)
    due = scans.scheduler.next(scans.now, rows=LARGE, since=SINCE)
    assert due is not None
    assert due.name == "key scan"


def test_key_scan_keeps_its_interval_after_a_single_failure() -> None:
    scans = following()
    scans.now = scans.scheduler.due()
    scan = scans.scheduler.next(scans.now, rows=LARGE, since=SINCE)
    assert scan is not None
    scans.scheduler.failed(scan, scans.now)
    scans.scheduler.record_step(scan, 0.01, scans.now)
    scans.scheduler.finished(scan, scans.now)
    due = scans.scheduler.next(scans.now, rows=LARGE, since=SINCE)
    assert due is None or due.name != "key scan"


@pytest.mark.parametrize(("seconds", "stands_in"), [(20.0, True), (0.1, False)])
def test_another_scan_stands_in_for_one_that_fails_slowly_after_the_first_failure(
    seconds: float, *, stands_in: bool
) -> None:
    scans = Scans(LARGE)
    scans.gap()
    scan = scans.scheduler.next(scans.now, rows=LARGE, since=SINCE)
    assert scan is not None
    assert scan.kind is ScanKind.RECENT
    scans.scheduler.failed(scan, scans.now, seconds)
    other = scans.scheduler.next(scans.now, rows=LARGE, since=SINCE)
    assert (other is not None and other.kind is not ScanKind.RECENT) is stands_in


def test_pause_after_a_scan_counts_the_time_of_successful_reads_alone() -> None:
    scans = following()
    while (scan := scans.scheduler.next(scans.now, rows=LARGE, since=SINCE)) is None or (
        scan.kind is not ScanKind.KEYS
    ):
        if scan is not None:
            scans.scheduler.finished(scan, scans.now)
        scans.now = max(scans.now, scans.scheduler.due())
    scan.started = scans.now
    scans.scheduler.record_step(scan, 0.1, scans.now)
    scans.now += 120.0  # an outage
    scans.scheduler.record_step(scan, 0.1, scans.now)
    scans.scheduler.finished(scan, scans.now)
    ended = scans.now
    names = []
    while scans.now <= ended + OPTIONS.key_interval:
        names.append(scans.run(0.0))
    assert "key scan" in names


def test_gap_cuts_the_pause_after_failures_short() -> None:
    scans = following(SMALL)
    scans.gap()
    scan = scans.scheduler.current
    assert scan is not None
    scans.scheduler.failed(scan, scans.now)
    assert scans.scheduler.next(scans.now, rows=SMALL, since=SINCE) is None
    scans.scheduler.gap(GAP)
    assert scans.scheduler.next(scans.now, rows=SMALL, since=SINCE) is scan


def test_read_that_succeeds_after_an_outage_cuts_the_pauses_of_others_short() -> None:
    scans = Scans(LARGE)
    scans.gap()
    for _ in range(12):
        scans.now = max(scans.now, scans.scheduler.due())
        scan = scans.scheduler.next(scans.now, rows=LARGE, since=SINCE)
        assert scan is not None
        scans.scheduler.failed(scan, scans.now)
    assert scans.scheduler.next(scans.now, rows=LARGE, since=SINCE) is None
    scans.scheduler.recovered(5, scans.now)
    assert scans.scheduler.next(scans.now, rows=LARGE, since=SINCE) is not None


def until_full_scan(scans: Scans) -> float:
    """Run scans until a full one; return after how long it was due."""
    began = scans.now
    while not scans.run(0.0).startswith("full scan"):
        assert scans.now - began <= 2 * OPTIONS.full_interval
    return scans.now - began


@pytest.mark.parametrize("rows", [SMALL, LARGE])
def test_full_scan_runs_every_few_minutes_in_spite_of_updated_at(rows: int) -> None:
    scans = following(rows)
    assert until_full_scan(scans) <= OPTIONS.full_interval
    assert until_full_scan(scans) == pytest.approx(OPTIONS.full_interval)


def test_full_scan_is_due_soon_after_a_change_was_missed() -> None:
    scans = following(LARGE)
    scans.scheduler.schedule_full_scan(scans.now)
    assert until_full_scan(scans) <= OPTIONS.key_interval


def test_full_scans_for_missed_changes_keep_a_pause() -> None:
    scans = following(LARGE)
    until_full_scan(scans)
    scans.scheduler.schedule_full_scan(scans.now)
    assert until_full_scan(scans) == pytest.approx(OPTIONS.key_interval)
