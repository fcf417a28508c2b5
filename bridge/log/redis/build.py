"""Makes the parts of a log in Redis."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.clock import SystemClock
from bridge.log.redis.appender import Appender
from bridge.log.redis.connection import Connection
from bridge.log.redis.event_log import RedisEventLog
from bridge.log.redis.history import LocalHistory
from bridge.log.redis.keys import Keys
from bridge.log.redis.lease import RedisLease
from bridge.log.redis.loader import HistoryLoader
from bridge.log.redis.machines import Machines
from bridge.log.redis.reader import StreamReader
from bridge.log.redis.revocation_store import RedisRevocationStore
from bridge.log.redis.row_log import RedisRowLog
from bridge.log.redis.scripts import Scripts
from bridge.log.redis.session_store import RedisSessionStore

if TYPE_CHECKING:
    from bridge.clock import Clock


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """`name`: the bridge that the keys belong to. `shape` identifies the columns of its rows.
    `events` and `seconds` limit what is kept for replay. `lease_seconds`: after so long without a
    renewal another process takes over. `session_seconds`: how long the sessions of a process that
    is gone are kept.
    """

    url: str
    name: str
    shape: str
    events: int
    seconds: float
    lease_seconds: float
    session_seconds: float


@dataclass(frozen=True, slots=True)
class RedisParts:
    """The log and the stores, which share connections. They close with the log."""

    log: RedisEventLog
    lease: RedisLease
    sessions: RedisSessionStore
    revocations: RedisRevocationStore


def build(options: RedisOptions, *, clock: Clock | None = None) -> RedisParts:
    """Return a log that is not open yet, and its stores. `clock` is for tests."""
    clock = clock or SystemClock()
    process = secrets.token_hex(6)
    connection = Connection(options.url)
    keys = Keys(options.name)
    scripts = Scripts(keys, shape=options.shape, events=options.events)
    history = LocalHistory(events=options.events, seconds=options.seconds, clock=clock)
    loader = HistoryLoader(
        connection, scripts, keys, history, process=process, events=options.events
    )
    # Time-outs are of the network, whatever clock the entries have.
    reader = StreamReader(
        connection,
        scripts,
        keys,
        history,
        process=process,
        restart=loader.load,
        clock=SystemClock(),
    )
    lease = RedisLease(
        connection,
        scripts,
        history,
        reader,
        process=process,
        seconds=options.lease_seconds,
        clock=SystemClock(),
    )
    appender = Appender(connection, scripts, history, lease, reader, clock=clock)
    sessions = RedisSessionStore(connection, scripts, keys, process=process)
    machines = Machines(
        connection,
        scripts,
        lease,
        sessions,
        process=process,
        session_seconds=options.session_seconds,
    )
    log = RedisEventLog(
        connection=connection,
        scripts=scripts,
        keys=keys,
        history=history,
        loader=loader,
        reader=reader,
        lease=lease,
        appender=appender,
        machines=machines,
        process=process,
        clock=SystemClock(),
    )
    return RedisParts(log, lease, sessions, RedisRevocationStore(connection, keys))


def build_rows(url: str, name: str, shape: str) -> RedisRowLog:
    """Return the log of rows that only the leader of the bridge `name` uses; it is not open yet."""
    return RedisRowLog(Connection(url), Keys(name), shape=shape)
