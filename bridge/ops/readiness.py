"""Readiness of the bridge. No I/O; times are passed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

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

_LOG: Final = "the log can't be written"
_TABLE: Final = "the table can't be read"
_SILENT: Final = "the source shows no sign of life"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that does not work at present, since its first failure (monotonic seconds)."""

    short: str
    detail: str
    since: float | None


def faults(
    status: SourceStatus,
    *,
    log_error: str | None = None,
    log_error_since: float | None = None,
    table_error: str | None = None,
    unreadable_since: float | None = None,
) -> list[Fault]:
    """Return what does not work, the root first: without the log nothing can be stored, without the
    database Realtime delivers nothing.

    A live source counts by its last proof of life, since a socket stays open while the database
    behind it is down.
    """
    found = []
    if log_error is not None:
        found.append(Fault(_LOG, log_error, log_error_since))
    if unreadable_since is not None:
        found.append(Fault(_TABLE, table_error or "", unreadable_since))
    if status.state is SourceState.LIVE and status.last_activity_at is not None:
        detail = status.error or "neither a change nor a look at the table has confirmed it"
        found.append(Fault(_SILENT, detail, status.last_activity_at))
    return found


def blind(found: list[Fault], *, now: float, stale_after: float) -> Fault | None:
    """Return the first fault that has lasted for longer than `stale_after` seconds."""
    return next(
        (each for each in found if each.since is not None and now - each.since > stale_after), None
    )


def evaluate(
    status: SourceStatus,
    *,
    reconciled: bool,
    live_at: float | None,
    now: float,
    stale_after: float,
    log_error: str | None = None,
    log_error_since: float | None = None,
    table_error: str | None = None,
    unreadable_since: float | None = None,
) -> Readiness:
    """Return whether the bridge is ready: the source has been live, the first scan of the table is
    done, and log, table and source work, or did within the last `stale_after` seconds. A shorter
    outage ends before a failover would help.

    `live_at` is the last time at which the source was live and the log writable; None: never.
    """
    found = faults(
        status,
        log_error=log_error,
        log_error_since=live_at if log_error_since is None else log_error_since,
        table_error=table_error,
        unreadable_since=unreadable_since,
    )
    fault = blind(found, now=now, stale_after=stale_after)
    if fault is not None and fault.since is not None:
        lasted = f"for {now - fault.since:.0f} s, more than {stale_after:g} s"
        root = blind(found, now=now, stale_after=stale_after / 2)
        if fault.short == _SILENT and root is not None and root.short != _SILENT:
            # Silence begins with the last proof of life, up to one look before its cause fails.
            return not_ready(f"{root.short}: {root.detail}; {_SILENT} {lasted}", root.short)
        if fault.short == _LOG:
            return not_ready(f"{lasted}: {fault.detail}", fault.short)
        return not_ready(f"{fault.short} {lasted}: {fault.detail}", fault.short)
    # Before the first scan there is no time of grace, and the root of the delay is named.
    root = next((each for each in found if each.short != _SILENT), None)
    if (live_at is None or not reconciled) and root is not None:
        return not_ready(f"{root.short}: {root.detail}", root.short)
    if live_at is None:
        short = "the source has not been live yet"
        return not_ready(f"{short}: {_source(status, now)}", short)
    if not reconciled:
        short = "the first scan of the table is not done"
        return not_ready(short, short)
    if status.state is SourceState.LIVE or now - live_at <= stale_after:
        return READY
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
    since = status.since if status.failing_since is None else status.failing_since
    text = f"{status.state.value} for {max(0.0, now - since):.0f} s"
    return f"{text} ({status.error})" if status.error else text


def not_ready(reason: str, short: str) -> Readiness:
    return Readiness(ready=False, reason=reason, short=short)
