"""Status of a running bridge, as /status and /metrics report it."""

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
    """Status of all parts at one time. Times are seconds of the monotonic clock."""

    source: SourceStatus
    pipeline: PipelineStatus
    hub: HubCounts
    connections: int  # including those without a Socket.IO client yet
    rejections: Mapping[str, int]  # rejected connections by code
    slow_clients_closed: int
    recoveries: dict[str, int]
    head: str
    log_error: str | None  # why the log can't be written; None: it can
    started_at: float
    log_error_since: float | None = None  # the first write that failed
    watchers: WatchSyncStatus | None = None  # None: notifications are off
