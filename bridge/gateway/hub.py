"""Delivers each event to the clients in its rooms. Independent of Socket.IO.

A client's subscription is everything, or the union of the regions and properties that it named:

- it starts with everything if it named neither when it connected;
- the first region or property that it names replaces everything, further ones add up;
- `subscribe` without a name subscribes to everything again;
- `unsubscribe` removes the names given, and without the last one the client receives nothing.
  Without a name it removes all. Removing a region from a client that is subscribed to everything
  has no effect: the client never named it.

Every method applies all of its change or raises `errors.RequestRejected` and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from heapq import nlargest
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from bridge.errors import Code, RequestRejected
from bridge.gateway.presence import Presence
from bridge.gateway.subscription import Subscription
from bridge.gateway.visibility import RegionMove
from bridge.log.base import Entry
from bridge.rights import UNRESTRICTED, Rights

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from bridge.changes import Key
    from bridge.contract.parse import RoomSelection
    from bridge.events import Event
    from bridge.gateway.client import ClientSession

ROOMS_PER_NAME: Final = 5
"""A property subscribed to with limited rights takes one room for each region of the rights. A
client may have this many times `max_rooms` of such rooms, about 400 bytes each."""


@dataclass(frozen=True, slots=True)
class HubCounts:
    clients: int
    rooms: int


NO_CLIENTS: Final[tuple[()]] = ()


class Hub:
    """The subscriptions of clients, indexed by room.

    No method awaits: a changed subscription applies to the very next `publish`.
    """

    def __init__(
        self,
        *,
        deliver: Callable[[Entry, Collection[ClientSession]], None],
        max_rooms: int,
        regions_of_key: Callable[[Key], tuple[str, ...] | None] = lambda _key: None,
        presence: Presence | None = None,
    ) -> None:
        """`regions_of_key` returns the regions of a known row, None for an unknown key. `presence`
        counts the clients of each user.
        """
        self._deliver = deliver
        self._max_rooms = max_rooms
        self._regions_of_key = regions_of_key
        self._presence = presence or Presence()
        self._joined = 0  # clients with a subscription
        self._limited = 0  # clients in rooms with rights to some regions only
        # The members of a room are keys of a dict, which keeps the order in which they connected.
        self._rooms: dict[str, dict[ClientSession, None]] = {}

    def join(
        self, client: ClientSession, selection: RoomSelection, *, rights: Rights = UNRESTRICTED
    ) -> Subscription:
        """Subscribe a new client and return its subscription. Raises `RequestRejected`.

        A batching client has a subscription but is in no room: `Batcher` delivers to it.
        """
        subscription = Subscription(rights=rights).with_selection(selection)
        self._check(subscription, selection)
        self.restore(client, subscription)
        return subscription

    def restore(self, client: ClientSession, subscription: Subscription) -> None:
        """Subscribe a recovered client to its earlier subscription."""
        if client.subscription is not None:
            raise ValueError(f"client {client.sid} has joined already")
        self._set(client, subscription)

    def subscribe(self, client: ClientSession, selection: RoomSelection) -> Subscription:
        """Add a selection and return the resulting subscription. Raises `RequestRejected`, and
        KeyError for a client that has not joined.
        """
        subscription = _joined(client).with_selection(selection)
        self._check(subscription, selection)
        self._set(client, subscription)
        return subscription

    def unsubscribe(self, client: ClientSession, selection: RoomSelection) -> Subscription:
        """Remove a selection and return the resulting subscription."""
        subscription = _joined(client).without_selection(selection)
        self._set(client, subscription)
        return subscription

    def set_rights(self, client: ClientSession, rights: Rights) -> Subscription:
        """Replace the client's rights and return the resulting subscription. Never rejects.

        Names that the new rights do not cover are removed from the subscription: regions,
        properties that are known to be elsewhere, and properties, the last ones first, that would
        take too many rooms.
        """
        current = _joined(client)
        subscription = replace(current, rights=rights)
        if current.regions is not None and rights.regions is not None:
            properties = [key for key in current.properties if self._can_read(key, rights)]
            limit = self._max_rooms * ROOMS_PER_NAME // max(1, len(rights.regions))
            subscription = Subscription(
                tuple(filter(rights.can_read_region, current.regions)),
                tuple(properties[:limit]),
                rights,
            )
        self._set(client, subscription)
        return subscription

    def remove(self, client: ClientSession) -> None:
        """Remove a client from its rooms. Removing one that has not joined is harmless."""
        if client.subscription is not None:
            self._set(client, None)

    def recipients(self, rooms: Iterable[str]) -> Collection[ClientSession]:
        """Return the clients in any of `rooms`, each once. Costs time for the members of these
        rooms, whatever the number of other clients.
        """
        members = [clients for room in rooms if (clients := self._rooms.get(room))]
        if not members:
            return NO_CLIENTS
        if len(members) == 1:
            return members[0].keys()
        union: dict[ClientSession, None] = {}
        for clients in members:
            union.update(clients)
        return union.keys()

    def publish(self, entries: Sequence[Entry]) -> None:
        """Deliver each entry to its recipients, in order, before this returns. `deliver` must not
        change any subscription.
        """
        for entry in entries:
            recipients = self.recipients(entry.event.rooms)
            if not recipients:
                continue
            if self._limited and entry.event.moved:
                self._publish_move(entry, recipients)
            else:
                self._deliver(entry, recipients)

    @property
    def rooms(self) -> Collection[str]:
        """The rooms with clients."""
        return self._rooms.keys()

    def largest_rooms(self, number: int) -> dict[str, int]:
        """Return the number of clients in each of the rooms that have the most."""
        sizes = ((room, len(clients)) for room, clients in self._rooms.items())
        return dict(nlargest(number, sizes, key=itemgetter(1)))

    def counts(self) -> HubCounts:
        return HubCounts(clients=self._joined, rooms=len(self._rooms))

    def _publish_move(self, entry: Entry, recipients: Collection[ClientSession]) -> None:
        """Deliver a move to each client as its rights allow: as up to three different events."""
        move = RegionMove(entry.event)
        variants: dict[int, tuple[Event, list[ClientSession]]] = {}
        for client in recipients:
            event = move.as_visible(_joined(client).rights)
            if event is not None:
                variants.setdefault(id(event), (event, []))[1].append(client)
        for event, clients in variants.values():
            self._deliver(Entry(entry.position, event, entry.at), clients)

    def _can_read(self, key: Key, rights: Rights) -> bool:
        regions = None if rights.regions is None else self._regions_of_key(key)
        return regions is None or rights.can_read_row(regions)

    def _check(self, subscription: Subscription, selection: RoomSelection) -> None:
        named = len(subscription.regions or ()) + len(subscription.properties)
        if named > self._max_rooms:
            raise RequestRejected(
                Code.TOO_MANY_ROOMS,
                f"expected at most {self._max_rooms} regions and properties in all, "
                f"this would make {named}",
            )
        rights = subscription.rights
        if rights.regions is None:
            return
        limit = self._max_rooms * ROOMS_PER_NAME
        if subscription.scoped_rooms > limit:
            raise RequestRejected(
                Code.TOO_MANY_ROOMS,
                f"expected at most {limit} rooms of properties, this would make "
                f"{subscription.scoped_rooms}: {len(subscription.properties)} properties in each "
                f"of your {len(rights.regions)} regions. Subscribe to regions instead",
            )
        for region in selection.regions:
            rights.check(region)
        for key in selection.properties:
            if not self._can_read(key, rights):
                raise RequestRejected(
                    Code.REGION_FORBIDDEN, f"property {key} is in none of your regions"
                )

    def _set(self, client: ClientSession, subscription: Subscription | None) -> None:
        """Replace a client's subscription; None: it has none any more."""
        before = client.subscription
        client.subscription = subscription
        self._count_user(before, subscription)
        self._joined += (subscription is not None) - (before is not None)
        if client.batching:
            return
        self._limited += _is_limited(subscription) - _is_limited(before)
        rooms = () if subscription is None else subscription.rooms
        if before is not None:
            self._leave(client, set(before.rooms).difference(rooms))
        for room in rooms:
            self._rooms.setdefault(room, {})[client] = None

    def _count_user(self, before: Subscription | None, after: Subscription | None) -> None:
        old = None if before is None else before.rights.user
        new = None if after is None else after.rights.user
        if old != new:
            self._presence.add(new)
            self._presence.remove(old)

    def _leave(self, client: ClientSession, rooms: Iterable[str]) -> None:
        for room in rooms:
            members = self._rooms.get(room)
            if members is None:
                continue
            members.pop(client, None)
            if not members:
                del self._rooms[room]


def _joined(client: ClientSession) -> Subscription:
    if client.subscription is None:
        raise KeyError(client.sid)
    return client.subscription


def _is_limited(subscription: Subscription | None) -> bool:
    return subscription is not None and subscription.rights.regions is not None
