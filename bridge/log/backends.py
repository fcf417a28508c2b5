"""Creates the event log and the stores in the same file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.errors import LogUnusableError
from bridge.log.local_lease import LocalLease
from bridge.log.memory import MemoryEventLog
from bridge.log.redis.url import is_redis
from bridge.log.sqlite.database import Database
from bridge.log.sqlite.event_log import SqliteEventLog
from bridge.log.sqlite.revocation_store import SqliteRevocationStore
from bridge.log.sqlite.session_store import SqliteSessionStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.log.base import EventLog, Lease, LogServer, RevocationStore, SessionStore


@dataclass(frozen=True, slots=True)
class LogOptions:
    """`url`: `memory:`, `sqlite:///file`, or that of a Redis server. `shape`: text that identifies
    the stored columns; a log with another shape begins a new epoch. `events` and `seconds` limit
    what is kept for replay.

    The others are for logs that several machines share: the `name` of the bridge on the server, for
    how long a leader has the lease after it renewed it, and how long the sessions of clients are
    kept after their machine is gone.
    """

    url: str
    shape: str
    events: int
    seconds: float
    name: str = "bridge"
    lease_seconds: float = 2.5
    session_seconds: float = 120.0
    rows_only: bool = False
    """Whether only the leader uses it, for rows."""


@dataclass(frozen=True, slots=True)
class LogBackend:
    """A log that is not open yet, its lease, and the stores of clients' sessions and of revocations
    in the same file, if there is one.
    """

    log: EventLog
    lease: Lease = field(default_factory=LocalLease)
    sessions: SessionStore | None = None
    revocations: RevocationStore | None = None
    server: Callable[[], LogServer | None] = lambda: None
    """Returns the server that stores the log; None: there is none."""

    @property
    def shared(self) -> bool:
        """Whether other processes use the same log at the same time."""
        return self.sessions is not None and self.sessions.shared


def create_backend(options: LogOptions) -> LogBackend:
    """Return the backend of `options.url`."""
    if options.url == "memory:":
        return LogBackend(MemoryEventLog(options.events, options.seconds))
    if is_redis(options.url):
        return _redis_backend(options)
    database = Database(Path(options.url.removeprefix("sqlite:///")))
    log = SqliteEventLog(
        database, shape=options.shape, events=options.events, seconds=options.seconds
    )
    return LogBackend(
        log,
        sessions=SqliteSessionStore(database),
        revocations=SqliteRevocationStore(database),
    )


async def check_backend(options: LogOptions) -> Sequence[tuple[bool, str]]:
    """Return what an operator should know about the log, without a write to it, and whether the
    bridge can start with it; nothing for a log in files or in memory.
    """
    if not is_redis(options.url):
        return ()
    try:
        from bridge.log.redis.report import report  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        return [(False, f"log: {_missing(error)}")]
    return await report(options.url, options.name, options.shape)


def _redis_backend(options: LogOptions) -> LogBackend:
    try:
        from bridge.log.redis.build import RedisOptions, build, build_rows  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    if options.rows_only:
        return LogBackend(build_rows(options.url, options.name, options.shape))
    parts = build(
        RedisOptions(
            url=options.url,
            name=options.name,
            shape=options.shape,
            events=options.events,
            seconds=options.seconds,
            lease_seconds=options.lease_seconds,
            session_seconds=options.session_seconds,
        )
    )
    return LogBackend(
        parts.log, parts.lease, parts.sessions, parts.revocations, lambda: parts.log.server
    )


def _missing(error: ModuleNotFoundError) -> LogUnusableError:
    return LogUnusableError(
        f"a log in Redis needs {error.name}, which is part of the redis extra: "
        "pip install 'supabase-socketio-bridge[redis]'"
    )
