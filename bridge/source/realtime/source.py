"""Source of changes: Supabase Realtime's `postgres_changes`, resubscribed after every failure.

One client, one channel, one unfiltered binding. After any failure the whole client is replaced: the
library's own reconnecting and rejoining can end in a joined channel that delivers nothing.
Callbacks only append to the queue and never raise: an exception in one ends the library's reader.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from realtime import AsyncRealtimeClient, RealtimeSubscribeStates
from realtime.types import RealtimePostgresChangesListenEvent
from tenacity import AsyncRetrying, retry_if_exception_type

from bridge.changes import Gap, GapReason
from bridge.source.base import SourceState, SourceStatus
from bridge.source.column_types import ColumnTypes
from bridge.source.realtime.decode import UnreadableChangeError, decode
from bridge.source.realtime.disconnects import (
    FIRST_SECONDS,
    MUTE_ADVICE,
    MuteStreamError,
    SubscriptionEnded,
    ended_by,
    retry_delay,
)
from bridge.source.realtime.rejected_frames import capture_rejected_frames
from bridge.source.realtime.watchdog import StreamWatchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from tenacity import RetryCallState

    from bridge.changes import Json
    from bridge.projection import Projection
    from bridge.source.base import Table
    from bridge.source.change_queue import ChangeQueue
    from bridge.source.realtime.watchdog import WatchdogOptions

log = logging.getLogger(__name__)

CLOSE_SECONDS = 1.0
"""Timeout of closing a client that is replaced."""

WORKED_SECONDS = 60.0
"""A session that was live for so long has worked, even without changes of the table."""

TICK_SECONDS = 1.0
"""Interval of checks for failures that the library does not report: a dead reader, a lost
connection.
"""

MAX_MUTE_SESSIONS = 2
"""Mute sessions in a row after which `system` ok is no longer taken for a sign of life: only a
change is."""


@dataclass(frozen=True, slots=True)
class RealtimeOptions:
    """Which project and table is subscribed to, and how long each step may take, in seconds."""

    url: str
    """The project's URL; Realtime is at `/realtime/v1`."""
    key: str = field(repr=False)
    """The project's secret key."""
    projection: Projection
    join_timeout: float
    """From connecting to `system` ok."""
    settle: float
    """After `system` ok, until the table is read once more."""
    watchdog: WatchdogOptions


