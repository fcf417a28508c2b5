"""The ways in which a client can be misled, and where that was observed."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """Kind of a violation; reports count violations under this name."""

    LOST = "lost"
    """An event in the client's rooms was received by other clients and not by this one."""
    REPEATED = "repeated"
    """A position or a state was received twice."""
    SKIPPED = "skipped"
    """A committed state between two received ones was never sent, by a source that sends all."""
    DISORDERED = "disordered"
    """A state after a later state of its property, or a position after a later position."""
    INVENTED = "invented"
    """A state that the property never had."""
    UNCONVERGED = "unconverged"
    """All writes are delivered, and the rows of a client differ from the table."""
    WRONG_OLD = "wrong old"
    """An old value, or an event, that does not follow from the events before it."""
    UNPUBLISHED = "unpublished"
    """A value or a column that is not published."""
    MALFORMED = "malformed"
    """An event of another shape than the contract's."""
    UNSUBSCRIBED = "unsubscribed"
    """An event outside of the client's subscription."""
    FORKED = "forked"
    """One position with different events for different clients."""
    SNAPSHOT = "snapshot"
    """A snapshot that differs from the events up to its position."""
    EXITED = "exited"
    """The bridge's process ended although no fault ended it."""


@dataclass(frozen=True, slots=True)
class Violation:
    """`at`: seconds since the start. `context`: what happened around that time, a line each."""

    kind: Kind
    client: str
    text: str
    at: float
    key: str = ""
    context: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        head = f"[{self.at:8.2f}] {self.kind.value}: {self.client}: {self.key} {self.text}"
        return "\n".join((head, *(f"      {line}" for line in self.context)))
