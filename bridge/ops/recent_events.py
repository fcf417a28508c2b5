"""The events appended to the log since the last look, for an operator who watches it."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Final

import orjson

from bridge.errors import PositionGoneError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.log.base import Entry, EventLog

SHOWN: Final = 20
"""Events that one look returns, the latest."""

SHOWN_BYTES: Final = 4096
"""Size of an envelope beyond which its data is left out."""

RETRY_SECONDS: Final = 0.1
"""Until a log whose history has ended is followed again."""

REGIONS: Final = 50
"""Regions that one look counts, those with the most events."""


class RecentEvents:
    """Follows a log for one operator. It keeps `SHOWN` entries, however many there are."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=SHOWN)
        self._regions: Counter[str] = Counter()
        self._total = 0

    async def follow(self, log: EventLog) -> None:
        """Follow `log` from its head until it is closed. A history that ends is followed by the
        next one; an operator who lags behind misses events.
        """
        while True:
            try:
                async for commit in log.follow(log.head):
                    self.add(commit.entries)
            except PositionGoneError:
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    def add(self, entries: Sequence[Entry]) -> None:
        self._total += len(entries)
        self._entries.extend(entries)
        for entry in entries:
            self._regions.update(entry.event.regions)

    def take(self) -> dict[str, Any] | None:
        """Return what was added since the last call; None: nothing.

        `events`, the latest `SHOWN`, each with `position`, `at` (Unix seconds of its append) and
        `envelope`, or its `name` alone if the envelope is long; `total`, how many there were;
        `regions`, how many in each region.
        """
        if not self._total:
            return None
        taken = {
            "events": [_described(each) for each in self._entries],
            "total": self._total,
            "regions": dict(self._regions.most_common(REGIONS)),
        }
        self._entries.clear()
        self._regions.clear()
        self._total = 0
        return taken


def _described(entry: Entry) -> dict[str, Any]:
    event = entry.event
    described = {
        "position": str(entry.position),
        "at": entry.at,
        "name": event.name,
        "key": event.key,
        "regions": event.regions,
    }
    if len(event.envelope) <= SHOWN_BYTES:
        described["envelope"] = orjson.loads(event.envelope)
    return described
