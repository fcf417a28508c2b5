"""Histograms of durations, as numbers alone. No I/O."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

DELAYS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of what takes milliseconds, in seconds."""

REPAIRS: Final = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)
"""Upper bounds of what takes seconds or minutes."""


@dataclass(frozen=True, slots=True)
class HistogramCounts:
    """The numbers of observations up to each bound, not cumulated; the last is that above all."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    @classmethod
    def empty(cls, bounds: tuple[float, ...]) -> HistogramCounts:
        return cls(bounds, (0,) * (len(bounds) + 1), 0.0)

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> HistogramCounts:
        """Return what `dataclasses.asdict` or orjson made of one."""
        return cls(tuple(data["bounds"]), tuple(data["counts"]), data["total"])

    def plus(self, other: HistogramCounts) -> HistogramCounts:
        """Return the sum of two with equal bounds."""
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return HistogramCounts(self.bounds, counts, self.total + other.total)


class Histogram:
    """Counts durations by size. An observation takes less than a microsecond."""

    __slots__ = ("_bounds", "_counts", "_total")

    def __init__(self, bounds: tuple[float, ...] = DELAYS) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def observe(self, seconds: float, times: int = 1) -> None:
        """Count a duration; a negative one, as clocks that differ produce, counts as 0."""
        seconds = max(0.0, seconds)
        self._counts[bisect_left(self._bounds, seconds)] += times
        self._total += seconds * times

    def counts(self) -> HistogramCounts:
        return HistogramCounts(self._bounds, tuple(self._counts), self._total)
