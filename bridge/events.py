"""Encoded, routed events. The models of their JSON are in `bridge.contract.events`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from bridge.changes import Key
    from bridge.rights import View


EventName = Literal[
    "property-created",
    "property-updated",
    "property-deleted",
    "properties-batch",
    "bridge-status",
    "auth-status",
    "property-notification",
]

PROPERTY_EVENTS: Final = ("property-created", "property-updated", "property-deleted")
"""The events of one property."""

MAX_SHARED_TUPLES: Final = 4096
"""Distinct tuples that `shared` keeps, about 100 bytes each."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its envelope as JSON text, encoded once, its rooms, and the facts of its change.

    `rooms` are all rooms it is delivered to; see `bridge.rooms`. The facts hold for events of a
    property; other events leave them at their defaults:

    - `views`: the views of the clients that receive it;
    - `regions_before`, `regions_after`: the regions of the row, widest first, before and after the
      change; empty before a creation, after a deletion, and for a row in no region;
    - `changed`: the columns in an update's `changes`.
    """

    name: EventName
    key: Key
    rooms: tuple[str, ...]
    envelope: bytes
    views: tuple[View, ...] = ("public",)
    regions_before: tuple[str, ...] = ()
    regions_after: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    @property
    def moved(self) -> bool:
        """Whether it is an update that changes the regions of its row."""
        return self.name == "property-updated" and self.regions_before != self.regions_after

    @property
    def regions(self) -> tuple[str, ...]:
        """All regions that it concerns, each once, those before the change first."""
        if self.regions_before == self.regions_after:
            return self.regions_after
        return tuple(dict.fromkeys((*self.regions_before, *self.regions_after)))


@lru_cache(maxsize=MAX_SHARED_TUPLES)
def shared(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the same object for equal tuples, so that the entries of a log share it."""
    return names
