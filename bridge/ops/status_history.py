"""The last hour of a bridge in samples, so that a page opened at night shows what came before."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from bridge.events import PROPERTY_EVENTS
from bridge.ops.readiness import Readiness

if TYPE_CHECKING:
    from bridge.ops.status import StatusReport

SAMPLE_SECONDS: Final = 5.0
SAMPLES: Final = 720
"""One hour, about 200 KB."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The state at one time. `at`: Unix seconds. Counts are totals since the leader's start."""

    at: float
    ready: bool
    state: str
    """The state of the source; `stopped`: the bridge does not run."""
    reason: str | None
    role: str = ""
    clients: int = 0
    rows: int = 0
    changes: int = 0
    events: int = 0
    gaps: int = 0
    repaired: int = 0
    slow_clients_closed: int = 0
    lag_ms: float = 0.0

    def body(self) -> dict[str, Any]:
        return asdict(self)


def sample(report: StatusReport | Readiness, readiness: Readiness, at: float) -> Sample:
    """Return the sample of a report, with its readiness, at `at`."""
    if isinstance(report, Readiness):
        return Sample(at, readiness.ready, "stopped", readiness.reason)
    counts = report.pipeline.counts
    return Sample(
        at=at,
        ready=readiness.ready,
        state=report.source.state.value,
        reason=readiness.reason,
        role=report.group.role,
        clients=report.hub.clients,
        rows=report.pipeline.rows,
        changes=counts.get("changes", 0),
        events=sum(counts.get(name, 0) for name in PROPERTY_EVENTS),
        gaps=counts.get("gaps", 0),
        repaired=counts.get("repaired", 0),
        slow_clients_closed=report.slow_clients_closed,
        lag_ms=round(report.group.lag_seconds * 1000, 1),
    )


class StatusHistory:
    """The last `SAMPLES` samples."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=SAMPLES)

    def add(self, taken: Sample) -> None:
        self._samples.append(taken)

    def bodies(self) -> list[dict[str, Any]]:
        """Return the samples as JSON objects, the oldest first."""
        return [each.body() for each in self._samples]
