"""The recent history of a client, shown with a violation."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_OBSERVATIONS: Final = 3000
SHOWN: Final = 6
"""Observations shown of a property, of the connection, and of all."""
AFTERWARDS_SECONDS: Final = 2.0
"""Observations up to this long after a violation are shown with it."""


@dataclass(frozen=True, slots=True)
class Observation:
    at: float
    key: str
    text: str


class Observations:
    """Store the last `MAX_OBSERVATIONS` observations of one client."""

    def __init__(self) -> None:
        self._observations: deque[Observation] = deque(maxlen=MAX_OBSERVATIONS)

    def add(self, at: float, key: str, text: str) -> None:
        """`key` is the property's, or empty for what concerns the connection."""
        self._observations.append(Observation(at, key, text))

    def around(self, key: str, at: float) -> tuple[str, ...]:
        """Return the last ones of the property, of the connection and of all, a line each."""
        earlier = [seen for seen in self._observations if seen.at <= at + AFTERWARDS_SECONDS]
        chosen: dict[int, Observation] = {}
        for some in (
            [seen for seen in earlier if key and seen.key == key],
            [seen for seen in earlier if not seen.key],
            earlier,
        ):
            chosen |= {id(seen): seen for seen in some[-SHOWN:]}
        ordered = sorted(chosen.values(), key=lambda seen: seen.at)
        return tuple(f"{seen.at:8.2f} {seen.key[:8]} {seen.text}" for seen in ordered)


def brief(data: Mapping[str, Any]) -> str:
    """Return the relevant part of an event's data, in at most 260 characters."""
    shown = data.get("changes") or {k: v for k, v in data.items() if k != "property_id"}
    text = str(shown)
    if "moved" in data:
        text += f" moved {data['moved']['from']} to {data['moved']['to']}"
    return text if len(text) < 260 else f"{text[:180]} … {text[-60:]}"
