"""From a row to its rooms.

| room | who is in it |
|---|---|
| `everything` | clients that named nothing and may hear all regions |
| `region:TX` | clients that follow a region |
| `property:<id>` | clients that follow a property and may hear all regions |
| `property@2:TX:<id>` | clients that follow a property and may hear this region among others |
| `user:<sub>`, `user@2:TX:<sub>` | the same two kinds, of a user's own notifications |
| `member/...` | any of these, for who may see the columns that only members may see |

A client whose rights end at some regions is never in a room whose events could come from another
one, so nobody has to look at rights while telling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.events import shared

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bridge.changes import Json, Key, Record
    from bridge.rights import View

ALL_ROOM = "everything"
"""The room of clients that named neither regions nor properties."""

_REGION = "region:"
_MEMBER = "member/"


def region_room(region: str) -> str:
    return _REGION + region


def property_room(key: Key, within: str | None = None) -> str:
    """The room of one property; of what happens to it `within` one region, where that is given."""
    return _scoped("property", key, within)


def user_room(user: str, within: str | None = None) -> str:
    """The room of what concerns one user alone, by the `sub` of its tokens."""
    return _scoped("user", user, within)


def _scoped(kind: str, name: Key, within: str | None) -> str:
    # With its length a region can't be taken for another one with the beginning of a name.
    return f"{kind}:{name}" if within is None else f"{kind}@{len(within)}:{within}:{name}"


def member_room(room: str) -> str:
    """The same room, for who may see the columns that only members may see."""
    return _MEMBER + room


def rooms_of(key: Key, regions: Iterable[str], *views: View) -> tuple[str, ...]:
    """Every room of what happens to a property in these regions (both places' when it moves), for
    those of these views; of the public one if none is named. Public rooms come first.
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
    """The regions that a row is in, widest first: `("TX", "TX/Austin")` for `state, city`.

    A null or empty column ends the path: without a state a row is in no region at all.
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
