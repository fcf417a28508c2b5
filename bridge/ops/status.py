"""Status of a running bridge, as /status and /metrics report it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bridge.ops.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from bridge.gateway.hub import HubCounts
    from bridge.log.base import LogServer
    from bridge.notifications.watch_sync import WatchSyncStatus
    from bridge.pipeline.meters import PipelineMeters
    from bridge.pipeline.pipeline import PipelineStatus
    from bridge.source.base import SourceStatus


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """One process among those that share its log."""

    role: str  # leader or follower
    term: int  # counts the leaders
    lag_entries: int  # received and not applied yet
    lag_seconds: float  # from a note sent here to its receipt, through the log
    machines: Sequence[MachineStatus] = ()  # empty: the log is not shared


@dataclass(frozen=True, slots=True)
class MachineStatus:
    """One process that shares the log. `last_beat_at`: seconds of the monotonic clock."""

    process: str
    machine: str
    role: str
    last_beat_at: float


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One of several processes of a machine."""

    name: str
    pid: int
    clients: int
    connections: int


ALONE: Final = GroupStatus("leader", 1, 0, 0.0)


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
    group: GroupStatus = ALONE
    log_server: LogServer | None = None  # None: the log is in this process's files or memory
    traffic: Traffic = field(default_factory=Traffic)
    meters: PipelineMeters | None = None  # None: another process follows the table
    stopping: bool = False  # no more clients are accepted
    rooms: Collection[str] = ()  # the rooms with clients
    processes: Sequence[ProcessStatus] = ()  # empty: this process is alone on its machine
