"""Time, passed in, so that the core can be driven by a test's own clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def monotonic(self) -> float:
        """Seconds, never backwards."""
        ...

    def wall(self) -> float:
        """Unix seconds; may be wrong and may step."""
        ...


class SystemClock:
    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()


def timestamp(unix: float) -> str:
    """`unix` seconds as RFC 3339 in UTC with milliseconds and `Z`."""
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def unix(timestamp: str) -> float | None:
    """Unix seconds of an RFC 3339 timestamp, or None where it is none (`infinity`)."""
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
