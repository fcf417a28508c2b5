"""The event log: published events in order, each with its position, and the rows they led to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence

    from bridge.changes import Key
    from bridge.events import Event

RowUpdate: TypeAlias = "tuple[Key, bytes | None]"
"""The new state of a row, as `rows.RowStore` encodes it; None: deleted."""


SEQ_DIGITS: Final = 19
"""Digits of the largest number in a position; clients send positions, and Python refuses to parse
very long numbers."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """The place of an entry in the log; an opaque string for clients.

    `epoch` identifies one process that appended to the log. Every start begins another one, so that
    no position is assigned twice, even if the log's file went back to an earlier state meanwhile.
    The log knows up to which position an earlier epoch is part of its history (`locate`). Processes
    that share a log share the epoch; another one begins when the history is lost, and when a
    process starts while no other one runs.
    """

    epoch: str
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Position | None:
        """Return the position that `text` spells, or None."""
        epoch, dash, seq = text.rpartition("-")
        if not (dash and epoch and seq.isascii() and seq.isdigit() and len(seq) <= SEQ_DIGITS):
            return None
        return cls(epoch, int(seq))


@dataclass(frozen=True, slots=True)
class Entry:
    """One event with its position and the time (Unix seconds) of its append."""

    position: Position
    event: Event
    at: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the stored rows are known to agree with the table."""

    loaded: bool = False
    """Whether the initial load is complete. No event is emitted before that."""
    watermark: str | None = None
    """Every change that the table's `updated_at` dates before this (RFC 3339) is in the rows."""
    stream: str | None = None
    """The source's position up to which its changes are in the log (`changes.Checkpoint`); None: it
    has none, and after a restart the table is compared instead."""


@dataclass(frozen=True, slots=True)
class Note:
    """A statement of one process to all that follow the log, itself included: in order with the
    commits, and not stored for those that begin to follow later.

    `kind` names who reads it, `origin` is the `EventLog.process` that sent it, `data` is JSON.
    """

    kind: str
    origin: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Commit:
    """What one append stored: entries, row updates, and progress if it was given; or notes alone.

    `number` counts the commits that this process received of an open log, from 1. A commit without
    entries has no position of its own.
    """

    number: int
    entries: Sequence[Entry]
    rows: Sequence[RowUpdate]
    progress: Progress | None = None
    notes: Sequence[Note] = ()


class EntryReader(Protocol):
    """The entries up to a head."""

    @property
    def head(self) -> Position:
        """Position of the last entry; before the first one, the position that it will follow."""
        ...

    def locate(self, position: Position) -> Position | None:
        """Return the same place as a position of the present epoch; None if it is not in this
        log's history up to `head`.
        """
        ...

    def after(self, position: Position) -> Sequence[Entry]:
        """Return all entries after `position`, in order. Raises `errors.PositionGoneError`."""
        ...


class EventLog(EntryReader, Protocol):
    """Stores entries and the rows they led to. Call `open` before anything else."""

    async def open(self) -> None:
        """Raises `errors.LogUnusableError`."""
        ...

    def rows(self) -> AsyncIterator[Sequence[tuple[Key, bytes]]]:
        """Yield the stored rows, in portions."""
        ...

    @property
    def process(self) -> str:
        """Identifies this process among those that share the log; another one after each start."""
        ...

    @property
    def progress(self) -> Progress:
        """The progress that was stored last."""
        ...

    @property
    def error(self) -> str | None:
        """Why the log can't be written or followed at present; both are retried for ever."""
        ...

    async def append(
        self,
        events: Sequence[Event],
        rows: Sequence[RowUpdate],
        progress: Progress | None = None,
    ) -> Commit:
        """Store events, row updates, and progress if it is given: all or nothing. Return the
        commit. One call at a time. A shared log may store more than the 256 changes of a
        transaction in parts: followers get several commits, each with all events of its rows, and
        this returns all of them as one, with the number of the last.

        `head` moves and followers are woken as soon as the commit is stored, also if this call was
        cancelled meanwhile. Raises `errors.LogUnusableError` where a retry can't help, and
        `errors.LeaseLostError` if another process leads; nothing is stored then.
        """
        ...

    async def note(self, kind: str, data: bytes) -> None:
        """Send a note to all processes that follow the log. Any process may. A log that can't be
        written drops it, with a log line: a note repeats a state or is backed by a store.
        """
        ...

    def follow(self, after: Position) -> AsyncIterator[Commit]:
        """Return the commits after the entry at `after`, as they are appended: each once, in order,
        without a gap, until the log is closed.

        Raises `errors.PositionGoneError` now if `after` is not in this history or the commits after
        it are not kept, and later if the follower is so far behind that its next commit is not, or
        if the log went back and another history began. To
        build a copy of the rows, follow first, then read `rows()`, then apply the commits: to apply
        a row update twice does no harm.
        """
        ...

    async def close(self) -> None:
        """Close the log and end its followers."""
        ...


@dataclass(frozen=True, slots=True)
class LogServer:
    """The server of a log that machines share, as of the last check, for people. `warnings`: what
    may cost data, each with what to do.
    """

    version: str
    role: str
    eviction: str
    persistence: str
    memory: str
    warnings: tuple[str, ...] = ()


class Lease(Protocol):
    """The right to append, which one process at a time has: the leader. A log of one process gives
    it at once and for good.
    """

    @property
    def leading(self) -> bool:
        """Whether this process has the lease, as far as it knows; `EventLog.append` decides."""
        ...

    @property
    def term(self) -> int:
        """Counts the leaders of this history; that of the present leader, 0 if none is known."""
        ...

    async def acquired(self) -> None:
        """Try to get the lease until this process has it. `EventLog.head` is then the last entry
        of the leader before.
        """
        ...

    async def lost(self) -> None:
        """Wait until this process does not have it any more: another one may have taken over."""
        ...

    async def release(self, *, pause: float = 0.0) -> None:
        """Give it to another process, if one waits for it. This process tries again `pause`
        seconds later at the earliest, and only in `acquired`. Harmless without the lease.
        """
        ...


class SessionStore(Protocol):
    """Stores the sessions of clients that reconnect after a restart, or to another process."""

    @property
    def shared(self) -> bool:
        """Whether other processes use it at the same time; they get sessions with `take`."""
        ...

    async def load(self) -> Sequence[tuple[str, bytes]]:
        """Return all stored sessions with their names; none of a shared store."""
        ...

    async def put(self, sessions: Mapping[str, bytes | None]) -> Collection[str]:
        """Store each session under its name, or delete it (None). Durable when this returns.

        Returns the names that are left as they were, since another process has taken them.
        """
        ...

    async def take(self, name: str, /) -> bytes | None:
        """Return the session and make it one of this process; None if there is none. Calls at the
        same time are one request to a server.
        """
        ...


class RevocationStore(Protocol):
    """Stores revoked users and sessions of users."""

    async def load(self) -> Sequence[tuple[str, str, float]]:
        """Return kind, name and time (Unix seconds) of each revocation."""
        ...

    async def put(self, kind: str, name: str, at: float, *, oldest: float) -> None:
        """Store a revocation, and delete those from before `oldest`. Durable when this returns."""
        ...
