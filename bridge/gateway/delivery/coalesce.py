"""Coalesces several events into `properties-batch`, with the net change of each property. No I/O.

The events of one property within a batch are coalesced over all of them, not only over those that
one client receives, and the result is delivered to the rooms of the first and of the last place of
the property: a client subscribed to a region has its state at the beginning if it was there then,
and needs its state at the end if it is there now. What lies between is of no use to any client.

- updates become one: each column with its first `old` and last `new`; a column is left out if its
  value is restored, and an update without any column left is dropped;
- a creation absorbs later updates, and a creation followed by a deletion is dropped;
- a deletion absorbs the updates before it, and is delivered to the first place only;
- a deletion followed by a creation stays two events;
- a move is from the first place to the last one, or no move if these are equal;
- a notification is not a change of a property: each is kept as it is, in its place.

Each view has its own events of a property, which are coalesced separately.

A coalesced event takes the place of the last of its events.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson

from bridge.changes import json_equal
from bridge.events import PROPERTY_EVENTS, Event
from bridge.rooms import rooms_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bridge.changes import Key
    from bridge.events import EventName
    from bridge.log.base import Entry, Position
    from bridge.rights import View

BATCH_EVENT: Final = "properties-batch"


def coalesce(
    entries: Iterable[Entry], updated_at: str | None, view: View = "public"
) -> list[Event]:
    """Return the coalesced events of `entries`, which are consecutive entries of the log, in one
    view. `updated_at` is the column that has the time of an update in a creation's data, if it is
    published.

    A property with one event keeps it as it is, without decoding its JSON.
    """
    events_of: dict[Key | Position, list[Event]] = {}
    for entry in entries:
        if entry.event.name not in PROPERTY_EVENTS:
            events_of[entry.position] = [entry.event]
            continue
        if view not in entry.event.views:
            continue
        # Removed and added again, so that the property moves to the place of its last event.
        events = events_of.pop(entry.event.key, [])
        events.append(entry.event)
        events_of[entry.event.key] = events
    out: list[Event] = []
    for events in events_of.values():
        out.extend(events if len(events) == 1 else _coalesce_property(events, updated_at, view))
    return out


def envelope(events: Sequence[Event]) -> bytes:
    """Return the envelope of a batch."""
    inside = b",".join(event.envelope for event in events)
    return b'{"event":"' + BATCH_EVENT.encode() + b'","data":{"events":[' + inside + b"]}}"


@dataclass(slots=True)
class _NetChange:
    """The net change of a property after some of its events."""

    deleted: dict[str, Any] | None = None  # data of a deletion of the row that was there first
    deleted_from: tuple[str, ...] = ()
    created: dict[str, Any] | None = None  # data of a creation
    changes: dict[str, dict[str, Any]] | None = None  # of an update; None: no update, or created
    row: dict[str, Any] | None = None  # the row after the last move, kept up to date
    before: tuple[str, ...] = ()  # regions before the first update
    after: tuple[str, ...] = ()  # regions after the last event
    updated_at: Any = None


def _coalesce_property(events: Sequence[Event], updated_at: str | None, view: View) -> list[Event]:
    net = _NetChange()
    for event in events:
        data = orjson.loads(event.envelope)["data"]
        if event.name == "property-created":
            net.created, net.after = data, event.regions_after
        elif event.name == "property-deleted":
            _delete(net, data, event.regions_before)
        else:
            _update(net, event, data, updated_at)
    return _events(net, events[-1].key, view)


def _delete(net: _NetChange, data: dict[str, Any], regions: tuple[str, ...]) -> None:
    if net.created is not None:
        net.created = None
        if net.deleted is not None:
            net.deleted = data
        return
    net.deleted_from = net.before if net.changes is not None else regions
    net.deleted, net.changes, net.row = data, None, None


def _update(net: _NetChange, event: Event, data: dict[str, Any], updated_at: str | None) -> None:
    if net.created is None and net.changes is None:
        net.changes = {}
        net.before = event.regions_before
    net.after = event.regions_after
    net.updated_at = data["updated_at"]
    if net.created is not None:
        _apply(net.created, data, updated_at)
        return
    assert net.changes is not None
    if event.moved:
        net.row = data["property"]
    elif net.row is not None:
        _apply(net.row, data, updated_at)
    for column, change in data["changes"].items():
        first = net.changes.get(column)
        net.changes[column] = (
            change if first is None else {"old": first["old"], "new": change["new"]}
        )


def _apply(row: dict[str, Any], data: dict[str, Any], updated_at: str | None) -> None:
    """Apply the data of an update to a row."""
    for column, change in data["changes"].items():
        row[column] = change["new"]
    if updated_at in row:
        row[updated_at] = data["updated_at"]


def _events(net: _NetChange, key: Key, view: View) -> list[Event]:
    out = []
    event = partial(_event, key, view)
    if net.deleted is not None:
        out.append(event("property-deleted", net.deleted, before=net.deleted_from))
    if net.created is not None:
        out.append(event("property-created", net.created, after=net.after))
    if net.changes is None:
        return out
    changes = {
        column: change
        for column, change in net.changes.items()
        if not json_equal(change["old"], change["new"])
    }
    moved = net.before != net.after
    if changes or moved:
        data = {"property_id": key, "changes": changes, "updated_at": net.updated_at}
        if moved:
            data["moved"] = {"from": list(net.before), "to": list(net.after)}
            data["property"] = net.row
        update = event("property-updated", data, before=net.before, after=net.after)
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
