"""Follows what the bridge can't do at present, and since when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.ops.readiness import blind, faults

if TYPE_CHECKING:
    from bridge.clock import Clock
    from bridge.pipeline.pipeline import PipelineStatus
    from bridge.source.base import SourceStatus


class Health:
    """The health of one bridge. `update` is called several times a second."""

    def __init__(self, stale_after: float, clock: Clock) -> None:
        self._stale_after = stale_after
        self._clock = clock
        self.log_error_since: float | None = None
        """The first write of the log that failed, in monotonic seconds; None: it can be written."""

    def update(self, source: SourceStatus, pipeline: PipelineStatus, log_error: str | None) -> bool:
        """Return whether something has not worked for so long that clients have to know."""
        now = self._clock.monotonic()
        if log_error is None:
            self.log_error_since = None
        elif self.log_error_since is None:
            self.log_error_since = now
        found = faults(
            source,
            log_error=log_error,
            log_error_since=self.log_error_since,
            table_error=pipeline.error,
            unreadable_since=pipeline.unreadable_since,
        )
        return blind(found, now=now, stale_after=self._stale_after) is not None
