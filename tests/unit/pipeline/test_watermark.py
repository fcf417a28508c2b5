"""The watermark, from which on recent rows are read."""

from __future__ import annotations

from bridge import clock as clocks
from bridge.pipeline.watermark import OVERLAP_SECONDS, Watermark

WALL = 1_800_000_000.0


def at(seconds: float) -> str:
    return clocks.timestamp(WALL + seconds)


def test_watermark_stays_behind_the_newest_row() -> None:
    watermark = Watermark()
    watermark.advance(at(0), WALL)
    assert watermark.at == at(-OVERLAP_SECONDS)


def test_watermark_follows_the_time_without_newer_rows() -> None:
    watermark = Watermark()
    watermark.advance_idle(at(0), WALL + 1, began=100, ended=101)
    watermark.advance_idle(at(0), WALL + 31, began=131, ended=132)
    assert watermark.at == at(30 - OVERLAP_SECONDS)


def test_watermark_does_not_follow_time_before_the_newest_row_was_read() -> None:
    watermark = Watermark()
    watermark.advance_idle(at(0), WALL + 50, began=100, ended=150)
    assert watermark.at is None
    watermark.advance_idle(at(0), WALL + 60, began=160, ended=170)
    assert watermark.at == at(10 - OVERLAP_SECONDS)


def test_newer_row_restarts_the_idle_time() -> None:
    watermark = Watermark()
    watermark.advance_idle(at(0), WALL + 1, began=100, ended=101)
    watermark.advance_idle(at(40), WALL + 41, began=141, ended=142)
    assert watermark.at is None
    watermark.advance_idle(at(40), WALL + 47, began=147, ended=148)
    assert watermark.at == at(45 - OVERLAP_SECONDS)


def test_row_dated_in_the_future_does_not_advance_the_watermark_past_now() -> None:
    watermark = Watermark()
    watermark.advance_idle(at(3600), WALL, began=100, ended=101)
    watermark.advance_idle(at(3600), WALL + 30, began=130, ended=131)
    assert watermark.at == at(30 - OVERLAP_SECONDS)


def test_watermark_does_not_decrease() -> None:
    watermark = Watermark()
    watermark.advance(at(100), WALL + 200)
    watermark.advance_idle(at(0), WALL + 200, began=100, ended=101)
    watermark.advance_idle(at(0), WALL + 210, began=111, ended=112)
    assert watermark.at == at(100 - OVERLAP_SECONDS)
