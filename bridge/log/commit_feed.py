"""The newest commits of a log in this process, and the followers that wait for the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from bridge.errors import PositionGoneError
from bridge.log.base import Commit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.log.base import Entry, Note, Position, Progress, RowUpdate

MAX_KEPT_COMMITS: Final = 1_000
MAX_KEPT_ROWS: Final = 10_000
"""Commits, and row updates in them, that a follower may be behind: at most about 5 MB. The newest
commit is always kept."""


class CommitFeed:
    """A bounded buffer that all followers share, so that a slow one costs no memory of its own: it
    is behind until the commits that it has not taken are dropped.
    """

    def __init__(self, head: Position) -> None:
        """`head`: the position of the last entry so far."""
        self._head = head
        self._kept: deque[tuple[int, Commit]] = deque()  # with `seq` of the head after it
        self._rows = 0  # row updates in the kept commits
        self._count = 0  # number of the newest commit
        self._dropped = head.seq  # head after the newest commit that is not kept
        self._added = asyncio.Event()
        self._closed = False
        self._error: Exception | None = None

    @property
    def head(self) -> Position:
        """Position of the last entry."""
        return self._head

    def add(
        self,
        entries: Sequence[Entry],
        rows: Sequence[RowUpdate],
        progress: Progress | None,
        notes: Sequence[Note] = (),
    ) -> Commit:
        """Add the next commit and wake the followers. Return the commit."""
        self._count += 1
        commit = Commit(self._count, entries, rows, progress, notes)
        if entries:
            self._head = entries[-1].position
        kept = self._kept
        kept.append((self._head.seq, commit))
        self._rows += len(rows)
        while len(kept) > 1 and (self._rows > MAX_KEPT_ROWS or len(kept) > MAX_KEPT_COMMITS):
            self._dropped, dropped = kept.popleft()
            self._rows -= len(dropped.rows)
        self._wake()
        return commit

    def follow(self, after: Position) -> Follower:
        """Return a follower that starts with the first commit after the entry at `after`. Raises
        `errors.PositionGoneError`.
        """
        if self._error is not None:
            raise self._error
        if after.epoch != self._head.epoch or after.seq > self._head.seq:
            raise PositionGoneError(
                f"position {after} is not of this log's epoch {self._head.epoch}"
            )
        if after.seq < self._dropped:
            raise PositionGoneError(f"the commits after position {after} are no longer kept")
        number = self._count + 1
        for head, commit in reversed(self._kept):
            if head < after.seq or (head == after.seq and commit.entries):
                break
            number = commit.number
        return Follower(self, number, after.seq)

    @property
    def newest(self) -> Commit | None:
        """The newest commit; None: there is none yet."""
        return self._kept[-1][1] if self._kept else None

    async def take(self, number: int) -> Commit | None:
        """Wait for the commit of that number and return it; None: the log was closed before it.

        Returns without a step of the loop if it is there. Raises `errors.PositionGoneError` if it
        is no longer kept, and the error of `end`.
        """
        while number > self._count and not self._closed:
            await self._added.wait()
        if number > self._count:
            if self._error is not None:
                raise self._error
            return None
        oldest = self._count - len(self._kept) + 1
        if number < oldest:
            raise PositionGoneError(
                f"the follower is {self._count - number + 1} commits behind, the log keeps "
                f"{len(self._kept)}"
            )
        return self._kept[number - oldest][1]

    def close(self) -> None:
        """End all followers once they have taken what is kept."""
        self._closed = True
        self._wake()

    def end(self, error: Exception) -> None:
        """Raise `error` in all followers once they have taken what is kept."""
        self._error = error
        self.close()

    def _wake(self) -> None:
        self._added.set()
        self._added.clear()


class Follower:
    """An iterator over the commits of one log, in order and without a gap."""

    def __init__(self, feed: CommitFeed, number: int, after: int) -> None:
        """`number`: of the first commit. `after`: `seq` of the last entry to leave out."""
        self._feed = feed
        self._number = number
        self._after = after

    def __aiter__(self) -> Follower:
        return self

    async def __anext__(self) -> Commit:
        commit = await self._feed.take(self._number)
        if commit is None:
            raise StopAsyncIteration
        self._number += 1
        if commit.entries and commit.entries[0].position.seq <= self._after:
            later = [entry for entry in commit.entries if entry.position.seq > self._after]
            return replace(commit, entries=later)
        return commit
