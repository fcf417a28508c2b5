"""What a pipeline counts for operators: delays, changes by origin, gaps and their repair."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal, TypeAlias

from bridge import clock as clocks
from bridge.histogram import REPAIRS, Histogram

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.changes import GapReason
    from bridge.clock import Clock
    from bridge.rows import RowChange

Origin: TypeAlias = Literal["stream", "repair"]


class PipelineMeters:
    """The counts of one pipeline, from its start."""

    def __init__(self, clock: Clock) -> None:
        self.changes: Counter[tuple[str, Origin]] = Counter()
        """Published row changes by kind and origin."""
        self.commit_delay = Histogram()
        """From the commit of a change to its merge, by the clocks of both."""
        self.gaps: Counter[GapReason] = Counter()
        self.repair_seconds = Histogram(REPAIRS)
        """From the first gap to the end of the scan that has compared the table."""
        self._clock = clock
        self._gap_since: float | None = None

    def received(self, committed_at: str) -> None:
        """Count a change of the stream."""
        at = clocks.unix(committed_at)
        if at is not None:
            self.commit_delay.observe(self._clock.wall() - at)

    def published(self, changes: Iterable[RowChange], origin: Origin) -> None:
        for change in changes:
            kind = (
                "insert"
                if change.before is None
                else "delete"
                if change.after is None
                else "update"
            )
            self.changes[kind, origin] += 1

    def gap(self, reason: GapReason) -> None:
        """Count a gap. Those that begin while another one is repaired are repaired with it."""
        self.gaps[reason] += 1
        if self._gap_since is None:
            self._gap_since = self._clock.monotonic()

    def repaired(self) -> None:
        """End the open gaps, if there are any."""
        if self._gap_since is not None:
            self.repair_seconds.observe(self._clock.monotonic() - self._gap_since)
            self._gap_since = None

    @property
    def gap_age(self) -> float:
        """For how many seconds a gap has not been repaired; 0: there is none."""
        return 0.0 if self._gap_since is None else self._clock.monotonic() - self._gap_since
