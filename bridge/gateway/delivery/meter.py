"""What the writer counts: once per broadcast, not per client."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bridge.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Sized

    from bridge.gateway.engineio.encoding import EncodedEvent, EncodedPackets


class DeliveryMeter:
    """Counts deliveries, their bytes, and the time from the log to the last write."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self.events = 0
        """Events times the clients that they were sent to."""
        self.bytes = 0
        """Bytes of websocket frames for them."""
        self.delay = Histogram()
        self._wall = wall

    def packed(
        self, queues: Sized, events: Sized, packets: list[EncodedPackets]
    ) -> list[EncodedPackets]:
        """Count one broadcast, and return its packets."""
        clients = len(queues)
        self.events += clients * len(events)
        self.bytes += clients * sum(len(each.frames) for each in packets)
        return packets

    def written(self, events: list[EncodedEvent]) -> None:
        """Count the end of the writes of a broadcast."""
        now = self._wall()
        for event in events:
            self.delay.observe(now - event.at)
