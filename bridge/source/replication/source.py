"""Source of changes: logical replication from PostgreSQL, resumed after every failure.

One named slot that stays when the bridge stops. The position of the changes that the log holds is
stored with them, and only that is confirmed to the server: after any failure the stream continues
there, so that no change is lost or repeated. Where that is impossible, since there is no slot or it
has lost changes, the slot is created again, and the rows of its snapshot precede the stream.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from tempfile import gettempdir
from typing import TYPE_CHECKING, Final

import psycopg

from bridge.changes import Checkpoint, GapReason, SnapshotBegin, SnapshotEnd, SnapshotPage
from bridge.source.base import SlotStatus, SourceState, SourceStatus
from bridge.source.column_types import ColumnTypes
from bridge.source.replication import connection as connections
from bridge.source.replication import slot as slots
from bridge.source.replication.columns import MissingColumnError, describe
from bridge.source.replication.connection import (
    KEEPALIVE,
    XLOG_DATA,
    XLOG_HEADER,
    ReplicationConnection,
    keepalive,
)
from bridge.source.replication.faults import SourceFault, fault_of
from bridge.source.replication.lsn import StreamPosition, format_lsn
from bridge.source.replication.pgoutput import MalformedMessageError
from bridge.source.replication.publication import ensure_publication
from bridge.source.replication.relation import UnreadableRowError
from bridge.source.replication.retention import SlotRetention
from bridge.source.replication.snapshot import snapshot_pages
from bridge.source.replication.stream import TransactionAssembler
from bridge.source.replication.timeline import common_end, system_name
from bridge.source.replication.types import TypeCatalog

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bridge.changes import Item
    from bridge.projection import Projection
    from bridge.source.change_queue import ChangeQueue
    from bridge.source.replication.columns import TableColumns
    from bridge.source.replication.slot import SlotState

log = logging.getLogger(__name__)

STATUS_SECONDS: Final = 10.0
"""Between two reports to the server, which ends a stream without any for `wal_sender_timeout` (60 s
by default). Each asks for a reply, the sign of life of an idle stream."""

WAL_SENDER_TIMEOUT: Final = (
    "select setting from pg_catalog.pg_settings where name = 'wal_sender_timeout'"
)
"""In milliseconds."""

ACKNOWLEDGE_SECONDS: Final = 0.05
"""For which reports of what is stored are gathered."""

SLOT_SECONDS: Final = 5.0
"""Between two readings of the slot."""

SILENT_SECONDS: Final = 35.0
"""Without a message, although three were asked for, the connection counts as lost."""

MESSAGES_PER_READ: Final = 512

FIRST_RETRY_SECONDS: Final = 0.2
LONGEST_RETRY_SECONDS: Final = 20.0

WORKED_SECONDS: Final = 30.0
"""A session that was live for so long has worked: the next one is tried at once."""


@dataclass(frozen=True, slots=True)
class ReplicationOptions:
    """Which database, slot and publication; the table is that of `projection`."""

    url: str = field(repr=False)
    """A direct connection's URL."""
    slot: str
    publication: str
    projection: Projection
    warning_bytes: int
    """Of WAL that the server keeps for the slot, above which a warning is logged."""

    @property
    def slots(self) -> slots.SlotOptions:
        return slots.SlotOptions(self.slot, self.publication, self.projection)


