"""From two states of a row to the events that tell the difference, in each view of it.

The difference is that of the view: a column that the view doesn't show is not compared either, so
its changes leave no trace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bridge.changes import json_equal
from bridge.contract.events import (
    FieldChange,
    Move,
    PropertyCreated,
    PropertyCreatedData,
    PropertyDeleted,
    PropertyDeletedData,
    PropertyUpdated,
    PropertyUpdatedData,
)
from bridge.events import Event
from bridge.projection import DOCUMENTED
from bridge.rooms import regions_of, rooms_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.changes import Json, Key, Record
    from bridge.projection import Projection
    from bridge.rights import View


def events_between(
    projection: Projection, key: Key, old: Record | None, new: Record | None, at: str
) -> tuple[Event, ...]:
    """The events that take a client from `old` to `new`: for each view one, or one for both where
    they say the same, and none for a view in which nothing changed. That of the public view comes
    first.

    `old` and `new` are whole (every known column); None: no such row. `at` is the commit time.
    """
    if new is None:
        return () if old is None else (deleted(projection, key, old, at),)
    if old is None:
        return tuple(created(projection, key, new, view) for view in projection.views)
    return updated(projection, key, old, new, at)


def created(projection: Projection, key: Key, new: Record, view: View = "public") -> Event:
    data = _shown(projection, key, new, view)
    return Event(
        "property-created",
        key,
        rooms_of(key, regions_of(new, projection.region), view),
        PropertyCreated.model_construct(event="property-created", data=data)
        .model_dump_json(warnings=False)
        .encode(),
    )


def updated(
    projection: Projection, key: Key, old: Record, new: Record, at: str
) -> tuple[Event, ...]:
    changes = _changes(projection.diffed, old, new)
    more = _changes(projection.diffed_for_members, old, new)
    before = regions_of(old, projection.region)
    after = regions_of(new, projection.region)
    moved = before != after
    updated_at = (new[projection.updated_at] if projection.updated_at else None) or at
    places = (*before, *after)
    if moved:
        return tuple(
            _updated(
                key,
                rooms_of(key, places, view),
                {**changes, **more} if view == "member" else changes,
                updated_at,
                moved=Move.model_construct(from_=list(before), to=list(after)),
                property=_shown(projection, key, new, view),
            )
            for view in projection.views
        )
    if not more:
        rooms = rooms_of(key, places, *projection.views)
        return (_updated(key, rooms, changes, updated_at),) if changes else ()
    for_members = _updated(key, rooms_of(key, places, "member"), {**changes, **more}, updated_at)
    if not changes:
        return (for_members,)
    return (_updated(key, rooms_of(key, places), changes, updated_at), for_members)


def deleted(projection: Projection, key: Key, old: Record, at: str) -> Event:
    data = PropertyDeletedData.model_construct(property_id=key, deleted_at=at)
    return Event(
        "property-deleted",
        key,
        rooms_of(key, regions_of(old, projection.region), *projection.views),
        PropertyDeleted.model_construct(event="property-deleted", data=data)
        .model_dump_json(warnings=False)
        .encode(),
    )


def _changes(columns: Iterable[str], old: Record, new: Record) -> dict[str, FieldChange]:
    return {
        column: FieldChange.model_construct(old=old[column], new=new[column])
        for column in columns
        if not json_equal(old[column], new[column])
    }


def _updated(
    key: Key,
    rooms: tuple[str, ...],
    changes: dict[str, FieldChange],
    updated_at: Json,
    **move: Any,
) -> Event:
    """`move`: what is told of a move besides, or nothing."""
    fields = {"property_id": key, "changes": changes, "updated_at": updated_at, **move}
    data = PropertyUpdatedData.model_construct(_fields_set=set(fields), **fields)
    return Event(
        "property-updated",
        key,
        rooms,
        PropertyUpdated.model_construct(
            _fields_set={"event", "data"}, event="property-updated", data=data
        )
        .model_dump_json(by_alias=True, exclude_unset=True, warnings=False)
        .encode(),
    )


def _shown(projection: Projection, key: Key, row: Record, view: View) -> PropertyCreatedData:
    fields = {column: row[column] for column in projection.shown(view) if column in row}
    # What is documented is always there, within an update too, which leaves out what is not set.
    return PropertyCreatedData.model_construct(
        property_id=key, **{**dict.fromkeys(DOCUMENTED), **fields}
    )
