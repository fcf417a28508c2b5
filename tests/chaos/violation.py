"""What must not happen, where it happened."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """Of a violation; the word that the report counts it under."""

    LOST = "lost"
    """An event that was told to others in a client's rooms did not come to it."""
    REPEATED = "repeated"
    """A position, or a state, was told again."""
    DISORDERED = "disordered"
    """A state was told after a later one of the same property, or a position after a later one."""
    INVENTED = "invented"
    """A property was told in a state that it never had."""
    UNCONVERGED = "unconverged"
    """All is quiet, and what a client holds is not what the table says."""
    WRONG_OLD = "wrong old"
    """An old value, or an event, that doesn't follow from what was told before."""
    UNPUBLISHED = "unpublished"
    """Something left that may not."""
    MALFORMED = "malformed"
    """An event that isn't shaped as the contract says."""
    STRANGER = "stranger"
    """An event came to a client that had not asked for it."""
    FORKED = "forked"
    """One position carried different events to different clients."""
    SNAPSHOT = "snapshot"
    """A snapshot that is not what was told up to its position."""
    DIED = "died"
    """The bridge ended by itself."""


@dataclass(frozen=True, slots=True)
class Violation:
    """`at`: seconds since the beginning. `context`: what happened around it, a line each."""

    kind: Kind
    client: str
    what: str
    at: float
    key: str = ""
    context: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        head = f"[{self.at:8.2f}] {self.kind.value}: {self.client}: {self.key} {self.what}"
        return "\n".join((head, *(f"      {line}" for line in self.context)))
