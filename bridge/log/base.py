"""The event log: what was told, in order, with a position for each entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from bridge.changes import Key
    from bridge.events import Event

RowUpdate: TypeAlias = "tuple[Key, bytes | None]"
"""A row as it is now known (`rows.Rows` encodes it), or None where it is gone."""


SEQ_DIGITS: Final = 19
"""Of the longest number that a position may spell; clients send them, and Python refuses to read
the very long ones."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where an entry stands. Clients see it as an opaque string.

    `epoch` names one unbroken history. A log that lost its past (a memory log after a restart)
    starts another epoch, so that a position from before can't be mistaken for a place in it.
    """

    epoch: str
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Position | None:
        """The position that `text` spells, or None."""
        epoch, dash, seq = text.rpartition("-")
        if not (dash and epoch and seq.isascii() and seq.isdigit() and len(seq) <= SEQ_DIGITS):
            return None
        return cls(epoch, int(seq))


@dataclass(frozen=True, slots=True)
class Entry:
    """One event with its position and the wall clock time (Unix seconds) of its append."""

    position: Position
    event: Event
    at: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the stored rows are known to agree with the table."""

    loaded: bool = False
    """Whether the first pass over the table was completed. Until then nothing may be told."""
    watermark: str | None = None
    """Whatever the table's `updated_at` says was changed before then (RFC 3339) is in the rows."""


class EventLog(Protocol):
    """Entries, and the rows they left behind. Opened before anything else is asked of it."""

    async def open(self) -> None:
        """Raises `errors.LogUnusableError`."""
        ...

    def rows(self) -> AsyncIterator[Sequence[tuple[Key, bytes]]]:
        """The rows that are stored, some at a time."""
        ...

    @property
    def progress(self) -> Progress:
        """What was stored last."""
        ...

    @property
    def error(self) -> str | None:
        """Why nothing can be stored at present; it is tried again until it can."""
        ...

    @property
    def head(self) -> Position:
        """Position of the last entry; before the first one, the position that it will follow."""
        ...

    async def append(
        self,
        events: Sequence[Event],
        rows: Sequence[RowUpdate],
        progress: Progress | None = None,
    ) -> Sequence[Entry]:
        """Store events, the rows they leave behind, and progress if it is given: all or nothing.
        Gives the entries. One call at a time.

        `head` moves in the very step of the loop in which this returns; whoever waits for it can do
        more in that step. Raises `errors.LogUnusableError` where trying again can't help.
        """
        ...

    def after(self, position: Position) -> Sequence[Entry]:
        """All entries that follow `position`, in order. Raises `errors.PositionGoneError`."""
        ...

    async def close(self) -> None: ...


class SessionStore(Protocol):
    """What is remembered of clients, beside the log: they may come back after a restart."""

    async def load(self) -> Sequence[tuple[str, bytes]]:
        """All that was put, by its name."""
        ...

    async def put(self, sessions: Mapping[str, bytes | None]) -> None:
        """Store each under its name, or forget it; when this returns, it is done."""
        ...


class RevocationStore(Protocol):
    """Whose tokens are refused, beside the log."""

    async def load(self) -> Sequence[tuple[str, str, float]]:
        """Kind, name and time (Unix seconds) of all that was put."""
        ...

    async def put(self, kind: str, name: str, at: float, *, oldest: float) -> None:
        """Store it, and forget those from before `oldest`; when this returns, it is done."""
        ...
