"""Ranges of keys and their digests."""

from __future__ import annotations

from bridge.pipeline.range_digests import MAX_AGE_SECONDS, KeyRange, RangeDigests, RangeRead


def scanned(digests: RangeDigests, *reads: RangeRead) -> None:
    digests.begin()
    for read in reads:
        digests.compared(read, 100.0)
    digests.finish()


def test_range_is_unchanged_while_its_digest_is_the_same() -> None:
    known = KeyRange("m", "3:17", 100.0)
    assert known.unchanged("3:17", 200.0)
    assert not known.unchanged("3:18", 200.0)
    assert not known.unchanged("3:17", 100.0 + MAX_AGE_SECONDS)


def test_range_without_a_digest_is_never_unchanged() -> None:
    assert not KeyRange("m").unchanged("0:0", 0.0)


def test_compared_range_has_its_digest_in_the_next_scan() -> None:
    digests = RangeDigests()
    scanned(digests, RangeRead(None, "m", "a"), RangeRead("m", None, "b", ["z"]))
    assert digests.get(None) == KeyRange("m", "a", 100.0)
    assert digests.get("m") == KeyRange(None, "b", 100.0)


def test_range_that_has_grown_is_split_where_its_pages_ended() -> None:
    digests = RangeDigests()
    scanned(digests, RangeRead(None, "m", "a", ["d", "h"]))
    assert [digests.get(start) for start in (None, "d", "h")] == [
        KeyRange("d"),
        KeyRange("h"),
        KeyRange("m"),
    ]


def test_ranges_that_a_scan_did_not_meet_are_forgotten() -> None:
    digests = RangeDigests()
    scanned(digests, RangeRead(None, "m", "a"), RangeRead("m", None, "b"))
    scanned(digests, RangeRead(None, None, "c"))
    assert digests.get("m") is None


def test_scan_that_was_given_up_replaces_no_range() -> None:
    digests = RangeDigests()
    scanned(digests, RangeRead(None, None, "a"))
    digests.begin()
    digests.add(None, "m")
    digests.begin()
    assert digests.get(None) == KeyRange(None, "a", 100.0)
