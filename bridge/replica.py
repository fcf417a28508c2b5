"""A replica of the log: the known rows and the head, as of the last commit that was applied.

Every process that serves clients has one and follows the log with it, whether the commits are
appended in the same process or in another one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bridge.errors import PositionGoneError
from bridge.rows import RowStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from bridge.log.base import Commit, Entry, EventLog, Position


class Replica:
    """Applies each commit to `rows` and `head` and publishes its entries, all in one step of the
    event loop: at any other moment the three agree.

    Implements `log.base.EntryReader`: clients are served up to `head`, which may be behind the head
    of the log.
    """

    def __init__(self, log: EventLog, columns: tuple[str, ...]) -> None:
        """`log` is open. `columns`: the columns of its rows, without the key."""
        self.rows = RowStore(columns)
        self.head: Position = log.head
        self._log = log
        self._commits: AsyncIterator[Commit] = log.follow(self.head)
        self._publish: Callable[[Sequence[Entry]], None] | None = None
        self._applied = 0  # number of the last commit
        self._advanced = asyncio.Event()

    async def load(self) -> None:
        """Load the stored rows, and apply what was committed meanwhile. Call it before `run`."""
        async for rows in self._log.rows():
            self.rows.load(rows)
        # The rows may be newer than `head`, but not newer than this.
        newest = self._log.head
        while self.head != newest:
            self.apply(await anext(self._commits))

    def subscribe(self, publish: Callable[[Sequence[Entry]], None]) -> None:
        """Have `publish` called with the entries of each commit. It must not block, and it sees
        `rows` and `head` as of that commit.
        """
        self._publish = publish

    async def run(self) -> None:
        """Apply commits until cancelled, or until the log is closed.

        Raises `errors.PositionGoneError` if it is so far behind that the log does not keep the next
        commit. Clients then have missed entries: the process has to start again.
        """
        async for commit in self._commits:
            self.apply(commit)

    def apply(self, commit: Commit) -> None:
        """Apply one commit. Its rows and entries become visible together."""
        self.rows.apply(commit.rows)
        self._applied = commit.number
        if commit.entries:
            self.head = commit.entries[-1].position
            if self._publish is not None:
                self._publish(commit.entries)
        self._advanced.set()
        self._advanced.clear()

    async def applied(self, commit: Commit) -> None:
        """Wait until `run` has applied `commit`."""
        if self._applied < commit.number:
            # `run` was woken when the commit was appended: it is scheduled before this.
            await asyncio.sleep(0)
        while self._applied < commit.number:
            await self._advanced.wait()

    def locate(self, position: Position) -> Position | None:
        """Return the same place as a position of the present epoch; None if it is not in the
        history up to `head`.
        """
        located = self._log.locate(position)
        return None if located is None or located.seq > self.head.seq else located

    def after(self, position: Position) -> Sequence[Entry]:
        """Return the entries after `position` up to `head`, in order. Raises
        `errors.PositionGoneError`.
        """
        entries = self._log.after(position)
        count = self.head.seq - position.seq
        if count < 0:
            raise PositionGoneError(f"position {position} is past the head {self.head}")
        return entries if len(entries) == count else entries[:count]
