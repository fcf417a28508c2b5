"""Appends to the stream in the term of this process, each append once, whatever the server does."""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from bridge.errors import LeaseLostError
from bridge.log.redis.append_parts import parts_of
from bridge.log.redis.connection import ServerUnavailableError, delays, end
from bridge.log.redis.stream_entry import (
    deletes_of,
    events_text,
    progress_text,
    puts_of,
    rows_text,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.clock import Clock
    from bridge.events import Event
    from bridge.log.base import Commit, Progress, RowUpdate
    from bridge.log.redis.connection import Connection
    from bridge.log.redis.history import LocalHistory
    from bridge.log.redis.lease import RedisLease, Term
    from bridge.log.redis.reader import StreamReader
    from bridge.log.redis.scripts import Scripts, Written

log = logging.getLogger(__name__)


class Appender:
    """One append at a time. One whose caller was cancelled is completed before the next one."""

    def __init__(
        self,
        connection: Connection,
        scripts: Scripts,
        history: LocalHistory,
        lease: RedisLease,
        reader: StreamReader,
        *,
        clock: Clock,
    ) -> None:
        self.error: str | None = None
        """Why nothing can be appended at present."""
        self._connection = connection
        self._scripts = scripts
        self._history = history
        self._lease = lease
        self._reader = reader
        self._clock = clock
        self._running: asyncio.Task[Commit] | None = None

    async def append(
        self, events: Sequence[Event], rows: Sequence[RowUpdate], progress: Progress | None
    ) -> Commit:
        """Append, and wait until it was read back. Raises as `log.base.EventLog.append`."""
        before = self._running
        task = asyncio.create_task(self._append(before, events, rows, progress), name="append")
        task.add_done_callback(_retrieve)
        self._running = task
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Give up the append that is not stored yet."""
        if self._running is not None:
            await end(self._running)

    async def _append(
        self,
        before: asyncio.Task[Commit] | None,
        events: Sequence[Event],
        rows: Sequence[RowUpdate],
        progress: Progress | None,
    ) -> Commit:
        if before is not None and not before.done():
            await asyncio.wait([before])
        term = self._lease.held
        if term is None:
            raise LeaseLostError("this bridge does not lead: nothing was appended")
        parts = parts_of(events, rows)
        try:
            commits = [
                await self._append_part(term, part_events, part_rows, progress if last else None)
                for last, (part_events, part_rows) in _with_last(parts)
            ]
        finally:
            self.error = None  # nothing waits to be written any more
        if len(commits) == 1:
            return commits[0]
        return replace(
            commits[-1],
            entries=[entry for commit in commits for entry in commit.entries],
            rows=[row for commit in commits for row in commit.rows],
        )

    async def _append_part(
        self,
        term: Term,
        events: Sequence[Event],
        rows: Sequence[RowUpdate],
        progress: Progress | None,
    ) -> Commit:
        history = self._history
        begins, seen, tag = history.begins, history.seen, secrets.token_hex(6)
        limits = history.entries
        oldest = max(0, min(limits.first, seen.seq))
        at = self._clock.wall()
        texts = (events_text(events), rows_text(rows), progress_text(progress))
        puts, deletes = puts_of(rows), deletes_of(rows)
        received = history.await_append(tag)
        for delay in delays():
            if self._lease.held is not term:
                raise LeaseLostError("another bridge took over: the append may not be stored")
            asked = self._clock.monotonic()
            try:
                written: Written = await self._connection.run(
                    lambda redis: self._scripts.append(
                        redis,
                        term.token,
                        term.term_id,
                        self._lease.seconds,
                        seen=seen,
                        tag=tag,
                        at=at,
                        count=len(events),
                        oldest=oldest,
                        progress=texts[2],
                        events=texts[0],
                        rows=texts[1],
                        puts=puts,
                        deletes=deletes,
                    )
                )
            except ServerUnavailableError as error:
                self._failed(str(error))
                await asyncio.sleep(delay)
                continue
            break
        self._healed()
        if written != "ok":
            reason = (
                "another bridge took over"
                if written == "fenced"
                else "the stored history is not the one this bridge has read"
            )
            self._lease.end(reason)
            with suppress(ServerUnavailableError):
                await self._reader.doubt()
            raise LeaseLostError(f"{reason}: nothing was appended")
        self._lease.confirm(asked)
        try:
            return await received
        except asyncio.CancelledError:
            if history.begins != begins:
                self._lease.end("another history has begun")
                raise LeaseLostError("another history has begun after the append") from None
            raise

    def _failed(self, reason: str) -> None:
        if self.error is None:
            log.error("the log can't be written: %s; no change is published until it can", reason)
        self.error = f"the log can't be written: {reason}"

    def _healed(self) -> None:
        if self.error is not None:
            log.warning("the log at %s can be written again", self._connection.shown)
            self.error = None


def _with_last(
    parts: Sequence[tuple[Sequence[Event], Sequence[RowUpdate]]],
) -> list[tuple[bool, tuple[Sequence[Event], Sequence[RowUpdate]]]]:
    return [(number == len(parts), part) for number, part in enumerate(parts, 1)]


def _retrieve(task: asyncio.Task[Commit]) -> None:
    """Mark the error as seen: the caller may have been cancelled."""
    if not task.cancelled():
        task.exception()