class PostgresSource:
    """Implements `source.base.Source`."""

    def __init__(self, options: ReplicationOptions, types: ColumnTypes | None = None) -> None:
        """`types` are those of the table's columns, shared with its reader."""
        self._options = options
        self._types = ColumnTypes() if types is None else types
        self._state = SourceState.CONNECTING
        self._since = time.monotonic()
        self._last_activity_at: float | None = None
        self._attempts = 0
        self._error: str | None = None
        self._failing_since: float | None = self._since
        self.slot: SlotStatus | None = None
        self.retention = SlotRetention(options.slot, options.warning_bytes)
        self.streaming = True
        """Whether long transactions are received before their commit."""
        self.queued: StreamPosition | None = None
        """The position after the last item of the queue, where the next session begins; None: it
        begins where the log is, or with a snapshot."""

    def status(self) -> SourceStatus:
        return SourceStatus(
            self._state,
            self._since,
            self._last_activity_at,
            self._attempts,
            self._error,
            self._failing_since,
            self.slot,
        )

    async def run(self, queue: ChangeQueue) -> None:
        pause = wait = FIRST_RETRY_SECONDS
        slot_lost = False
        self.queued = StreamPosition.parse(queue.stored)
        queue.passed_at = float("-inf")
        while True:
            self._attempts += 1
            session = _Session(self._options, queue, self._types, self, slot_lost=slot_lost)
            try:
                await session.run()
            except SourceFault as fault:
                self._error = str(fault)
                slot_lost = fault.slot_lost
                self.streaming = self.streaming and not isinstance(fault, SpillError)
                if session.live_seconds > WORKED_SECONDS:
                    pause, self._attempts = FIRST_RETRY_SECONDS, 0
                wait = pause * random.uniform(0.8, 1.2)  # noqa: S311 - jitter
                log.log(
                    logging.ERROR if fault.needs_operator else logging.WARNING,
                    "not streaming (attempt %d, next in %.1f s): %s",
                    self._attempts,
                    wait,
                    fault,
                )
            self.set_state(SourceState.DOWN)
            await asyncio.sleep(wait)
            pause = min(pause * 2, LONGEST_RETRY_SECONDS)

    # -- called by the session ----------------------------------------------------------------

    def active(self) -> None:
        """Record that the server has sent something."""
        self._last_activity_at = time.monotonic()

    def report(self, error: str | None) -> None:
        """Set what an operator should know of a live stream."""
        self._error = error

    def set_state(self, state: SourceState) -> None:
        self._state = state
        self._since = time.monotonic()
        if state is SourceState.LIVE:
            self._failing_since = None
            self._error = None
            self.active()
        elif self._failing_since is None:
            self._failing_since = self._since


class SpillError(SourceFault):
    """A transaction in progress could not be spilled."""