class RealtimeSource:
    """Implements `source.base.Source`."""

    def __init__(
        self, options: RealtimeOptions, table: Table, types: ColumnTypes | None = None
    ) -> None:
        """`table` is compared with the stream, to detect a channel that delivers nothing. `types`
        are those of its columns, shared with its reader.
        """
        self._options = options
        self._types = ColumnTypes() if types is None else types
        self._table = table
        self._state = SourceState.CONNECTING
        self._since = time.monotonic()
        self._last_activity_at: float | None = None
        self._attempts = 0
        self._error: str | None = None
        self._failing_since: float | None = self._since
        """The first failure since it was live last; the start until then."""
        self._mute_sessions = 0
        """Mute sessions in a row that delivered no change."""
        self._queue: ChangeQueue | None = None

    def status(self) -> SourceStatus:
        return SourceStatus(
            self._state,
            self._since,
            self._last_activity_at,
            self._attempts,
            self._error,
            self._failing_since,
        )

    async def run(self, queue: ChangeQueue) -> None:
        self._queue = queue
        while True:
            # After a session that worked, the attempts and their backoff start again.
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(SubscriptionEnded),
                wait=retry_delay,
                before_sleep=self._log_retry,
            ):
                with attempt:
                    self._attempts = attempt.retry_state.attempt_number
                    await self._run_session(queue)
            await asyncio.sleep(random.uniform(0.1, FIRST_SECONDS))  # noqa: S311 - jitter

    async def _run_session(self, queue: ChangeQueue) -> None:
        """Run one client until its subscription ends. Returns if the session worked for a while;
        raises `SubscriptionEnded` if it did not.
        """
        session = _Session(
            self._options,
            queue,
            StreamWatchdog(self._options.watchdog, self._table),
            self._types,
        )
        self._set_state(SourceState.CONNECTING)
        try:
            with capture_rejected_frames(queue):
                await session.join()
                self._set_state(SourceState.JOINED)
                await session.until_live()
                if not self._distrusted:
                    self._set_live()
                projection = self._options.projection
                log.info("subscribed to changes of %s.%s", projection.schema, projection.table)
                queue.put_nowait(Gap(GapReason.SUBSCRIBED))
                await self._watch(session, queue)
        except SubscriptionEnded as ended:
            self._record_end(ended, session)
            if not session.worked:
                raise
            log.warning("the subscription ended; it had worked: %s", ended)
        finally:
            self._set_state(SourceState.DOWN)
            await session.close()

    async def _watch(self, session: _Session, queue: ChangeQueue) -> None:
        settle_at = time.monotonic() + self._options.settle
        while True:
            await session.wait(TICK_SECONDS)
            now = time.monotonic()
            if session.watchdog.changes:
                self._mute_sessions = 0
                if self._state is not SourceState.LIVE:
                    self._set_live()
            if settle_at <= now:
                settle_at = float("inf")
                queue.put_nowait(Gap(GapReason.POST_SUBSCRIBE))
            up_to_date = await session.watchdog.check(now)
            session.watchdog.check_missed(queue.missed, now)
            if self._distrusted:
                continue
            self._error = session.watchdog.error
            if up_to_date or not session.watchdog.compares:
                self._last_activity_at = now
            else:
                proofs = (
                    self._last_activity_at,
                    session.watchdog.last_activity_at,
                    queue.confirmed_at,
                )
                self._last_activity_at = max((at for at in proofs if at is not None), default=None)

    @property
    def _distrusted(self) -> bool:
        """Whether only a change proves that changes flow."""
        return self._mute_sessions >= MAX_MUTE_SESSIONS

    def _record_end(self, ended: SubscriptionEnded, session: _Session) -> None:
        if session.watchdog.changes:
            self._mute_sessions = 0
        elif isinstance(ended, MuteStreamError):
            self._mute_sessions += 1
        if self._mute_sessions == MAX_MUTE_SESSIONS:
            log.error("%s; %s", ended, MUTE_ADVICE)
        self._error = f"{ended}; {MUTE_ADVICE}" if self._distrusted else str(ended)

    def _set_live(self) -> None:
        self._set_state(SourceState.LIVE)
        self._error = None
        self._last_activity_at = time.monotonic()

    def _set_state(self, state: SourceState) -> None:
        self._state = state
        if self._queue is not None:
            self._queue.live = state is SourceState.LIVE
        self._since = time.monotonic()
        if state is SourceState.LIVE:
            self._failing_since = None
        elif self._failing_since is None:
            self._failing_since = self._since

    def _log_retry(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        assert isinstance(error, SubscriptionEnded)
        log.log(
            logging.ERROR if error.needs_operator else logging.WARNING,
            "not subscribed (attempt %d, next in %.1f s): %s",
            state.attempt_number,
            state.upcoming_sleep,
            error,
        )


class _Session:
    """One client with its channel, until its subscription ends."""

    def __init__(
        self,
        options: RealtimeOptions,
        queue: ChangeQueue,
        watchdog: StreamWatchdog,
        types: ColumnTypes,
    ) -> None:
        self._options = options
        self._types = types
        self._projection = options.projection
        self._queue = queue
        self.watchdog = watchdog
        self._joined = False
        self._live_at: float | None = None
        self._ended: SubscriptionEnded | None = None
        self._wake = asyncio.Event()
        self._deadline = time.monotonic() + options.join_timeout
        self._client = AsyncRealtimeClient(
            f"{options.url}/realtime/v1",
            options.key,
            auto_reconnect=False,
        )

    @property
    def worked(self) -> bool:
        """Whether this session was live long enough to try again at once."""
        if self._live_at is None:
            return False
        return self.watchdog.changes > 0 or time.monotonic() - self._live_at > WORKED_SECONDS

    async def join(self) -> None:
        channel = self._client.channel("bridge")
        channel.on_postgres_changes(
            RealtimePostgresChangesListenEvent.All,
            self._on_change,
            table=self._projection.table,
            schema=self._projection.schema,
        )
        channel.on_system(self._on_system)
        try:
            async with asyncio.timeout(max(0.0, self._deadline - time.monotonic())):
                await channel.subscribe(self._on_state)
        except Exception as error:
            raise ended_by(error) from error
        await self._until(lambda: self._joined, "the server did not respond to the join")

    async def until_live(self) -> None:
        await self._until(
            lambda: self._live_at is not None,
            "the join was accepted, but the server did not confirm the subscription (`system` ok)",
        )

    async def wait(self, seconds: float) -> None:
        """Wait for an event of the session, at most `seconds`. Raises `SubscriptionEnded` as soon
        as the session has ended.
        """
        if self._ended is None:
            self._wake.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            except TimeoutError:
                self._check_connection()
        if self._ended is not None:
            raise self._ended

    async def close(self) -> None:
        self._end(SubscriptionEnded("closed"))
        connection = getattr(self._client, "_ws_connection", None)
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                if self._client.is_connected:
                    await self._client.remove_all_channels()
                else:
                    await self._client.close()
        except Exception as error:  # noqa: BLE001 - the client is replaced in any case
            log.debug("the old client did not close cleanly: %s", type(error).__name__)
            if connection is not None:
                connection.transport.abort()  # an unreachable peer never confirms the close
        for name in ("_listen_task", "_heartbeat_task"):
            task = getattr(self._client, name, None)
            if task is not None:
                task.cancel()

    # -- callbacks of the library: plain functions, never raising ------------------------------

    def _on_change(self, payload: Mapping[str, Any]) -> None:
        try:
            change = decode(payload["data"], self._projection, self._types)
        except UnreadableChangeError as error:
            self._record_activity(error.updated_at)
            self._queue.put_nowait(Gap(GapReason.UNREADABLE, str(error)))
        except Exception as error:
            log.exception("a change could not be decoded; the table is read instead")
            self._queue.put_nowait(Gap(GapReason.UNREADABLE, type(error).__name__))
        else:
            if change is not None:
                column = self._projection.updated_at
                self._record_activity(change.record.get(column) if column else None)
                self._queue.put_nowait(change)

    def _record_activity(self, updated_at: Json) -> None:
        if not self.watchdog.changes:
            self._wake.set()  # it may be what proves the session
        self.watchdog.record_change(updated_at, time.monotonic())

    def _on_system(self, message: object) -> None:
        if getattr(message, "extension", None) != "postgres_changes":
            return
        if self._live_at is None:
            self._live_at = time.monotonic()
            self._wake.set()
        else:
            self._queue.put_nowait(Gap(GapReason.RESUBSCRIBED))

    def _on_state(self, state: RealtimeSubscribeStates, error: Exception | None) -> None:
        if state == RealtimeSubscribeStates.SUBSCRIBED:
            self._joined = True
            self._wake.set()
        else:
            self._end(ended_by(error, state.value))

    # -- internals -----------------------------------------------------------------------------

    def _end(self, ended: SubscriptionEnded) -> None:
        if self._ended is None:
            self._ended = ended
        self._wake.set()

    def _check_connection(self) -> None:
        # A private attribute, hence the default: the library does not report a dead reader.
        listener = getattr(self._client, "_listen_task", None)
        if listener is not None and listener.done():
            self._end(SubscriptionEnded("the client's reader has stopped without an error"))
        elif not self._client.is_connected:
            self._end(SubscriptionEnded("the connection was lost without an error"))

    async def _until(self, condition: Callable[[], bool], failure: str) -> None:
        """Wait for a condition. Raises `SubscriptionEnded` with `failure` at the deadline."""
        while not condition():
            remaining = self._deadline - time.monotonic()
            if remaining <= 0:
                raise SubscriptionEnded(f"{failure} within {self._options.join_timeout:g} s")
            await self.wait(min(remaining, TICK_SECONDS))
