"""Creates the logs of several processes of one machine: one owns it, the others follow that one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bridge.clock import SystemClock
from bridge.log.backends import LogBackend
from bridge.log.ipc.follower import (
    FollowerEventLog,
    FollowerLease,
    FollowerRevocationStore,
    FollowerSessionStore,
)
from bridge.log.ipc.leader import FollowerServer
from bridge.log.ipc.link import LeaderLink
from bridge.log.ipc.served import LeaderSessionStore, MemoryRevocationStore, ServedEventLog
from bridge.log.ipc.shared_sessions import SharedSessions
from bridge.log.memory import MemoryEventLog
from bridge.log.sqlite.database import Database
from bridge.log.sqlite.event_log import SqliteEventLog
from bridge.log.sqlite.revocation_store import SqliteRevocationStore
from bridge.log.sqlite.session_store import SqliteSessionStore

if TYPE_CHECKING:
    from bridge.log.backends import LogOptions


def create_leader_backend(
    options: LogOptions, socket: Path, *, session_seconds: float, continues: bool
) -> tuple[LogBackend, FollowerServer]:
    """Return the backend of `options.url`, served to the other processes at `socket`, and its
    server.

    `session_seconds`: how long the sessions of a process that is gone are kept. `continues`: a
    leader process before had the log, and its followers are still there.
    """
    clock = SystemClock()
    local: MemoryEventLog | SqliteEventLog
    if options.url == "memory:":
        stores = LogBackend(
            local := MemoryEventLog(options.events, options.seconds, clock, keep_rows=True)
        )
    else:
        database = Database(Path(options.url.removeprefix("sqlite:///")))
        local = SqliteEventLog(
            database,
            shape=options.shape,
            events=options.events,
            seconds=options.seconds,
            clock=clock,
            continues=continues,
        )
        stores = LogBackend(
            local,
            sessions=SqliteSessionStore(database),
            revocations=SqliteRevocationStore(database),
        )
    sessions = SharedSessions(stores.sessions, seconds=session_seconds, clock=clock)
    revocations = stores.revocations or MemoryRevocationStore()
    server = FollowerServer(socket, local, sessions, revocations)
    backend = LogBackend(
        ServedEventLog(local, sessions, server),
        sessions=LeaderSessionStore(sessions, local.process),
        revocations=revocations,
    )
    return backend, server


def create_follower_backend(
    options: LogOptions, socket: Path, process: str
) -> tuple[LogBackend, LeaderLink]:
    """Return the backend of a process that follows the leader process at `socket`, and its
    connection. `options.url` is that of the leader process, and not opened here.
    """
    link = LeaderLink(socket, process)
    sessions = FollowerSessionStore(link)
    log = FollowerEventLog(
        link,
        process,
        sessions,
        events=options.events,
        seconds=options.seconds,
        clock=SystemClock(),
    )
    backend = LogBackend(log, FollowerLease(), sessions, FollowerRevocationStore(link))
    return backend, link