class _Session:
    """One connection of the stream, from the checks before it to its end."""

    def __init__(
        self,
        options: ReplicationOptions,
        queue: ChangeQueue,
        types: ColumnTypes,
        source: PostgresSource,
        *,
        slot_lost: bool,
    ) -> None:
        """`slot_lost`: the session before this one could not use the slot."""
        self._options = options
        self._queue = queue
        self._types = types
        self._source = source
        self._slot_lost = slot_lost
        self._catalog = TypeCatalog()
        self._live_at: float | None = None
        self._confirmed = 0
        self._target = 0
        """LSN of the server before the stream began."""
        self._status_seconds = STATUS_SECONDS

    @property
    def live_seconds(self) -> float:
        return 0.0 if self._live_at is None else time.monotonic() - self._live_at

    async def run(self) -> None:
        """Stream until the connection ends. Raises `SourceFault`, and returns never."""
        self._source.set_state(SourceState.CONNECTING)
        async with AsyncExitStack() as closing:
            stream = await ReplicationConnection.open(self._options.url)
            closing.push_async_callback(stream.close)
            connection = await connections.connect(self._options.url)
            closing.push_async_callback(connection.close)
            version = connection.info.server_version
            [[system, timeline, *_]] = await stream.command("IDENTIFY_SYSTEM")
            [[timeout]] = await stream.command(WAL_SENDER_TIMEOUT)
            if timeout is not None and float(timeout) > 0:
                self._status_seconds = min(STATUS_SECONDS, float(timeout) / 3000)
            name = system_name(str(system), int(timeline))
            position = await self._prepare(stream, connection, name)
            streaming = self._source.streaming and version >= slots.FIRST_STREAMING
            await stream.start(
                slots.start_command(self._options.slots, position.lsn, streaming=streaming)
            )
            # Not what is queued: the log may not hold that for a while, and never after a kill.
            stored = StreamPosition.parse(self._queue.stored)
            self._confirmed = 0 if stored is None else min(stored.lsn, position.lsn)
            self._live_at = time.monotonic()
            self._source.set_state(SourceState.LIVE)
            projection = self._options.projection
            log.info(
                "streaming changes of %s.%s from slot %s at %s",
                projection.schema,
                projection.table,
                self._options.slot,
                format_lsn(position.lsn),
            )
            await self._stream(stream, connection, position)

    # -- before the stream --------------------------------------------------------------------

    async def _prepare(
        self,
        stream: ReplicationConnection,
        connection: psycopg.AsyncConnection[object],
        system: str,
    ) -> StreamPosition:
        """Check publication and slot, make what is missing, and return where the stream begins."""
        options = self._options
        published_now = await ensure_publication(connection, options.slots)
        try:
            columns = await describe(
                connection, options.projection, self._catalog, self._types, options.publication
            )
        except MissingColumnError as error:
            raise SourceFault(str(error), needs_operator=True) from None
        except psycopg.Error as error:
            raise fault_of(error, "reading the table's columns") from error
        state = await slots.slot_state(connection, options.slot)
        if state is not None:
            self._target = state.current
        stored = self._source.queued
        if state is not None and stored is not None and not self._slot_lost and not published_now:
            end = await common_end(stream, stored.system, system)
            reason = _unusable(state, stored, end)
            if reason is None:
                self._source.queued = replace(stored, system=system)
                return self._source.queued
        elif state is None:
            reason = f"slot {options.slot} does not exist"
        elif self._slot_lost:
            reason = f"slot {options.slot} can't be used any more"
        elif published_now:
            reason = "the publication was changed"
        else:
            reason = "the log continues no stream of this slot"
        await self._queue.drained()
        known = stored is not None
        if known:
            log.warning(
                "the slot %s is created again and the table compared: %s", options.slot, reason
            )
        if state is not None and await slots.drop_slot(connection, options.slot):
            log.info("dropped the replication slot %s: %s", options.slot, reason)
        version = connection.info.server_version
        lsn, snapshot = await slots.create_slot(stream, options.slot, version=version)
        return await self._fill(
            connection,
            snapshot,
            columns,
            StreamPosition(system, lsn),
            SnapshotBegin(GapReason.SLOT_LOST if known else GapReason.FIRST_SLOT, reason),
        )

    async def _fill(
        self,
        connection: psycopg.AsyncConnection[object],
        snapshot: str,
        columns: TableColumns,
        position: StreamPosition,
        begin: SnapshotBegin,
    ) -> StreamPosition:
        self._source.set_state(SourceState.JOINED)
        self._source.queued = None
        await self._queue.put_all([begin])
        async for page in snapshot_pages(connection, snapshot, columns):
            self._source.active()
            await self._queue.drained()
            await self._queue.put_all([SnapshotPage(page)])
        await self._queue.put_all([SnapshotEnd(str(position))])
        self._source.queued = position
        return position

    # -- the stream ---------------------------------------------------------------------------

    async def _stream(
        self,
        stream: ReplicationConnection,
        connection: psycopg.AsyncConnection[object],
        position: StreamPosition,
    ) -> None:
        assembler = TransactionAssembler(self._options.projection, self._catalog, position)

        def stored(text: str) -> None:
            at = StreamPosition.parse(text)
            if at is not None and at.lsn > self._confirmed:
                self._confirmed = at.lsn
                acknowledge.set()

        acknowledge = asyncio.Event()
        self._queue.on_stored = stored
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._report(stream, acknowledge))
                tasks.create_task(self._watch_slot(connection))
                await self._receive(stream, connection, assembler, acknowledge)
        except BaseExceptionGroup as group:
            faults = group.split(SourceFault)[0]
            if faults is None:
                raise
            raise _first(faults) from None
        finally:
            assembler.close()
            self._queue.on_stored = None

    async def _receive(
        self,
        stream: ReplicationConnection,
        connection: psycopg.AsyncConnection[object],
        assembler: TransactionAssembler,
        acknowledge: asyncio.Event,
    ) -> None:
        idle_at = 0.0
        caught_up = False
        missing = assembler.missing
        while True:
            for message in await stream.receive(MESSAGES_PER_READ):
                if message[0] == XLOG_DATA:
                    payload = message[XLOG_HEADER:]
                    if oids := assembler.needed_types(payload):
                        await self._load_types(connection, oids)
                    for items in _items(assembler, payload):
                        await self._put(items, assembler)
                    if assembler.missing != missing:
                        missing = assembler.missing
                        self._report_missing(missing)
                elif message[0] == KEEPALIVE:
                    end, reply = keepalive(message)
                    if reply:
                        acknowledge.set()
                    if reply or time.monotonic() - idle_at >= STATUS_SECONDS:
                        idle_at = time.monotonic()
                        if items := assembler.idle(end):
                            await self._put(items, assembler)
                    caught_up = caught_up or await self._catch_up(end)
                caught_up = caught_up or await self._catch_up(assembler.end)
            self._source.active()

    async def _catch_up(self, end: int) -> bool:
        """Return whether the stream has reached what was written before it began; mark that in the
        queue, from where on the known rows are those of the table.
        """
        if end < self._target or self._source.queued is None:
            return False
        await self._queue.put_all([Checkpoint(str(self._source.queued))])
        return True

    async def _load_types(
        self, connection: psycopg.AsyncConnection[object], oids: Iterable[int]
    ) -> None:
        try:
            await self._catalog.load(connection, oids)
        except psycopg.Error as error:
            raise fault_of(error, "reading the types of the table's columns") from error

    def _report_missing(self, missing: Sequence[str]) -> None:
        projection = self._options.projection
        if not missing:
            self._source.report(None)
            return
        text = (
            f"the stream of {projection.schema}.{projection.table} has no column "
            f"{', '.join(missing)}: it was dropped or renamed, or the column list of the "
            f"publication {self._options.publication} omits it; until it is back, clients see its "
            "last value"
        )
        log.error(text)
        self._source.report(text)

    async def _put(self, items: Sequence[Item], assembler: TransactionAssembler) -> None:
        await self._queue.put_all(items)
        self._source.queued = assembler.queued

    async def _report(self, stream: ReplicationConnection, acknowledge: asyncio.Event) -> None:
        """Report what is stored, as soon as it is and every few seconds, also while nothing is
        read because the queue is full.
        """
        asked_at, interval = 0.0, self._status_seconds
        while True:
            acknowledge.clear()
            now = time.monotonic()
            ask = now - asked_at >= interval
            if ask:
                asked_at = now
            stream.send_status(self._confirmed, reply=ask)
            if stream.silent_seconds > SILENT_SECONDS:
                raise SourceFault(
                    f"streaming: the server has not answered for {stream.silent_seconds:.0f} s"
                )
            with suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await acknowledge.wait()
                    await asyncio.sleep(ACKNOWLEDGE_SECONDS)

    async def _watch_slot(self, connection: psycopg.AsyncConnection[object]) -> None:
        """Read the slot every few seconds: how much WAL it holds, and how far the stream is."""
        marks: deque[tuple[float, int]] = deque()
        options, source = self._options, self._source
        while True:
            now = time.monotonic()
            state = await slots.slot_state(connection, options.slot)
            if state is not None:
                lag = max(0, state.current - max(self._confirmed, state.confirmed))
                source.slot = SlotStatus(options.slot, lag, state.retained, state.safe)
                source.retention.observe(source.slot)
                marks.append((now, state.current))
            while marks and marks[0][1] <= self._confirmed:
                self._queue.passed_at = marks.popleft()[0]
            await asyncio.sleep(SLOT_SECONDS)


