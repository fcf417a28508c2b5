"""Names of the rooms of a row's events.

| room | clients in it |
|---|---|
| `everything` | subscribed to everything, with rights to all regions |
| `region:TX` | subscribed to a region |
| `property:<id>` | subscribed to a property, with rights to all regions |
| `property@2:TX:<id>` | subscribed to a property, with rights to this region among others |
| `user:<sub>`, `user@2:TX:<sub>` | of one user, with rights to all regions or to some |
| `member/...` | any of these, with rights to member columns |

A client with rights to some regions only is never in a room that has events of another one, so
rights need no check at delivery.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.events import shared

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bridge.changes import Json, Key, Record
    from bridge.rights import View

ALL_ROOM = "everything"
"""The room of clients that subscribed to neither regions nor properties."""

_REGION = "region:"
_MEMBER = "member/"


def region_room(region: str) -> str:
    """Return the room of one region."""
    return _REGION + region


def property_room(key: Key, within: str | None = None) -> str:
    """Return the room of one property, or of its events `within` one region if that is given."""
    return _scoped("property", key, within)


def user_room(user: str, within: str | None = None) -> str:
    """Return the room of one user's notifications, by the `sub` of its tokens."""
    return _scoped("user", user, within)


def _scoped(kind: str, name: Key, within: str | None) -> str:
    # The length separates the region from the name: neither can be taken for part of the other.
    return f"{kind}:{name}" if within is None else f"{kind}@{len(within)}:{within}:{name}"


def member_room(room: str) -> str:
    """Return the room for clients with rights to member columns that corresponds to `room`."""
    return _MEMBER + room


def rooms_of(key: Key, regions: Iterable[str], *views: View) -> tuple[str, ...]:
    """Return all rooms of a property's event in these regions (old and new ones for a move) and
    views (the public one by default). Public rooms are first.
    """
    each = tuple(dict.fromkeys(regions))
    rooms = (
        ALL_ROOM,
        property_room(key),
        *map(region_room, each),
        *(property_room(key, region) for region in each),
    )
    if "member" not in views:
        return rooms
    members = tuple(map(member_room, rooms))
    return (*rooms, *members) if "public" in views else members


def regions_of(record: Record, columns: Sequence[str]) -> tuple[str, ...]:
    """Return the regions of a row, widest first: `("TX", "TX/Austin")` for `state, city`.

    A null or empty column ends the path: without a state a row is in no region.
    """
    path: list[str] = []
    out: list[str] = []
    for column in columns:
        part = _part(record.get(column))
        if not part:
            break
        path.append(part)
        out.append("/".join(path))
    return shared(tuple(out))


def _part(value: Json) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
