"""Readiness of the bridge. No I/O; times are passed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.source.base import SourceState

if TYPE_CHECKING:
    from bridge.source.base import SourceStatus


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the bridge is ready. Otherwise `reason` is for operators, and `short` is public,
    without addresses, errors and times.
    """

    ready: bool
    reason: str | None = None
    short: str | None = None

    def body(self) -> dict[str, object]:
        """Return the public body of /readyz."""
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
    """Return whether the bridge is ready: the source has been live, the first scan of the table is
    done, and the source is live and the log writable, or both were within the last `stale_after`
    seconds. A shorter outage ends before a failover would help.

    `live_at` is the last time at which both were the case; None: never.
    """
    if live_at is None:
        short = "the source has not been live yet"
        return not_ready(f"{short}: {_source(status, now)}", short)
    if not reconciled:
        short = "the first scan of the table is not done"
        return not_ready(short, short)
    live = status.state is SourceState.LIVE and log_error is None
    if live or now - live_at <= stale_after:
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
    """Return the last time at which the source was live and the log writable: now, at the source's
    last activity, or `before`, the result of the previous call.
    """
    if log_error is not None:
        return before
    if status.state is SourceState.LIVE:
        return now
    return max((at for at in (before, status.last_activity_at) if at is not None), default=None)


def _source(status: SourceStatus, now: float) -> str:
    text = f"{status.state.value} for {max(0.0, now - status.since):.0f} s"
    return f"{text} ({status.error})" if status.error else text


def not_ready(reason: str, short: str) -> Readiness:
    return Readiness(ready=False, reason=reason, short=short)
