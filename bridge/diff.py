"""From two states of a row to the event that tells the difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.events import (
    Event,
    FieldChange,
    Move,
    PropertyCreated,
    PropertyCreatedData,
    PropertyDeleted,
    PropertyDeletedData,
    PropertyUpdated,
    PropertyUpdatedData,
)
from bridge.regions import regions_of, rooms_of

if TYPE_CHECKING:
    from bridge.changes import Json, Key, Record
    from bridge.projection import Projection


def tell(
    projection: Projection, key: Key, old: Record | None, new: Record | None, at: str
) -> Event | None:
    """The event that takes a client from `old` to `new`; None where nothing published changed.

    `old` and `new` are whole (every known column); None: no such row. `at` is the commit time.
    """
    if new is None:
        return None if old is None else deleted(projection, key, old, at)
    if old is None:
        return created(projection, key, new)
    return updated(projection, key, old, new, at)


def created(projection: Projection, key: Key, new: Record) -> Event:
    data = _published(projection, key, new)
    return Event(
        "property-created",
        key,
        rooms_of(key, regions_of(new, projection.region)),
        PropertyCreated.model_construct(event="property-created", data=data)
        .model_dump_json(warnings=False)
        .encode(),
    )


def updated(projection: Projection, key: Key, old: Record, new: Record, at: str) -> Event | None:
    changes = {
        column: FieldChange.model_construct(old=old[column], new=new[column])
        for column in projection.diffed
        if not same(old[column], new[column])
    }
    before = regions_of(old, projection.region)
    after = regions_of(new, projection.region)
    moved = before != after
    if not changes and not moved:
        return None
    updated_at = new[projection.updated_at] if projection.updated_at else None
    fields: dict[str, Json] = {
        "property_id": key,
        "changes": changes,
        "updated_at": updated_at or at,
    }
    if moved:
        fields["moved"] = Move.model_construct(from_=list(before), to=list(after))
        fields["property"] = _published(projection, key, new)
    data = PropertyUpdatedData.model_construct(_fields_set=set(fields), **fields)
    return Event(
        "property-updated",
        key,
        rooms_of(key, (*before, *after)),
        PropertyUpdated.model_construct(
            _fields_set={"event", "data"}, event="property-updated", data=data
        )
        .model_dump_json(by_alias=True, exclude_unset=True, warnings=False)
        .encode(),
    )


def deleted(projection: Projection, key: Key, old: Record, at: str) -> Event:
    data = PropertyDeletedData.model_construct(property_id=key, deleted_at=at)
    return Event(
        "property-deleted",
        key,
        rooms_of(key, regions_of(old, projection.region)),
        PropertyDeleted.model_construct(event="property-deleted", data=data)
        .model_dump_json(warnings=False)
        .encode(),
    )


def same(a: Json, b: Json) -> bool:
    """JSON equality. Unlike Python's, it keeps `true` and `1` apart."""
    if type(a) is not type(b):
        return type(a) in (int, float) and type(b) in (int, float) and a == b
    if type(a) is dict:
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if type(a) is list:
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def _published(projection: Projection, key: Key, row: Record) -> PropertyCreatedData:
    fields = {column: row[column] for column in projection.published if column in row}
    return PropertyCreatedData.model_construct(property_id=key, **fields)
