"""Who hears what: from an event's rooms to its recipients. Knows no Socket.IO.

A client hears everything, or the union of the regions and properties that it named:

- it starts with everything if it named neither when it came;
- the first region or property that it names replaces everything, further ones add up;
- naming neither in `subscribe` means everything again;
- what it unsubscribes from is taken away, and without the last one it hears nothing. Naming
  neither in `unsubscribe` takes all away. To take a region away from a client that hears
  everything changes nothing: it never named it.

Every call either does all that it says or raises `errors.RequestRejected` and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Generic, TypeVar

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

Client = TypeVar("Client")
"""Whatever names a client to the one who delivers; hashable."""

ROOMS_PER_NAME: Final = 5
"""A property that a client with limited rights follows is a room for each of its regions: of these
a client may have so many times what it may name. A room takes some 400 bytes."""


@dataclass(frozen=True, slots=True)
class HubCounts:
    clients: int
    rooms: int


NO_CLIENTS: Final[tuple[()]] = ()


class Hub(Generic[Client]):
    """Subscriptions of clients, and the way back from rooms to clients.

    Nothing here waits: a change of a subscription is in force for the very next `publish`.
    """

    def __init__(
        self,
        *,
        deliver: Callable[[Entry, Collection[Client]], None],
        max_rooms: int,
        where: Callable[[Key], tuple[str, ...] | None] = lambda _key: None,
        presence: Presence | None = None,
    ) -> None:
        """`where` gives the regions of a known row, None for an id that is not known. `presence`
        is told of the clients' users.
        """
        self._deliver = deliver
        self._max_rooms = max_rooms
        self._where = where
        self._presence = presence or Presence()
        self._clients: dict[Client, Subscription] = {}
        self._batching: set[Client] = set()
        self._limited: set[Client] = set()  # whose rights end at some regions
        # Clients are dict keys for their order: recipients come in the order of their arrival.
        self._rooms: dict[str, dict[Client, None]] = {}

    def join(
        self,
        client: Client,
        wanted: RoomSelection,
        *,
        rights: Rights = UNRESTRICTED,
        aside: bool = False,
    ) -> Subscription:
        """A client came and named `wanted`. Raises `RequestRejected`.

        One that stands `aside` has a subscription like any other, and somebody else delivers to it.
        """
        after = Subscription(rights=rights).with_selection(wanted)
        self._check(after, wanted)
        self.restore(client, after, aside=aside)
        return after

    def restore(self, client: Client, subscription: Subscription, *, aside: bool = False) -> None:
        """A client came back to what it heard before."""
        if client in self._clients:
            raise ValueError(f"{client!r} has joined already")
        if aside:
            self._batching.add(client)
        self._replace(client, (), subscription)

    def subscribe(self, client: Client, wanted: RoomSelection) -> Subscription:
        """Add what is wanted; give all that the client hears now. Raises `RequestRejected`.

        A client that never joined or has left is a `KeyError`.
        """
        now = self._clients[client]
        after = now.with_selection(wanted)
        self._check(after, wanted)
        self._replace(client, now.rooms, after)
        return after

    def unsubscribe(self, client: Client, wanted: RoomSelection) -> Subscription:
        """Take away what is named; give all that the client hears now."""
        now = self._clients[client]
        after = now.without_selection(wanted)
        self._replace(client, now.rooms, after)
        return after

    def set_rights(self, client: Client, rights: Rights) -> Subscription:
        """The client has other rights from here on; give all that it hears now. Never refuses.

        What it named and may not hear any more is taken out of its subscription: regions,
        properties that are known to be elsewhere, and those (named last) that would be too many
        rooms. It hears everything, or what is left, within its new rights.
        """
        now = self._clients[client]
        after = replace(now, rights=rights)
        if now.regions is not None and rights.regions is not None:
            properties = [key for key in now.properties if self._visible(key, rights)]
            most = self._max_rooms * ROOMS_PER_NAME // max(1, len(rights.regions))
            after = Subscription(
                tuple(filter(rights.can_read_region, now.regions)), tuple(properties[:most]), rights
            )
        self._replace(client, now.rooms, after)
        return after

    def remove(self, client: Client) -> None:
        """The client is gone. To leave twice, or without having come, is fine."""
        subscription = self._clients.pop(client, None)
        if subscription is not None:
            self._presence.remove(subscription.rights.user)
            self._exit(client, subscription.rooms)
            self._batching.discard(client)
            self._limited.discard(client)

    @property
    def clients(self) -> Collection[Client]:
        """All of them, in the order of their arrival."""
        return self._clients.keys()

    def subscription(self, client: Client) -> Subscription | None:
        """What the client hears; None if it is not here."""
        return self._clients.get(client)

    def recipients(self, rooms: Iterable[str]) -> Collection[Client]:
        """The clients in any of `rooms`, each once. Costs as much as these rooms have members."""
        members = [clients for room in rooms if (clients := self._rooms.get(room))]
        if not members:
            return NO_CLIENTS
        if len(members) == 1:
            return members[0].keys()
        union: dict[Client, None] = {}
        for clients in members:
            union.update(clients)
        return union.keys()

    def publish(self, entries: Sequence[Entry]) -> None:
        """Deliver each entry to its recipients, in order, before this returns.

        `deliver` must not change any subscription.
        """
        for entry in entries:
            recipients = self.recipients(entry.event.rooms)
            if not recipients:
                continue
            if self._limited and entry.event.moved:
                self._publish_move(entry, RegionMove(entry.event), recipients)
            else:
                self._deliver(entry, recipients)

    def counts(self) -> HubCounts:
        return HubCounts(clients=len(self._clients), rooms=len(self._rooms))

    def _publish_move(self, entry: Entry, move: RegionMove, recipients: Collection[Client]) -> None:
        """Deliver a move to each as it may be heard: in up to three ways."""
        ways: dict[int, tuple[Event, list[Client]]] = {}
        for client in recipients:
            rights = self._clients[client].rights
            heard = move.event if rights.regions is None else move.as_visible(rights)
            if heard is not None:
                ways.setdefault(id(heard), (heard, []))[1].append(client)
        for heard, clients in ways.values():
            self._deliver(Entry(entry.position, heard, entry.at), clients)

    def _visible(self, key: Key, rights: Rights) -> bool:
        place = None if rights.regions is None else self._where(key)
        return place is None or rights.can_read_row(place)

    def _check(self, after: Subscription, wanted: RoomSelection) -> None:
        named = len(after.regions or ()) + len(after.properties)
        if named > self._max_rooms:
            raise RequestRejected(
                Code.TOO_MANY_ROOMS,
                f"expected at most {self._max_rooms} regions and properties in all, "
                f"this would make {named}",
            )
        rights = after.rights
        if rights.regions is None:
            return
        most = self._max_rooms * ROOMS_PER_NAME
        if after.scoped_rooms > most:
            raise RequestRejected(
                Code.TOO_MANY_ROOMS,
                f"expected at most {most} rooms of properties, this would make "
                f"{after.scoped_rooms}: {len(after.properties)} properties in each of the "
                f"{len(rights.regions)} regions that are yours to hear. Follow regions instead",
            )
        for region in wanted.regions:
            rights.check(region)
        for key in wanted.properties:
            if not self._visible(key, rights):
                raise RequestRejected(
                    Code.REGION_FORBIDDEN,
                    f"property {key} is in no region that is yours to hear",
                )

    def _replace(self, client: Client, was: Iterable[str], after: Subscription) -> None:
        before = self._clients.get(client)
        if before is None or before.rights.user != after.rights.user:
            self._presence.add(after.rights.user)
            if before is not None:
                self._presence.remove(before.rights.user)
        self._clients[client] = after
        if client in self._batching:
            return
        if after.rights.regions is None:
            self._limited.discard(client)
        else:
            self._limited.add(client)
        self._exit(client, set(was).difference(after.rooms))
        for room in after.rooms:
            self._rooms.setdefault(room, {})[client] = None

    def _exit(self, client: Client, rooms: Iterable[str]) -> None:
        for room in rooms:
            members = self._rooms.get(room)
            if members is None:
                continue
            members.pop(client, None)
            if not members:
                del self._rooms[room]
