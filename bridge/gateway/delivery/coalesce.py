"""Several events told as one: `properties-batch`, with the net difference of each property.

What happened to one property within a batch is folded, over all that happened to it and not only
over what one client heard of it, and the result goes to the rooms of its first and its last place:
a client that follows a region knows the property's state at the beginning if it was there then, and
needs it at the end if it is there now. What lies between is nobody's loss.

- updates fold into one: each column's first `old` and last `new`; what came back vanishes, and an
  update without any difference left is not told;
- a creation takes later updates in, and a creation that is deleted again is not told;
- a deletion swallows the updates before it, and goes to the first place only;
- what was deleted and created again stays two events, a deletion and a creation;
- a move goes from the first place to the last one, or is none if these are the same;
- a notification is no part of a property's story: each is told as it is, where it stood.

Each view has its own story of a property, as it was told its own events.

A folded event stands where the last of its parts stood. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson

from bridge.changes import json_equal
from bridge.events import Event
from bridge.rooms import rooms_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bridge.changes import Key
    from bridge.events import EventName
    from bridge.log.base import Entry, Position
    from bridge.rights import View

BATCH_EVENT: Final = "properties-batch"

COALESCED: Final = ("property-created", "property-updated", "property-deleted")
"""Events that come to a net difference; others stay as they are."""


def coalesce(
    entries: Iterable[Entry], updated_at: str | None, view: View = "public"
) -> list[Event]:
    """What `entries`, in order and not filtered by any room, come to in one view. `updated_at`
    names the column that a creation's data has for it, if it is published.
    """
    stories: dict[Key | Position, list[Event]] = {}
    for entry in entries:
        if entry.event.name not in COALESCED:
            stories[entry.position] = [entry.event]
            continue
        if view not in entry.event.views:
            continue
        # Taken out and put in again: a story stands where its last event does.
        story = stories.pop(entry.event.key, [])
        story.append(entry.event)
        stories[entry.event.key] = story
    out: list[Event] = []
    for story in stories.values():
        out.extend(story if len(story) == 1 else _net(story, updated_at, view))
    return out


def envelope(events: Sequence[Event]) -> bytes:
    """The envelope of a batch."""
    inside = b",".join(event.envelope for event in events)
    return b'{"event":"' + BATCH_EVENT.encode() + b'","data":{"events":[' + inside + b"]}}"


@dataclass(slots=True)
class _NetChange:
    """What a story has come to so far."""

    deleted: dict[str, Any] | None = None  # data of a deletion that came before all else
    deleted_from: tuple[str, ...] = ()
    created: dict[str, Any] | None = None
    changes: dict[str, dict[str, Any]] | None = None  # None: not updated, or created
    whole: dict[str, Any] | None = None  # the row after the last move, kept up to date
    first: tuple[str, ...] = ()  # regions before the first update
    place: tuple[str, ...] = ()
    at: Any = None


def _net(story: Sequence[Event], updated_at: str | None, view: View) -> list[Event]:
    known = _NetChange()
    for event in story:
        data = orjson.loads(event.envelope)["data"]
        if event.name == "property-created":
            known.created, known.place = data, event.regions_after
        elif event.name == "property-deleted":
            _delete(known, data, event.regions_before)
        else:
            _update(known, event, data, updated_at)
    return _told(known, story[-1].key, view)


def _delete(known: _NetChange, data: dict[str, Any], place: tuple[str, ...]) -> None:
    if known.created is not None:
        known.created = None
        if known.deleted is not None:
            known.deleted = data
        return
    known.deleted_from = known.first if known.changes is not None else place
    known.deleted, known.changes, known.whole = data, None, None


def _update(known: _NetChange, event: Event, data: dict[str, Any], updated_at: str | None) -> None:
    if known.created is None and known.changes is None:
        known.changes = {}
        known.first = event.regions_before
    known.place = event.regions_after
    known.at = data["updated_at"]
    if known.created is not None:
        _renew(known.created, data, updated_at)
        return
    assert known.changes is not None
    if event.moved:
        known.whole = data["property"]
    elif known.whole is not None:
        _renew(known.whole, data, updated_at)
    for column, change in data["changes"].items():
        first = known.changes.get(column)
        known.changes[column] = (
            change if first is None else {"old": first["old"], "new": change["new"]}
        )


def _renew(row: dict[str, Any], data: dict[str, Any], updated_at: str | None) -> None:
    for column, change in data["changes"].items():
        row[column] = change["new"]
    if updated_at in row:
        row[updated_at] = data["updated_at"]


def _told(known: _NetChange, key: Key, view: View) -> list[Event]:
    out = []
    event = partial(_event, key, view)
    if known.deleted is not None:
        out.append(event("property-deleted", known.deleted, before=known.deleted_from))
    if known.created is not None:
        out.append(event("property-created", known.created, after=known.place))
    if known.changes is None:
        return out
    changes = {
        column: change
        for column, change in known.changes.items()
        if not json_equal(change["old"], change["new"])
    }
    moved = known.first != known.place
    if changes or moved:
        data = {"property_id": key, "changes": changes, "updated_at": known.at}
        if moved:
            data["moved"] = {"from": list(known.first), "to": list(known.place)}
            data["property"] = known.whole
        update = event("property-updated", data, before=known.first, after=known.place)
        out.append(replace(update, changed=tuple(changes)))
    return out


def _event(
    key: Key,
    view: View,
    name: EventName,
    data: dict[str, Any],
    *,
    before: tuple[str, ...] = (),
    after: tuple[str, ...] = (),
) -> Event:
    """`before` and `after` are regions."""
    rooms = rooms_of(key, (*before, *after), view)
    envelope = orjson.dumps({"event": name, "data": data})
    return Event(name, key, rooms, envelope, (view,), before, after)
