"""Events as stored text: a route (JSON) and an envelope (JSON), neither with a line break."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson

from bridge.events import Event, shared

if TYPE_CHECKING:
    from bridge.changes import Key


def route_of(event: Event) -> bytes:
    """Return everything of an event but its envelope, as a JSON array."""
    return orjson.dumps(
        [
            event.name,
            key_text(event.key),
            event.rooms,
            event.views,
            event.regions_before,
            event.regions_after,
            event.changed,
        ]
    )


def event_of(route: bytes | str, envelope: bytes) -> Event:
    """Return the event of a stored route and envelope."""
    name, key, rooms, *lists = orjson.loads(route)
    facts: list[Any] = [shared(tuple(names)) for names in lists]
    return Event(name, key_of(key), tuple(rooms), envelope, *facts)


def key_text(key: Key) -> str:
    """Return a key as JSON. Not with orjson, which rejects integers past 64 bits."""
    return json.dumps(key)


def key_of(text: str | bytes) -> Key:
    """Return the key that `key_text` wrote."""
    key: Key = json.loads(text)
    return key
