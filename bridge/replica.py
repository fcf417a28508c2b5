"""A replica of the log: the known rows and the head, as of the last commit that was applied.

Every process that serves clients has one and follows the log with it, whether the commits are
appended in the same process or in another one.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Protocol

from bridge.errors import PositionGoneError
from bridge.rows import RowStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from bridge.log.base import Commit, Entry, EventLog, Note, Position

log = logging.getLogger(__name__)

RELOAD_PAUSE_SECONDS: Final = 0.1
"""Between two attempts to load the rows of a log whose history changes meanwhile."""


class ReloadObserver(Protocol):
    """What has to stop while the rows are loaded again."""

    async def before_reload(self, *, lost: bool) -> None:
        """Stop everything that reads the rows. `lost`: the log has another history, in which no
        earlier position exists; otherwise this process was too far behind.
        """
        ...

    def after_reload(self) -> None: ...


class Replica:
    """Applies each commit to `rows` and `head` and publishes its entries, all in one step of the
    event loop: at any other moment the three agree.

    Implements `log.base.EntryReader` and `gateway.recovery.takeover.SharedReader`. Clients are
    served up to `head`, which may be behind the head of the log.
    """

    def __init__(self, log: EventLog, columns: tuple[str, ...]) -> None:
        """`log` is open. `columns`: the columns of its rows, without the key."""
        self.rows = RowStore(columns)
        self.head: Position = log.head
        self._log = log
        self._commits: AsyncIterator[Commit] = log.follow(self.head)
        self._publish: Callable[[Sequence[Entry]], None] | None = None
        self._receive: Callable[[Note], None] | None = None
        self._reload_observer: ReloadObserver | None = None
        self._reloading = False
        self._applied = 0  # number of the last commit
        self._advanced = asyncio.Event()

    @property
    def error(self) -> str | None:
        """Why the log can't be written or followed at present."""
        return self._log.error

    async def load(self, *, restart: bool = False) -> None:
        """Load the stored rows, and apply what was committed meanwhile. Call it before `run`.
        `restart`: from the present head, without the rows so far.
        """
        while True:
            try:
                if restart:
                    self._restart()
                await self._load()
            except PositionGoneError:
                # Another history began meanwhile, or too much was committed.
                restart = True
                await asyncio.sleep(RELOAD_PAUSE_SECONDS)
            else:
                return

    def _restart(self) -> None:
        """Begin again with no rows at the present head. Raises `errors.PositionGoneError`."""
        self.rows.clear()
        self.head = self._log.head
        self._commits = self._log.follow(self.head)

    async def _load(self) -> None:
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

    def on_note(self, receive: Callable[[Note], None]) -> None:
        """Have `receive` called with each note, after the entries of the commits before it. It must
        neither block nor raise.
        """
        self._receive = receive

    def on_reload(self, observer: ReloadObserver) -> None:
        """Load everything again where `run` would raise `errors.PositionGoneError`."""
        self._reload_observer = observer

    async def run(self) -> None:
        """Apply commits until cancelled, or until the log is closed.

        Raises `errors.PositionGoneError` if it is so far behind that the log does not keep the next
        commit, and nothing observes reloads. Clients then have missed entries: the process has to
        start again.
        """
        while True:
            try:
                async for commit in self._commits:
                    self.apply(commit)
            except PositionGoneError as error:
                if self._reload_observer is None:
                    raise
                await self._reload(self._reload_observer, error)
            else:
                return

    async def _reload(self, observer: ReloadObserver, error: PositionGoneError) -> None:
        lost = self._log.locate(self.head) is None
        log.warning(
            "%s: all clients are disconnected and the rows are loaded again (%s)",
            "the log has lost its history" if lost else "this process is too far behind the log",
            error,
        )
        self._reloading = True
        await observer.before_reload(lost=lost)
        await self.load(restart=True)
        self._reloading = False
        observer.after_reload()
        self._advance()

    def apply(self, commit: Commit) -> None:
        """Apply one commit. Its rows and entries become visible together."""
        self.rows.apply(commit.rows)
        self._applied = commit.number
        if commit.entries:
            self.head = commit.entries[-1].position
            if self._publish is not None:
                self._publish(commit.entries)
        if self._receive is not None:
            for note in commit.notes:
                self._receive(note)
        self._advance()

    async def applied(self, commit: Commit) -> None:
        """Wait until `run` has applied `commit`."""
        if self._applied < commit.number:
            # `run` was woken when the commit was appended: it is scheduled before this.
            await asyncio.sleep(0)
        while self._applied < commit.number:
            await self._advanced.wait()

    async def caught_up(self) -> None:
        """Wait until everything that the log has received is applied."""
        await asyncio.sleep(0)  # as in `applied`
        while self._reloading or self.head != self._log.head:
            await self._advanced.wait()

    async def reached(self, position: Position) -> None:
        """Wait until `head` is at `position`, or past it in the same history."""
        while self._reloading or self.head.epoch != position.epoch or self.head.seq < position.seq:
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

    def _advance(self) -> None:
        self._advanced.set()
        self._advanced.clear()