def _items(assembler: TransactionAssembler, payload: bytes) -> Iterator[Sequence[Item]]:
    """Yield the items that are complete with a message. Raises `SourceFault`."""
    try:
        yield from assembler.feed(payload)
    except (MalformedMessageError, UnreadableRowError) as error:
        raise SourceFault(f"streaming: {error}", needs_operator=True) from error
    except OSError as error:
        raise SpillError(
            f"streaming: a transaction in progress can't be spilled to {gettempdir()}: "
            f"{error.strerror}; from now on PostgreSQL keeps it until its commit"
        ) from error


def _unusable(state: SlotState, stored: StreamPosition, end: int | None) -> str | None:
    """Return why the slot can't continue what the log holds; None: it can. `end`: where the WAL of
    the log's position ends at this server; None: it has none of it.
    """
    if state.plugin != slots.PLUGIN:
        return f"its plugin is {state.plugin}, expected {slots.PLUGIN}"
    if state.lost:
        return "PostgreSQL removed WAL that the slot needs (see max_slot_wal_keep_size)"
    if end is None:
        return "the log continues the stream of another PostgreSQL cluster"
    if max(stored.lsn, stored.partial) > end:
        return (
            f"the log is at {format_lsn(stored.lsn)}, and PostgreSQL lacks what was written after "
            f"{format_lsn(end)}: a standby was promoted that had not received it"
        )
    if state.confirmed > stored.lsn:
        return (
            f"the slot is at {format_lsn(state.confirmed)} and the log at "
            f"{format_lsn(stored.lsn)}: something else has read the slot, or it was created again"
        )
    if stored.lsn > state.current:
        return (
            f"the log is at {format_lsn(stored.lsn)} and PostgreSQL at "
            f"{format_lsn(state.current)}: the database went back to an earlier state"
        )
    return None


def _first(group: BaseExceptionGroup[SourceFault]) -> SourceFault:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
