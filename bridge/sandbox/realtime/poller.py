"""Polls a temporary replication slot and routes its changes to channels.

Changes are lost in the same cases as on the real server, and for the same reasons. Therefore it
polls with SQL functions instead of streaming: `pg_logical_slot_get_binary_changes` consumes the
changes it returns whether or not they are delivered, and a temporary slot is dropped with its
backend, together with all pending changes. An empty publication has no slot, and several failures
in a row end the poller.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict, deque
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

import psycopg
from psycopg import sql

from bridge.sandbox.realtime import committed, pg_catalog, row_security, walrus
from bridge.source.replication import pgoutput

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Sequence

    from bridge.sandbox.realtime.subscriptions import (
        ChangeReceiver,
        RealtimeSubscription,
        SubscriptionRegistry,
    )

log = logging.getLogger(__name__)

POLL_INTERVAL = 0.1
"""Seconds between polls while the slot advances."""
IDLE_INTERVALS = 5
"""Intervals between polls while the slot does not advance: the first change after an idle period
waits up to 500 ms."""
UNMATCHED_DELAY = (0.05, 0.1)
"""Range of seconds added after a poll in which no change matched a subscription."""
MAX_CHANGES_PER_POLL = 100
"""Changes per poll; a soft limit, since a transaction is never split."""
RATE_WINDOW = 60.0
"""Seconds over which the rate limit averages."""
MAX_FAILURES = 6
"""Failures in a row after which the poller gives up (`ReplicationPollerMaxRetriesReached`)."""
RECOVERY_DELAY = (0.1, 1.0)
"""Range of seconds until a lost slot is recreated; the upper bound doubles with each consecutive
failure, up to `MAX_RECOVERY_DELAY`."""
MAX_RECOVERY_DELAY = 16.0
SESSION_OPTIONS = (
    "-c timezone=UTC -c datestyle=ISO -c intervalstyle=postgres -c bytea_output=hex"
    " -c extra_float_digits=1 -c statement_timeout=15000"
)
"""The text format of values depends on the poller's session. 15 s is the real driver's timeout for
one poll."""

GENERATED_COLUMNS_SINCE = 18_00_00
"""First PostgreSQL version in which pgoutput can publish generated columns."""
FLUSH_SINCE = 17_00_00
"""First PostgreSQL version that can flush the WAL on request."""
FLUSH = (
    "select pg_logical_emit_message(false, 'sandbox', '', true)"
    " where pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn()"
)
"""Logical decoding reads flushed WAL only. A session with `synchronous_commit` off flushes up to
half a second after its commit, a delay that no real project has."""
MIN_INTERVAL = 0.002
"""Minimum number of seconds between polls, at any pace."""

Outgoing: TypeAlias = tuple["ChangeReceiver", str, list[int]]
"""Receiver, `data` of the change as JSON text, ids of the matching bindings."""


class Poller:
    """Run `run` as a task. The other methods may be called while it runs."""

    def __init__(
        self,
        database_url: str,
        publication: str,
        subscriptions: SubscriptionRegistry,
        emit: Callable[[Sequence[Outgoing]], None],
        *,
        rng: random.Random,
        pace: float = 1.0,
        change_limit: float | None = None,
    ) -> None:
        self._database_url = database_url
        self._publication = publication
        self._subscriptions = subscriptions
        self._emit = emit
        self._rng = rng
        self.pace = pace
        self.change_limit = change_limit
        """Maximum (changes x matching subscriptions) per second, averaged over a minute. Changes
        above it are consumed and silently dropped. None: no limit."""
        self.unpaused = asyncio.Event()
        """While cleared, the slot is not polled and changes accumulate in it."""
        self.unpaused.set()
        self.ready = asyncio.Event()
        """Set while the slot exists."""
        self.started = asyncio.Event()
        """Set while subscriptions need not wait for the slot: it exists, or the publication is
        empty, or the database does not accept connections."""
        self.empty_check_seconds = 60.0
        """Seconds until the poller looks at an empty publication again. Not scaled by `pace`."""
        self.failing_polls = 0
        """Number of polls that are to fail."""
        self.rate_limited = 0
        self.slots_lost = 0
        self.slots_dropped = 0
        """Slots dropped because the publication was empty."""
        self.gave_up = 0
        """Ends of `run` after `MAX_FAILURES` failures in a row."""
        self._connection: pg_catalog.Connection | None = None
        self._decoder = pgoutput.PgoutputDecoder()
        self._slot = ""
        self._poll_lock = asyncio.Lock()
        self._recent_counts: deque[tuple[float, int]] = deque()
        self._failures = 0

    @property
    def backend_pid(self) -> int | None:
        """Process id of the backend that owns the slot; None while there is no slot."""
        connection = self._connection
        return connection.info.backend_pid if connection and self.ready.is_set() else None

    async def run(self) -> None:
        """Create the slot and poll it; recreate it whenever it is lost. Return after `MAX_FAILURES`
        failures in a row. Clients are not notified of any of it.
        """
        self._failures = 0
        try:
            while True:
                try:
                    if await self._open():
                        await self._drain()
                except (psycopg.Error, LookupError, pgoutput.MalformedMessageError) as error:
                    # The slot is dropped with all pending changes, and clients are not notified.
                    # Besides errors of Postgres, the cause may be a table that was altered between
                    # commit and poll.
                    log.debug("replication slot lost: %s", error)
                    self._failures += 1
                    if self.ready.is_set():
                        self.slots_lost += 1
                        self.started.clear()
                    else:
                        self.started.set()
                    await self._disconnect()
                    if self._failures >= MAX_FAILURES:
                        self.gave_up += 1
                        return
                    upper = min(MAX_RECOVERY_DELAY, RECOVERY_DELAY[1] * 2 ** (self._failures - 1))
                    delay = self._rng.uniform(upper * RECOVERY_DELAY[0], upper)
                    await asyncio.sleep(delay * self.pace)
                else:
                    # The publication is empty.
                    self.slots_dropped += self.ready.is_set()
                    await self._disconnect()
                    self.started.set()
                    await asyncio.sleep(self.empty_check_seconds)
        finally:
            self.started.clear()
            await self._disconnect()

    async def wait_idle(self) -> None:
        """Return when no poll is in flight."""
        async with self._poll_lock:
            return

    async def skip_pending(self) -> None:
        """Skip all pending changes: advance the slot to the current WAL position."""
        async with self._poll_lock:
            if self._connection is not None and self.ready.is_set():
                await self._connection.execute(
                    "select pg_replication_slot_advance(%s, pg_current_wal_insert_lsn())",
                    (self._slot,),
                )

    async def _open(self) -> bool:
        """Create the slot. Return False if the publication is empty."""
        self._connection = await psycopg.AsyncConnection.connect(
            self._database_url,
            autocommit=True,
            connect_timeout=5,
            options=SESSION_OPTIONS,
            application_name="realtime_rls",
        )
        if self._connection.info.server_version >= GENERATED_COLUMNS_SINCE:
            # The real server's plugin, wal2json, sends generated columns; for pgoutput the
            # publication has to include them.
            with suppress(psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedObject):
                await self._connection.execute(
                    sql.SQL("alter publication {} set (publish_generated_columns = stored)").format(
                        sql.Identifier(self._publication)
                    )
                )
        if not await self._published(self._connection):
            return False
        self._decoder = pgoutput.PgoutputDecoder()
        self._slot = f"supabase_realtime_replication_slot_{self._rng.getrandbits(32):08x}"
        await self._connection.execute(
            "select pg_create_logical_replication_slot(%s, 'pgoutput', true)", (self._slot,)
        )
        self.ready.set()
        self.started.set()
        return True

    async def _published(self, connection: pg_catalog.Connection) -> bool:
        """Return whether the publication has a table; without one the real server has no slot."""
        cursor = await connection.execute(
            "select exists (select from pg_publication_tables where pubname = %s)",
            (self._publication,),
        )
        return (await cursor.fetchone()) == (True,)

    async def _disconnect(self) -> None:
        self.ready.clear()
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _drain(self) -> None:
        """Poll until the publication is empty."""
        while True:
            await self.unpaused.wait()
            async with self._poll_lock:
                assert self._connection is not None, "polled only while connected"
                if not await self._published(self._connection):
                    return
                moved, delivered = await self._poll(self._connection)
            self._failures = 0
            if delivered:
                # Yield to the writers of the frames just queued.
                await asyncio.sleep(0)
                continue
            wait = (
                POLL_INTERVAL + self._rng.uniform(*UNMATCHED_DELAY)
                if moved
                else POLL_INTERVAL * IDLE_INTERVALS
            )
            await asyncio.sleep(max(MIN_INTERVAL, wait * self.pace))

    async def _poll(self, connection: pg_catalog.Connection) -> tuple[bool, bool]:
        """Return whether the slot advanced, and whether a change was delivered."""
        if self.failing_polls:
            self.failing_polls -= 1
            raise psycopg.errors.QueryCanceled("fault injected by the sandbox")
        if connection.info.server_version >= FLUSH_SINCE:
            await connection.execute(FLUSH)
        cursor = await connection.execute(
            "select data from pg_logical_slot_get_binary_changes("
            "%s, null, %s, 'proto_version', '1', 'publication_names', %s)",
            (self._slot, MAX_CHANGES_PER_POLL, self._publication),
            binary=True,
        )
        messages = await cursor.fetchall()
        if not messages:
            return False, False
        changes = self._decode(bytes(data) for (data,) in messages)
        sent = await self._dispatch(connection, changes) if changes else 0
        return True, sent > 0

    def _decode(self, messages: Iterable[bytes]) -> list[committed.CommittedChange]:
        changes: list[committed.CommittedChange] = []
        timestamp = ""
        for data in messages:
            message = self._decoder.decode(data)
            if isinstance(message, pgoutput.RowMessage):
                changes.append(
                    committed.CommittedChange(message, timestamp, committed.is_too_large(message))
                )  # fmt: skip
            elif isinstance(message, pgoutput.BeginMessage):
                timestamp = committed.timestamp(message.commit_timestamp)
            # TRUNCATE is consumed without a message, as on the real server.
        return changes

    async def _dispatch(
        self, connection: pg_catalog.Connection, changes: Sequence[committed.CommittedChange]
    ) -> int:
        outgoing: dict[committed.CommittedChange, list[Outgoing]] = {
            change: [] for change in changes
        }
        by_relation: defaultdict[pgoutput.Relation, list[committed.CommittedChange]] = defaultdict(
            list
        )
        for change in changes:
            by_relation[change.change.relation].append(change)
        for relation, rows in by_relation.items():
            covering = self._subscriptions.covering(
                relation.schema, relation.table, {row.change.op for row in rows}
            )
            if covering:
                await _route(connection, relation, rows, covering, outgoing)
        total = sum(len(ids) for sends in outgoing.values() for _, _, ids in sends)
        if total and self._over_limit(total):
            return 0
        for sends in outgoing.values():
            if sends:
                self._emit(sends)
        return total

    def _over_limit(self, count: int) -> bool:
        if self.change_limit is None:
            return False
        now = time.monotonic()
        while self._recent_counts and self._recent_counts[0][0] < now - RATE_WINDOW:
            self._recent_counts.popleft()
        if sum(n for _, n in self._recent_counts) / RATE_WINDOW >= self.change_limit:
            self.rate_limited += count
            return True
        self._recent_counts.append((now, count))
        return False


async def _route(
    connection: pg_catalog.Connection,
    relation: pgoutput.Relation,
    rows: Sequence[committed.CommittedChange],
    covering: Sequence[RealtimeSubscription],
    outgoing: dict[committed.CommittedChange, list[Outgoing]],
) -> None:
    """Add to `outgoing` the messages and receivers of each of `rows`, all of one table."""
    readers = {subscription.reader for subscription in covering}
    table = await pg_catalog.describe(connection, relation, sorted({r.role for r in readers}))
    for reader in readers:
        await row_security.evaluate_visibility(connection, table, reader, rows)
    passing = {
        test: await row_security.matching(connection, table, test, rows)
        for test in {test for subscription in covering for test in subscription.binding.filters}
    }
    groups: defaultdict[tuple[str, tuple[str, ...] | None], list[RealtimeSubscription]] = (
        defaultdict(list)
    )
    for subscription in covering:
        groups[subscription.reader.role, subscription.binding.select].append(subscription)
    for (role, select), group in groups.items():
        addressed: list[tuple[committed.CommittedChange, dict[ChangeReceiver, list[int]]]] = []
        for row in rows:
            ids: dict[ChangeReceiver, list[int]] = {}
            for subscription in group:
                if (
                    subscription.binding.matches(row.change.op)
                    and row.visible_to[subscription.reader]
                    and all(row in passing[test] for test in subscription.binding.filters)
                ):
                    ids.setdefault(subscription.receiver, []).append(subscription.binding.id)
            if ids:
                addressed.append((row, ids))
        texts = await walrus.encode_changes(
            connection, table, role, select, [row for row, _ in addressed]
        )
        for (row, by_receiver), data in zip(addressed, texts, strict=True):
            outgoing[row].extend((receiver, data, ids) for receiver, ids in by_receiver.items())
