"""Which rows are in which regions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bridge.gateway.visibility import read_move
from bridge.rooms import in_view, regions_of, regions_of_rooms

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bridge.changes import Key
    from bridge.log.base import Entry
    from bridge.rows import Rows


FEW: Final = 64
"""Holes that a list may have, however short it is."""


@dataclass(slots=True)
class Place:
    """The keys of the rows that are in exactly these regions."""

    number: int
    regions: tuple[str, ...]
    keys: list[Key | None] = field(default_factory=list)
    at: dict[Key, int] = field(default_factory=dict)
    closed: int = 0  # how often its holes were closed

    def add(self, key: Key) -> None:
        if key not in self.at:
            self.at[key] = len(self.keys)
            self.keys.append(key)

    def remove(self, key: Key) -> None:
        index = self.at.pop(key, None)
        if index is None:
            return
        self.keys[index] = None
        if len(self.keys) > FEW and len(self.at) * 2 < len(self.keys):
            self.keys = list(self.at)
            self.at = {key: index for index, key in enumerate(self.at)}
            self.closed += 1


class Places:
    """Which rows are in which regions."""

    def __init__(self, columns: Sequence[str]) -> None:
        """`columns` say where a row belongs, widest first."""
        self._columns = columns
        self._places: dict[tuple[str, ...], Place] = {}
        self._inside: dict[str, list[Place]] = {}

    def place(self, regions: tuple[str, ...]) -> Place:
        place = self._places.get(regions)
        if place is None:
            place = self._places[regions] = Place(len(self._places), regions)
            for region in regions:
                self._inside.setdefault(region, []).append(place)
        return place

    def inside(self, regions: Iterable[str] | None) -> list[Place]:
        """The places in any of `regions`, in the order of their numbers; None: all."""
        if regions is None:
            return list(self._places.values())
        found = {place.number: place for name in regions for place in self._inside.get(name, ())}
        return [found[number] for number in sorted(found)]

    def put(self, rows: Rows, keys: Iterable[Key]) -> None:
        """Add rows where they are now."""
        for key in keys:
            row = rows.get(key)
            if row is not None:
                self.place(regions_of(rows.decode(row), self._columns)).add(key)

    def follow(self, entries: Iterable[Entry]) -> None:
        """Go along with what was published."""
        for entry in entries:
            event = entry.event
            if not in_view(event.rooms, "public"):
                continue  # what moves a property is told in every view
            if event.name == "property-updated":
                if (move := read_move(event)) is not None:
                    self.place(move.before).remove(event.key)
                    self.place(move.after).add(event.key)
            elif event.name == "property-created":
                self.place(regions_of_rooms(event.rooms)).add(event.key)
            elif event.name == "property-deleted":
                self.place(regions_of_rooms(event.rooms)).remove(event.key)
