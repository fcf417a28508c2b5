"""How a running bridge stands, for those who ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.gateway.hub import HubCounts
    from bridge.notifications.watch_sync import WatchSyncStatus
    from bridge.pipeline.pipeline import PipelineStatus
    from bridge.source.base import SourceStatus


@dataclass(frozen=True, slots=True)
class StatusReport:
    """How a running bridge stands. Times are seconds of the monotonic clock."""

    source: SourceStatus
    pipeline: PipelineStatus
    hub: HubCounts
    connections: int  # also of those who are no clients yet
    rejections: Mapping[str, int]  # at the door, by code
    slow_clients_closed: int
    recoveries: dict[str, int]
    head: str
    log_error: str | None  # why the log can't be written at present
    started_at: float
    watchers: WatchSyncStatus | None = None  # None: nobody is notified of anything
