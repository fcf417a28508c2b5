"""From a row to its regions, and from these to the rooms of its events.

| room | members |
|---|---|
| `everything` | clients that named nothing and have rights to all regions |
| `region:TX` | clients subscribed to a region |
| `property:<id>` | clients subscribed to a property that have rights to all regions |
| `property@2:TX:<id>` | clients subscribed to a property with rights to this region among others |
| `user:<sub>`, `user@2:TX:<sub>` | the same two kinds, for a user's own notifications |
| `member/...` | any of these, for clients with the member view |

A client with rights to some regions only is never in a room with events of another region, so no
rights are checked during delivery. (Only a move concerns two regions with one event, see
`bridge.gateway.visibility`.)
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from bridge.events import shared

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bridge.changes import Json, Key, Record
    from bridge.rights import View

ALL_ROOM = "everything"
"""The room of clients that subscribed to neither regions nor properties."""

_REGION = "region:"
_MEMBER = "member/"

_ESCAPED_SLASH: Final = re.compile("%(?=(?:25)*2F)")
"""The percent sign of what resembles an escaped slash; all others stay as they are."""


def region_room(region: str) -> str:
    """Return the room of one region."""
    return _REGION + region


def property_room(key: Key, within: str | None = None) -> str:
    """Return the room of one property, or of its events `within` one region."""
    return _scoped("property", key, within)


def user_room(user: str, within: str | None = None) -> str:
    """Return the room of one user, by the `sub` of its tokens, or of its events `within` one
    region.
    """
    return _scoped("user", user, within)


def _scoped(kind: str, name: Key, within: str | None) -> str:
    # Its length separates the region from the name, whatever characters they contain.
    return f"{kind}:{name}" if within is None else f"{kind}@{len(within)}:{within}:{name}"


def member_room(room: str) -> str:
    """Return the room of the same events in the member view."""
    return _MEMBER + room


def rooms_of(key: Key, regions: Iterable[str], *views: View) -> tuple[str, ...]:
    """Return the rooms of an event of a property in these regions (those of both places for a move)
    in these views, by default the public one. Public rooms are first.
    """
    names = tuple(dict.fromkeys(regions))
    rooms = (
        ALL_ROOM,
        property_room(key),
        *map(region_room, names),
        *(property_room(key, region) for region in names),
    )
    if "member" not in views:
        return rooms
    members = tuple(map(member_room, rooms))
    return (*rooms, *members) if "public" in views else members


def regions_of(record: Record, columns: Sequence[str]) -> tuple[str, ...]:
    """Return the regions of a row, widest first: `("TX", "TX/Austin")` for `state, city`.

    A null or empty column ends the path: a row without a state is in no region. A slash within a
    value is `%2F`, so that no two places are one region. Equal results are one object.
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
    if isinstance(value, str):
        text = value
    elif isinstance(value, dict | list):
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    else:
        text = json.dumps(value)
    if "/" not in text and "%" not in text:
        return text
    return _ESCAPED_SLASH.sub("%25", text).replace("/", "%2F")
