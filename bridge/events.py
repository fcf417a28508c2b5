"""Events on their way to clients. Their JSON is modelled in `bridge.contract.events`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from bridge.changes import Key


EventName = Literal[
    "property-created",
    "property-updated",
    "property-deleted",
    "properties-batch",
    "bridge-status",
    "auth-status",
    "property-notification",
]


@dataclass(frozen=True, slots=True)
class Event:
    """An event on its way to clients: its envelope as JSON text, encoded once, and where it goes.

    `rooms` is every room that hears it; see `bridge.rooms`.
    """

    name: EventName
    key: Key
    rooms: tuple[str, ...]
    envelope: bytes
