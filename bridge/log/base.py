"""The event log: what was told, in order, with a position for each entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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


class EventLog(Protocol):
    async def open(self) -> Iterable[tuple[Key, bytes]]:
        """Open the log and give the rows that were stored with the last append."""
        ...

    async def append(self, events: Sequence[Event], rows: Sequence[RowUpdate]) -> Sequence[Entry]:
        """Store events and the rows they leave behind, both or neither, and give the entries."""
        ...

    @property
    def fresh(self) -> bool:
        """Whether nothing was ever stored: the first pass over the table then tells nothing."""
        ...

    @property
    def head(self) -> Position:
        """Position of the last entry; before the first one, the position that it will follow."""
        ...

    def after(self, position: Position) -> Sequence[Entry]:
        """All entries that follow `position`, in order. Raises `errors.PositionGone`."""
        ...

    async def close(self) -> None: ...
