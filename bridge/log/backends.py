"""Which log the settings ask for."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.log.memory import MemoryEventLog
from bridge.log.sqlite.database import Database
from bridge.log.sqlite.event_log import SqliteEventLog
from bridge.log.sqlite.revocation_store import SqliteRevocationStore
from bridge.log.sqlite.session_store import SqliteSessionStore

if TYPE_CHECKING:
    from bridge.log.base import EventLog, RevocationStore, SessionStore
    from bridge.settings import Settings


@dataclass(frozen=True, slots=True)
class LogBackend:
    """A log that is not open yet, and where clients' sessions and sign-outs are kept beside it, if
    anywhere.
    """

    log: EventLog
    sessions: SessionStore | None = None
    revocations: RevocationStore | None = None


def create_backend(settings: Settings) -> LogBackend:
    """The backend of `settings.log`."""
    events, seconds = settings.log_events, settings.log_seconds
    if settings.log == "memory:":
        return LogBackend(MemoryEventLog(events, seconds))
    database = Database(Path(settings.log.removeprefix("sqlite:///")))
    # Whatever of this changes, rows that were kept before can't be compared with the table, or
    # clients hold rows of another shape.
    shape = asdict(settings.projection)
    if not shape["member"]:
        del shape["member"]  # files from before there were views say the same
    log = SqliteEventLog(
        database, shape=json.dumps(shape, sort_keys=True), events=events, seconds=seconds
    )
    return LogBackend(log, SqliteSessionStore(database), SqliteRevocationStore(database))
