"""What a move is to a client that may not hear of both places. Pure.

A client whose rights end at some regions is never told of what happens outside of them: rooms see
to that. Only a move is one event of two places. For who may hear of the old place alone the
property is gone, for who may hear of the new one alone it has come; who may hear of both gets the
move as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson

from bridge.projection import DOCUMENTED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.events import Event, EventName
    from bridge.rights import Rights


@dataclass(frozen=True)
class RegionMove:
    """A move, and what it can be to others. `before` and `after` are regions, widest first."""

    event: Event
    data: dict[str, Any]
    before: tuple[str, ...]
    after: tuple[str, ...]

    def as_visible(self, rights: Rights) -> Event | None:
        """The event as a client with `rights` may hear it; None: not at all.

        Equal rights are given the same object.
        """
        knew, knows = rights.can_read_row(self.before), rights.can_read_row(self.after)
        if knew:
            return self.event if knows else self._gone
        return self._come if knows else None

    @cached_property
    def _gone(self) -> Event:
        data = {
            "property_id": self.data["property_id"],
            "deleted_at": self.data["updated_at"],
        }
        return self._instead("property-deleted", data)

    @cached_property
    def _come(self) -> Event:
        row = dict(self.data["property"])
        # A creation has all documented columns, also those that are not published.
        documented = {column: row.pop(column, None) for column in DOCUMENTED}
        data = {"property_id": row.pop("property_id"), **documented, **row}
        return self._instead("property-created", data)

    def _instead(self, name: EventName, data: dict[str, Any]) -> Event:
        envelope = orjson.dumps({"event": name, "data": data})
        return replace(self.event, name=name, envelope=envelope)


def read_move(event: Event) -> RegionMove | None:
    """The move that the event tells; None if it tells none, as nearly all do."""
    # Looking for the word is quicker than reading.
    if event.name != "property-updated" or b'"moved":{' not in event.envelope:
        return None
    data = orjson.loads(event.envelope)["data"]
    moved = data.get("moved")
    if not moved:
        return None  # the word was in a value
    return RegionMove(event, data, tuple(moved["from"]), tuple(moved["to"]))


def visible_event(event: Event, each: Iterable[Rights]) -> Event | None:
    """The event as it may be heard by who has all of these rights; None: not at all.

    A client that comes back has the rights of then and those of now.
    """
    limited = [rights for rights in each if rights.regions is not None]
    move = read_move(event) if limited else None
    for rights in limited:
        heard = event if move is None else move.as_visible(rights)
        if heard is None:
            return None
        if heard is not event:
            move, event = None, heard
    return event
