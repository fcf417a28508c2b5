"""Who is told what next: what one step of the event loop tells is told together, and in portions.

All that is delivered in a step goes out at the beginning of the next one, joined: for a client that
is told sixteen events it is one write. What goes to thousands is written in portions, between which
the loop serves others; one batch follows the other, so everybody is told everything in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sized
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

PORTION: Final = 256
"""Writes before the loop gets a turn: about 3 ms."""

MAX_RECIPIENT_SETS: Final = 32
"""Different sets of recipients that are sorted at once. Each is as large as a room, so a burst that
has a set of its own for every event is cut."""

Name = TypeVar("Name")
Client = TypeVar("Client")
BroadcastEvent = TypeVar("BroadcastEvent")
Packets = TypeVar("Packets", bound=Sized)


class BroadcastJob(Generic[Client, Packets]):
    """Clients that are told the same, and how far that has got."""

    __slots__ = ("_at", "_clients", "_where", "parcel")

    def __init__(self, clients: list[Client], parcel: Packets) -> None:
        self._clients = clients
        self._at = 0
        self._where: dict[Client, int] | None = None
        self.parcel = parcel

    def next(self, number: int) -> list[Client]:
        """The next clients, no more than `number`; none at the end."""
        at = self._at
        self._at += number
        return self._clients[at : self._at]

    def pop(self, client: Client) -> bool:
        """Whether the client's turn is still to come; it is over then."""
        if self._where is None:
            self._where = {its: place for place, its in enumerate(self._clients)}
        place = self._where.get(client, -1)
        if place < self._at:
            return False
        # Changes places with the one whose turn it is.
        other = self._clients[self._at]
        self._clients[self._at], self._clients[place] = client, other
        self._where[client], self._where[other] = self._at, place
        self._at += 1
        return True


class Broadcaster(Generic[Name, Client, BroadcastEvent, Packets]):
    """Tells clients, in the order in which it was told itself."""

    def __init__(
        self,
        *,
        pack: Callable[
            [list[BroadcastEvent], Iterable[Name]], Iterable[tuple[list[Client], Packets]]
        ],
        give: Callable[[list[Client], Packets], None],
        call_soon: Callable[[Callable[[], None]], object],
    ) -> None:
        """`pack` joins what those with these names are told in a row, and says to whom it goes: one
        parcel for each form that it has; `give` hands a parcel to clients, in `len(parcel)` writes
        each; `call_soon` calls in the next step of the loop.
        """
        self._pack = pack
        self._give = give
        self._call_soon = call_soon
        self._tellings: list[tuple[BroadcastEvent, int]] = []
        self._kinds: list[tuple[Name, ...]] = []
        self._batches: deque[BroadcastJob[Client, Packets]] = deque()
        self._called = False

    def add(self, telling: BroadcastEvent, names: Collection[Name]) -> None:
        """Tell these clients, as they are now, in the next step of the loop or a later one."""
        recipients = tuple(names)
        try:
            kind = self._kinds.index(recipients)
        except ValueError:
            if len(self._kinds) == MAX_RECIPIENT_SETS:
                self._seal()
            kind = len(self._kinds)
            self._kinds.append(recipients)
        self._tellings.append((telling, kind))
        self._call()

    def catch_up(self, client: Client) -> None:
        """Tell this client now all that it is still to be told."""
        self._seal()
        for batch in self._batches:
            if batch.pop(client):
                self._give([client], batch.parcel)

    def remove(self, client: Client) -> None:
        """Tell this client nothing of what it is still to be told."""
        self._seal()
        for batch in self._batches:
            batch.pop(client)

    def flush(self) -> None:
        """Tell everybody everything now, however long it takes."""
        while self._batches or self._seal():
            batch = self._batches[0]
            while clients := batch.next(PORTION):
                self._give(clients, batch.parcel)
            self._batches.popleft()

    def _seal(self) -> bool:
        """What was added becomes batches; False if there are none."""
        if not self._tellings:
            return False
        tellings, kinds = self._tellings, self._kinds
        self._tellings, self._kinds = [], []
        for number, names in _groups(kinds):
            told = [telling for telling, kind in tellings if number >> kind & 1]
            for clients, parcel in self._pack(told, names):
                self._batches.append(BroadcastJob(clients, parcel))
        return bool(self._batches)  # nobody may be left of those it was for

    def _call(self) -> None:
        if not self._called:
            self._called = True
            self._call_soon(self._step)

    def _step(self) -> None:
        """Write a portion. What is added while that takes many steps is joined."""
        self._called = False
        left = PORTION
        while left > 0 and (self._batches or self._seal()):
            batch = self._batches[0]
            each = len(batch.parcel)
            clients = batch.next(max(1, left // each))
            if clients:
                self._give(clients, batch.parcel)
                left -= len(clients) * each
            else:
                self._batches.popleft()
        if self._batches or self._tellings:
            self._call()


def _groups(kinds: list[tuple[Name, ...]]) -> Iterator[tuple[int, Iterable[Name]]]:
    """Names that are in the same kinds, with these kinds as bits."""
    if len(kinds) == 1:
        yield 1, kinds[0]
        return
    numbers: dict[Name, int] = {}
    for kind, names in enumerate(kinds):
        bit = 1 << kind
        for name in names:
            numbers[name] = numbers.get(name, 0) | bit
    groups: dict[int, list[Name]] = {}
    for name, number in numbers.items():
        groups.setdefault(number, []).append(name)
    yield from groups.items()
