"""Whether the bridge can be relied on right now. Pure: times are passed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.source.base import SourceState

if TYPE_CHECKING:
    from bridge.source.base import SourceStatus


@dataclass(frozen=True, slots=True)
class Readiness:
    """`reason` says why not, for operators, and is None when ready. `short` says it to anybody:
    nothing of addresses, errors or times.
    """

    ready: bool
    reason: str | None = None
    short: str | None = None

    def body(self) -> dict[str, object]:
        """What anybody may know."""
        if self.ready:
            return {"ready": True}
        return {"ready": False, "reason": self.short}


READY = Readiness(ready=True)


def evaluate(
    status: SourceStatus,
    *,
    reconciled: bool,
    live_at: float | None,
    now: float,
    stale_after: float,
    log_error: str | None = None,
) -> Readiness:
    """Ready once the source has been live and the table has been read, and for as long as the
    source is live and the log can be written, or both were so within the last `stale_after`
    seconds: an outage that short is mended before anybody is better served elsewhere.

    `live_at` is when that was last known to be the case, None if it never was.
    """
    if live_at is None:
        short = "the source has not been live yet"
        return not_ready(f"{short}: {_source(status, now)}", short)
    if not reconciled:
        short = "the first pass over the table is not done"
        return not_ready(short, short)
    flowing = status.state is SourceState.LIVE and log_error is None
    if flowing or now - live_at <= stale_after:
        return READY
    if log_error is not None:
        return not_ready(
            f"for {now - live_at:.0f} s, more than {stale_after:g} s: {log_error}",
            "the log can't be written",
        )
    return not_ready(
        f"the source was last live {now - live_at:.0f} s ago, "
        f"more than {stale_after:g} s: {_source(status, now)}",
        "the source is not live",
    )


def live_at(
    status: SourceStatus, *, before: float | None, now: float, log_error: str | None = None
) -> float | None:
    """When the source was last known to be live, and the log could be written: now, or at the
    source's last proof of life, or when somebody looked `before`.
    """
    if log_error is not None:
        return before
    if status.state is SourceState.LIVE:
        return now
    return max((at for at in (before, status.last_activity_at) if at is not None), default=None)


def _source(status: SourceStatus, now: float) -> str:
    text = f"it is {status.state.value} since {max(0.0, now - status.since):.0f} s"
    return f"{text} ({status.error})" if status.error else text


def not_ready(reason: str, short: str) -> Readiness:
    return Readiness(ready=False, reason=reason, short=short)
