"""Makes the events of the difference between two states of a row, for each view.

Only the columns of a view are compared for it, so that changes of other columns leave no trace.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from bridge.changes import json_equal
from bridge.contract.events import (
    Move,
    PropertyCreated,
    PropertyCreatedData,
    PropertyDeleted,
    PropertyDeletedData,
    property_updated,
)
from bridge.events import Event, shared
from bridge.rooms import regions_of, rooms_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.changes import Json, Key, Record
    from bridge.projection import Projection
    from bridge.rights import View

    Changed: TypeAlias = dict[str, Json]
    """The fields of a `FieldChange`."""

ONE_VIEW: Final[dict[View, tuple[View, ...]]] = {"public": ("public",), "member": ("member",)}


def events_between(
    projection: Projection, key: Key, old: Record | None, new: Record | None, at: str
) -> tuple[Event, ...]:
    """Return the events that take a client from `old` to `new`: one per view, or one for both if
    they are equal, and none for a view without a difference. The one of the public view is first.

    `old` and `new` have all known columns; None: no such row. `at`: commit time, RFC 3339.
    """
    if new is None:
        return () if old is None else (deleted(projection, key, old, at),)
    if old is None:
        return tuple(created(projection, key, new, view) for view in projection.views)
    return updated(projection, key, old, new, at)


def created(projection: Projection, key: Key, new: Record, view: View = "public") -> Event:
    data = _shown(projection, key, new, view)
    regions = regions_of(new, projection.region)
    return Event(
        "property-created",
        key,
        rooms_of(key, regions, view),
        PropertyCreated.model_construct(
            _fields_set={"event", "data"}, event="property-created", data=data
        )
        .model_dump_json(exclude_unset=True, warnings=False)
        .encode(),
        views=ONE_VIEW[view],
        regions_after=regions,
    )


def updated(
    projection: Projection, key: Key, old: Record, new: Record, at: str
) -> tuple[Event, ...]:
    changes = _changes(projection.diffed, old, new)
    more = _changes(projection.diffed_for_members, old, new)
    before = regions_of(old, projection.region)
    after = regions_of(new, projection.region)
    updated_at = (new[projection.updated_at] if projection.updated_at else None) or at
    update = partial(_updated, key, before, after, updated_at)
    if before != after:
        return tuple(
            update(
                views=ONE_VIEW[view],
                changes={**changes, **more} if view == "member" else changes,
                moved=Move.model_construct(from_=list(before), to=list(after)),
                property=_shown(projection, key, new, view),
            )
            for view in projection.views
        )
    if not more:
        return (update(views=projection.views, changes=changes),) if changes else ()
    for_members = update(views=ONE_VIEW["member"], changes={**changes, **more})
    if not changes:
        return (for_members,)
    return (update(views=ONE_VIEW["public"], changes=changes), for_members)


def deleted(projection: Projection, key: Key, old: Record, at: str) -> Event:
    data = PropertyDeletedData.model_construct(property_id=key, deleted_at=at)
    regions = regions_of(old, projection.region)
    return Event(
        "property-deleted",
        key,
        rooms_of(key, regions, *projection.views),
        PropertyDeleted.model_construct(event="property-deleted", data=data)
        .model_dump_json(warnings=False)
        .encode(),
        views=projection.views,
        regions_before=regions,
    )


def _changes(columns: Iterable[str], old: Record, new: Record) -> dict[str, Changed]:
    return {
        column: {"old": old[column], "new": new[column]}
        for column in columns
        if not json_equal(old[column], new[column])
    }


def _updated(
    key: Key,
    before: tuple[str, ...],
    after: tuple[str, ...],
    updated_at: Json,
    *,
    views: tuple[View, ...],
    changes: dict[str, Changed],
    **move: Move | PropertyCreatedData,
) -> Event:
    """`before` and `after` are regions; `move`: the further fields of a move's data, if any."""
    fields = {"property_id": key, "changes": changes, "updated_at": updated_at}
    return Event(
        "property-updated",
        key,
        rooms_of(key, (*before, *after), *views),
        property_updated(fields, **move),
        views=views,
        regions_before=before,
        regions_after=after,
        changed=shared(tuple(changes)),
    )


def _shown(projection: Projection, key: Key, row: Record, view: View) -> PropertyCreatedData:
    fields = {"property_id": key, **{c: row[c] for c in projection.row_columns(view) if c in row}}
    return PropertyCreatedData.model_construct(_fields_set=set(fields), **fields)
