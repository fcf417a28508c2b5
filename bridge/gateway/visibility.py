"""Translates a move between regions for clients with rights to only one of them. No I/O.

Rooms keep a client with limited rights from receiving events of other regions. Only a move concerns
two places with one event: a client that may read the old place alone receives `property-deleted`
instead, a client that may read the new place alone receives `property-created`, and a client that
may read both receives the move unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson

from bridge.projection import DOCUMENTED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.events import Event
    from bridge.rights import Rights


@dataclass(frozen=True)
class RegionMove:
    """An event with `event.moved`, and its translations, each made once when first needed."""

    event: Event

    def as_visible(self, rights: Rights) -> Event | None:
        """Return the event that a client with `rights` receives, or None if it receives none.

        Equal rights return the same object.
        """
        before = rights.can_read_row(self.event.regions_before)
        after = rights.can_read_row(self.event.regions_after)
        if before:
            return self.event if after else self._deleted
        return self._created if after else None

    @cached_property
    def _data(self) -> dict[str, Any]:
        data: dict[str, Any] = orjson.loads(self.event.envelope)["data"]
        return data

    @cached_property
    def _deleted(self) -> Event:
        data = {
            "property_id": self._data["property_id"],
            "deleted_at": self._data["updated_at"],
        }
        return replace(
            self.event,
            name="property-deleted",
            envelope=orjson.dumps({"event": "property-deleted", "data": data}),
            regions_after=(),
            changed=(),
        )

    @cached_property
    def _created(self) -> Event:
        row = dict(self._data["property"])
        documented = {column: row.pop(column) for column in DOCUMENTED if column in row}
        data = {"property_id": row.pop("property_id"), **documented, **row}
        return replace(
            self.event,
            name="property-created",
            envelope=orjson.dumps({"event": "property-created", "data": data}),
            regions_before=(),
            changed=(),
        )


def visible_event(event: Event, each: Iterable[Rights]) -> Event | None:
    """Return the event that a client with all of these rights receives, or None for none.

    A reconnecting client has the rights of its earlier subscription and its present ones.
    """
    if not event.moved:
        return event
    move = RegionMove(event)
    for rights in each:
        visible = move.as_visible(rights)
        if visible is not event:
            return visible
    return event
