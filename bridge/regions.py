"""From a row to its rooms."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.changes import Json, Key, Record

EVERYTHING = "everything"
"""The room of clients that named neither regions nor properties."""

_REGION = "region:"


def region_room(region: str) -> str:
    return _REGION + region


def region_of_room(room: str) -> str | None:
    """The region whose room that is; None for the other rooms."""
    return room[len(_REGION) :] if room.startswith(_REGION) else None


def property_room(key: Key) -> str:
    return f"property:{key}"


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
    return tuple(out)


def _part(value: Json) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
