"""What the supervisor and its workers agree on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.settings import Settings

STARTED: Final = b"started"
"""The line that a worker prints once it serves."""

ALIVE: Final = b"alive"
"""The line that a worker's event loop prints every `BEAT_SECONDS`."""

BEAT_SECONDS: Final = 1.0

DRAIN: Final = b"d"
STOP_NOW: Final = b"q"
"""Orders to a worker, on its stdin. The end of the stream is an order to drain, too: the supervisor
is gone."""

HISTORY_LOST: Final = 3
"""Exit code of a leader process whose log went back: the next one begins another epoch."""

LEADER_SOCKET: Final = "leader.sock"


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """One worker. It is pickled to the worker's stdin."""

    settings: Settings
    directory: Path
    """Of the sockets between the processes."""
    number: int
    """0: the leader process; serving processes count from 1."""
    serving: int
    """Number of serving processes."""
    host: str
    port: int
    continues: bool = False
    """Whether another leader process had the log before, and its followers may still be there."""

    @property
    def leads(self) -> bool:
        return self.number == 0

    @property
    def name(self) -> str:
        return "leader" if self.leads else f"serve {self.number}"


def process_count(setting: int) -> int:
    """Return the number of serving processes; 0: one for each core that this process may use."""
    if setting:
        return setting
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
