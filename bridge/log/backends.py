"""Creates the event log and the stores in the same file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.log.local_lease import LocalLease
from bridge.log.memory import MemoryEventLog
from bridge.log.sqlite.database import Database
from bridge.log.sqlite.event_log import SqliteEventLog
from bridge.log.sqlite.revocation_store import SqliteRevocationStore
from bridge.log.sqlite.session_store import SqliteSessionStore

if TYPE_CHECKING:
    from bridge.log.base import EventLog, Lease, RevocationStore, SessionStore


@dataclass(frozen=True, slots=True)
class LogOptions:
    """`url`: `memory:` or `sqlite:///file`. `shape`: text that identifies the stored columns; a
    file with another shape begins a new epoch. `events` and `seconds` limit what is kept for
    replay.
    """

    url: str
    shape: str
    events: int
    seconds: float


@dataclass(frozen=True, slots=True)
class LogBackend:
    """A log that is not open yet, its lease, and the stores of clients' sessions and of revocations
    in the same file, if there is one.
    """

    log: EventLog
    lease: Lease = field(default_factory=LocalLease)
    sessions: SessionStore | None = None
    revocations: RevocationStore | None = None

    @property
    def shared(self) -> bool:
        """Whether other processes use the same log at the same time."""
        return self.sessions is not None and self.sessions.shared


def create_backend(options: LogOptions) -> LogBackend:
    """Return the backend of `options.url`."""
    if options.url == "memory:":
        return LogBackend(MemoryEventLog(options.events, options.seconds))
    database = Database(Path(options.url.removeprefix("sqlite:///")))
    log = SqliteEventLog(
        database, shape=options.shape, events=options.events, seconds=options.seconds
    )
    return LogBackend(
        log,
        sessions=SqliteSessionStore(database),
        revocations=SqliteRevocationStore(database),
    )
