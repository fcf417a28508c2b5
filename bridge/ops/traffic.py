"""What the serving processes of a bridge count, and its sum over all of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bridge.histogram import DELAYS, HistogramCounts

if TYPE_CHECKING:
    from collections.abc import Mapping


def _empty() -> HistogramCounts:
    return HistogramCounts.empty(DELAYS)


@dataclass(frozen=True, slots=True)
class Traffic:
    """`refusals` has the keys `code origin`; the origin is a class, never a page's."""

    deliveries: int = 0
    bytes: int = 0
    transports: Mapping[str, int] = field(default_factory=dict)
    refusals: Mapping[str, int] = field(default_factory=dict)
    delivery_delay: HistogramCounts = field(default_factory=_empty)
    round_trip: HistogramCounts = field(default_factory=_empty)
    loop_lag: HistogramCounts = field(default_factory=_empty)

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Traffic:
        """Return what orjson made of one in another process."""
        names = ("delivery_delay", "round_trip", "loop_lag")
        return cls(**{**data, **{name: HistogramCounts.parse(data[name]) for name in names}})

    def plus(self, other: Traffic) -> Traffic:
        """Return the sum of both."""
        return Traffic(
            self.deliveries + other.deliveries,
            self.bytes + other.bytes,
            summed(self.transports, other.transports),
            summed(self.refusals, other.refusals),
            self.delivery_delay.plus(other.delivery_delay),
            self.round_trip.plus(other.round_trip),
            self.loop_lag.plus(other.loop_lag),
        )


def summed(*counts: Mapping[str, int]) -> dict[str, int]:
    """Return the sum of each count."""
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)
