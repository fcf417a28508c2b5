"""Rows that only the leader uses, without entries: those of the table of watches.

Any leader finds them. The process that opened them last may write them; an earlier one gets
`errors.LeaseLostError`.
"""

from __future__ import annotations

import logging
import secrets
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from bridge.clock import SystemClock
from bridge.errors import LeaseLostError
from bridge.log.base import Note, Progress
from bridge.log.commit_feed import CommitFeed
from bridge.log.event_text import key_of
from bridge.log.recent_entries import RecentEntries
from bridge.log.redis.append_parts import parts_of
from bridge.log.redis.keys import SCHEMA
from bridge.log.redis.stream_entry import deletes_of, progress_of, progress_text, puts_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from bridge.changes import Key
    from bridge.events import Event
    from bridge.log.base import Commit, Entry, Position, RowUpdate
    from bridge.log.redis.connection import Connection
    from bridge.log.redis.keys import Keys

log = logging.getLogger(__name__)

ROWS_PER_READ = 1_000


class RedisRowLog:
    """Implements `log.base.EventLog` for rows and progress. Its followers are of this process."""

    def __init__(self, connection: Connection, keys: Keys, *, shape: str) -> None:
        self.process = secrets.token_hex(6)
        self._connection = connection
        self._keys = (keys("watches-meta"), keys("watches-rows"))
        self._shape = shape
        self._error: str | None = None
        self._progress = Progress()
        self._entries = RecentEntries(self.process, 0, events=1, seconds=1, clock=SystemClock())
        self._feed = CommitFeed(self._entries.head)
        folder = files("bridge.log.redis") / "lua"
        self._scripts = {
            name: (folder / f"{name}.lua").read_text() for name in ("open_rows", "write_rows")
        }

    async def open(self) -> None:
        stored = await self._run("open_rows", self.process, self._shape, SCHEMA)
        self._progress = progress_of(stored)

    async def rows(self) -> AsyncIterator[Sequence[tuple[Key, bytes]]]:
        cursor = 0
        while True:
            found: Any
            cursor, found = await self._connection.until_done(
                lambda redis: redis.hscan(self._keys[1], cursor, count=ROWS_PER_READ),  # noqa: B023
                self._failed,
            )
            self._error = None
            if found:
                yield [(key_of(key), row) for key, row in found.items()]
            if not cursor:
                return

    @property
    def progress(self) -> Progress:
        return self._progress

    @property
    def error(self) -> str | None:
        return self._error

    @property
    def head(self) -> Position:
        return self._entries.head

    async def append(
        self,
        events: Sequence[Event],
        rows: Sequence[RowUpdate],
        progress: Progress | None = None,
    ) -> Commit:
        """Store rows and progress. Raises ValueError if there are events."""
        if events:
            raise ValueError("expected rows alone: this log has no entries")
        parts = parts_of((), rows)
        for number, (_, part) in enumerate(parts, 1):
            puts, deletes = puts_of(part), deletes_of(part)
            text = progress_text(progress if number == len(parts) else None)
            written = await self._run(
                "write_rows", self.process, text, len(puts) // 2, *puts, *deletes
            )
            if written != b"ok":
                raise LeaseLostError(
                    "another bridge has opened the rows of the table of watches: nothing was stored"
                )
        self._progress = progress or self._progress
        return self._feed.add([], rows, progress)

    async def note(self, kind: str, data: bytes) -> None:
        self._feed.add((), (), None, (Note(kind, self.process, data),))

    def locate(self, position: Position) -> Position | None:
        return self._entries.locate(position)

    def after(self, position: Position) -> Sequence[Entry]:
        return self._entries.after(position)

    def follow(self, after: Position) -> AsyncIterator[Commit]:
        return self._feed.follow(after)

    async def close(self) -> None:
        self._feed.close()
        await self._connection.close()

    async def _run(self, name: str, *arguments: Any) -> Any:
        text = self._scripts[name]
        result = await self._connection.until_done(
            lambda redis: redis.register_script(text)(self._keys, arguments), self._failed
        )
        self._error = None
        return result

    def _failed(self, reason: str) -> None:
        if self._error is None:
            log.error("the rows of the table of watches can't be stored: %s; retrying", reason)
        self._error = reason
