"""The state of the source as clients receive it: `bridge-status`. No I/O; time is passed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bridge.clock import timestamp
from bridge.contract.events import BridgeState, BridgeStatus, BridgeStatusData

GRACE_SECONDS: Final = 2.0
"""How long the source may be disconnected before the state is `stale`. A subscription that is
renewed is live again within this time, and a notice that vanishes at once is of no use."""


@dataclass(frozen=True, slots=True)
class UpstreamState:
    """The state of the source and the pipeline."""

    live: bool  # the source receives changes
    reconciled: bool  # the first scan of the table is done, so the rows agree with the log
    scanning: bool  # a scan is looking for changes that the stream missed
    blind: bool = False  # the table or the source could not be observed for too long


@dataclass(slots=True)
class UpstreamStatus:
    """Derives the state of `bridge-status`.

    - `live`: clients receive the state of the table, but for the lag of the stream;
    - `catching-up`: changes are received, and a scan is looking for missed ones;
    - `stale`: no changes are received, for longer than `GRACE_SECONDS` or since the start, or the
      bridge can't know whether there are any.
    """

    since: float
    """Unix seconds."""
    state: BridgeState = "stale"
    _live_at: float | None = None

    def update(self, upstream: UpstreamState, now: float, wall: float) -> bool:
        """Update the state; True if it changed. `now`: monotonic seconds; `wall`: Unix seconds."""
        if upstream.live:
            self._live_at = now
        state: BridgeState = "live"
        if upstream.blind or self._live_at is None or now - self._live_at > GRACE_SECONDS:
            state = "stale"
        elif upstream.scanning or not upstream.reconciled:
            state = "catching-up"
        if state == self.state:
            return False
        self.state, self.since = state, wall
        return True

    def envelope(self) -> bytes:
        data = BridgeStatusData(state=self.state, since=timestamp(self.since))
        return BridgeStatus(data=data).model_dump_json().encode()
