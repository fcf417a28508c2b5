"""What this process has read of the history: its entries, commits, and where it stands. No I/O."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bridge.errors import PositionGoneError
from bridge.log.base import Commit, Position, Progress
from bridge.log.commit_feed import CommitFeed
from bridge.log.recent_entries import RecentEntries
from bridge.log.redis.scripts import Entered, Evidence
from bridge.log.redis.stream_entry import append_of, kind_of, note_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bridge.clock import Clock
    from bridge.log.base import Entry

NOT_OPEN = Entered("", Evidence("closed", "", 0, 0), 0, "0-0", 0, Progress(), {})


class HistoryBrokenError(Exception):
    """The next entry of the stream does not follow the one that was read before."""


class LocalHistory:
    """The history as read by this process, in the order of the stream.

    **A lost end of the history is noticed.** Appends are numbered, and one term makes each of them
    once. So the next append follows what was read if it has the next number, and is of the same
    term, or of one that began at exactly that number. After a failover to a replica that lacks the
    last appends, others take their numbers and ids; their term began earlier.
    """

    def __init__(self, *, events: int, seconds: float, clock: Clock) -> None:
        self._limits = (events, seconds)
        self._clock = clock
        self._changed = asyncio.Event()
        self._awaited: tuple[str, asyncio.Future[Commit]] | None = None
        self.begins = 0
        """Counts the histories that were begun; a term ends with its history."""
        self.feed = CommitFeed(Position("closed", 0))
        self.begin(NOT_OPEN, ())

    def begin(self, entered: Entered, entries: Iterable[Entry]) -> None:
        """Continue from `entered`, with the `entries` up to its head. Followers of the history
        before get an error.
        """
        events, seconds = self._limits
        before = self.feed
        self.epoch = entered.evidence.epoch
        self.last_id = entered.top
        """Id of the entry of the stream that was read last."""
        self.term_id = entered.evidence.term_id
        self.appends = entered.evidence.appends
        self.term = entered.term
        self.progress = entered.progress
        self.entries = RecentEntries(
            self.epoch,
            entered.head,
            events=events,
            seconds=seconds,
            clock=self._clock,
            earlier=entered.earlier,
        )
        self.entries.load(entries)
        self.feed = CommitFeed(self.entries.head)
        self.begins += 1
        self.last_at = 0.0
        """When the newest append was made, by the clock of its process; 0: none was read."""
        if self._awaited is not None:
            self._awaited[1].cancel()
        self._awaited = None
        before.end(
            PositionGoneError(
                f"the history of epoch {before.head.epoch} is not continued: epoch {self.epoch} is "
                f"read from position {self.entries.head}"
            )
        )
        self._wake()

    @property
    def seen(self) -> Evidence:
        """What was read."""
        return Evidence(self.epoch, self.term_id, self.appends, int(self.last_id.partition("-")[0]))

    def receive(self, entry_id: str, fields: Mapping[bytes, bytes]) -> bytes:
        """Add the next entry of the stream and return its kind. Raises `HistoryBrokenError` if it
        does not follow; nothing is added then.
        """
        kind = kind_of(fields)
        if kind == b"a":
            self._receive_append(fields)
        elif kind == b"n":
            self.feed.add((), (), None, (note_of(fields),))
        elif kind == b"t":
            self.term = int(fields[b"m"])
        elif kind in (b"h", b"b"):
            # Beats of an earlier version have no epoch.
            epoch = fields.get(b"m", self.epoch.encode()).decode()
            if epoch != self.epoch:
                raise HistoryBrokenError(f"another history has begun: epoch {epoch}")
        self.last_id = entry_id
        self._wake()
        return kind

    def _receive_append(self, fields: Mapping[bytes, bytes]) -> None:
        append = append_of(fields)
        if append.epoch != self.epoch:
            raise HistoryBrokenError(f"another history has begun: epoch {append.epoch}")
        follows = append.number == self.appends + 1
        if not (follows and (append.term_id == self.term_id or append.base == self.appends)):
            raise HistoryBrokenError(
                f"append {append.number} of a term from {append.base} follows append {self.appends}"
            )
        entries, progress = append.entries(), append.progress()
        self.term_id, self.appends = append.term_id, append.number
        self.last_at = append.at
        self.progress = progress or self.progress
        self.entries.add(entries)
        commit = self.feed.add(entries, append.rows(), progress)
        if self._awaited is not None and self._awaited[0] == append.tag:
            if not self._awaited[1].done():
                self._awaited[1].set_result(commit)
            self._awaited = None

    def await_append(self, tag: str) -> asyncio.Future[Commit]:
        """Return the commit of the append with that tag, once it is read. It is cancelled if
        another history begins.
        """
        commit: asyncio.Future[Commit] = asyncio.get_running_loop().create_future()
        self._awaited = (tag, commit)
        return commit

    async def reached(self, appends: int) -> bool:
        """Wait until so many appends are read. Return False if another history has begun."""
        begins = self.begins
        while self.begins == begins and self.appends < appends:
            await self._changed.wait()
        return self.begins == begins

    async def changed(self) -> None:
        """Wait for the next entry of the stream, or for another history."""
        await self._changed.wait()

    def close(self) -> None:
        """End the followers."""
        self.entries.clear()
        self.feed.close()

    def _wake(self) -> None:
        self._changed.set()
        self._changed.clear()
