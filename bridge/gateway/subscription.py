"""The subscription of one client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.rights import UNRESTRICTED, Rights
from bridge.rooms import ALL_ROOM, member_room, property_room, region_room, user_room

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.changes import Key
    from bridge.contract.parse import RoomSelection


@dataclass(frozen=True, slots=True)
class Subscription:
    """Regions and properties, within the client's rights. `regions` is None for everything that the
    rights cover, and `properties` is empty then.
    """

    regions: tuple[str, ...] | None = None
    properties: tuple[Key, ...] = ()
    rights: Rights = UNRESTRICTED

    @property
    def rooms(self) -> tuple[str, ...]:
        """The rooms that the client is a member of."""
        rights = self.rights
        rooms = self._all_regions() if rights.regions is None else self._within(rights.regions)
        if rights.view == "member":
            rooms = tuple(map(member_room, rooms))
        if rights.user is None:
            return rooms
        scopes = (None,) if rights.regions is None else rights.regions
        return (*rooms, *(user_room(rights.user, scope) for scope in scopes))

    def _all_regions(self) -> tuple[str, ...]:
        if self.regions is None:
            return (ALL_ROOM,)
        return (*map(region_room, self.regions), *map(property_room, self.properties))

    def _within(self, allowed: tuple[str, ...]) -> tuple[str, ...]:
        if self.regions is None:
            return tuple(map(region_room, allowed))
        named = (property_room(key, region) for key in self.properties for region in allowed)
        return (*map(region_room, self.regions), *named)

    @property
    def scoped_rooms(self) -> int:
        """Number of its rooms that are of one property within one region."""
        return len(self.properties) * len(self.rights.regions or ())

    def with_selection(self, selection: RoomSelection) -> Subscription:
        """Return the subscription after `subscribe`."""
        if selection.is_empty:
            return Subscription(rights=self.rights)
        return Subscription(
            tuple(dict.fromkeys((*(self.regions or ()), *selection.regions))),
            _unique((*self.properties, *selection.properties)),
            self.rights,
        )

    def without_selection(self, selection: RoomSelection) -> Subscription:
        """Return the subscription after `unsubscribe`."""
        if selection.is_empty:
            return Subscription((), rights=self.rights)
        if self.regions is None:
            return self
        regions = set(selection.regions)
        properties = {str(key) for key in selection.properties}
        return Subscription(
            tuple(region for region in self.regions if region not in regions),
            tuple(key for key in self.properties if str(key) not in properties),
            self.rights,
        )

    def to_ack(self) -> dict[str, object]:
        """Return the ack of the wire contract."""
        return {
            "ok": True,
            "regions": None if self.regions is None else list(self.regions),
            "properties": list(self.properties),
        }


def _unique(keys: Iterable[Key]) -> tuple[Key, ...]:
    """Remove duplicates. 7 and "7" name the same room, so they are duplicates."""
    return tuple({str(key): key for key in keys}.values())
