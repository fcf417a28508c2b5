"""What clients are told of the upstream: `bridge-status`. Pure: times are passed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bridge.clock import timestamp
from bridge.contract.events import BridgeState, BridgeStatus, BridgeStatusData

GRACE_SECONDS: Final = 2.0
"""How long the source may be away before clients are told. A subscription that is built anew is
live again within this time, and a notice that comes and goes helps nobody."""


@dataclass(frozen=True, slots=True)
class UpstreamState:
    """A look at what is before the gateway."""

    live: bool  # the source says that changes flow
    reconciled: bool  # the first pass over the table is done, so rows and log belong together
    scanning: bool  # a pass is looking for what the stream missed


@dataclass(slots=True)
class UpstreamStatus:
    """Follows the state, and spells it.

    - `live`: what clients are told is what the table says, but for the stream's lag;
    - `catching-up`: changes flow, and what may have been missed is being looked for;
    - `stale`: no changes flow, for longer than `GRACE_SECONDS` or from the beginning.
    """

    since: float
    """Unix seconds."""
    state: BridgeState = "stale"
    _live_at: float | None = None

    def update(self, upstream: UpstreamState, now: float, wall: float) -> bool:
        """Whether the state has changed. `now`: monotonic seconds; `wall`: Unix seconds."""
        if upstream.live:
            self._live_at = now
        state: BridgeState = "live"
        if self._live_at is None or now - self._live_at > GRACE_SECONDS:
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
