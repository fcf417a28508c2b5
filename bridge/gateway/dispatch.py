"""Who is told what next: what one step of the event loop tells is told together, and in portions.

All that is delivered in a step goes out at the beginning of the next one, joined: for a client that
is told sixteen events it is one write. What goes to thousands is written in portions, between which
the loop serves others; rounds follow each other, so everybody is told everything in order.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

PORTION: Final = 256
"""Writes before the loop gets a turn: about 3 ms."""

KINDS: Final = 32
"""Different sets of recipients in one round. Each is as large as a room, so a burst that has a set
of its own for every event is cut into more rounds."""

Client = TypeVar("Client")
Telling = TypeVar("Telling")
Parcel = TypeVar("Parcel")


class Round(Generic[Client, Telling, Parcel]):
    """What some clients are told in a row. Clients that are told the same share one parcel."""

    def __init__(
        self,
        tellings: Sequence[tuple[Telling, int]],
        kinds: Sequence[Collection[Client]],
        pack: Callable[[list[Telling]], Parcel],
    ) -> None:
        """`tellings` each go to the recipients `kinds[number]`."""
        self._tellings = tellings
        self._pack = pack
        self._parcels: dict[int, Parcel] = {}
        # Each client with the kinds that it belongs to, as bits. 0: it has been told.
        self._open: dict[Client, int]
        if len(kinds) == 1:
            self._open = dict.fromkeys(kinds[0], 1)
        else:
            self._open = {}
            for number, clients in enumerate(kinds):
                bit = 1 << number
                for client in clients:
                    self._open[client] = self._open.get(client, 0) | bit
        self.left: Iterator[tuple[Client, Parcel]] = self._walk()
        """The clients whose turn is still to come, each with what it is told."""

    def early(self, client: Client) -> Parcel | None:
        """What this client has not been told yet, ahead of its turn."""
        kinds = self._open.get(client, 0)
        if not kinds:
            return None
        self._open[client] = 0
        return self._parcel(kinds)

    def _walk(self) -> Iterator[tuple[Client, Parcel]]:
        for client, kinds in self._open.items():  # values may change meanwhile, keys never do
            if kinds:
                self._open[client] = 0
                yield client, self._parcel(kinds)

    def _parcel(self, kinds: int) -> Parcel:
        parcel = self._parcels.get(kinds)
        if parcel is None:
            told = [telling for telling, number in self._tellings if kinds >> number & 1]
            parcel = self._parcels[kinds] = self._pack(told)
        return parcel


class Dispatcher(Generic[Client, Telling, Parcel]):
    """Tells clients, in the order in which it was told itself."""

    def __init__(
        self,
        *,
        pack: Callable[[list[Telling]], Parcel],
        give: Callable[[Client, Parcel], int],
        call_soon: Callable[[Callable[[], None]], object],
    ) -> None:
        """`pack` joins what is told in a row; `give` hands it to a client and says how many writes
        that took; `call_soon` calls in the next step of the loop.
        """
        self._pack = pack
        self._give = give
        self._call_soon = call_soon
        self._tellings: list[tuple[Telling, int]] = []
        self._kinds: list[tuple[Client, ...]] = []
        self._rounds: deque[Round[Client, Telling, Parcel]] = deque()
        self._called = False

    def add(self, telling: Telling, clients: Collection[Client]) -> None:
        """Tell these clients, as they are now, in the next step of the loop or a later one."""
        recipients = tuple(clients)
        try:
            kind = self._kinds.index(recipients)
        except ValueError:
            if len(self._kinds) == KINDS:
                self._seal()
            kind = len(self._kinds)
            self._kinds.append(recipients)
        self._tellings.append((telling, kind))
        self._call()

    def catch_up(self, client: Client) -> None:
        """Tell this client now all that it is still to be told."""
        if self._tellings:
            self._seal()
        for told in self._rounds:
            parcel = told.early(client)
            if parcel is not None:
                self._give(client, parcel)

    def flush(self) -> None:
        """Tell everybody everything now, however long it takes."""
        while self._rounds or self._seal():
            for client, parcel in self._rounds[0].left:
                self._give(client, parcel)
            self._rounds.popleft()

    def _seal(self) -> bool:
        """What was added becomes a round; False if there was nothing."""
        if not self._tellings:
            return False
        self._rounds.append(Round(self._tellings, self._kinds, self._pack))
        self._tellings, self._kinds = [], []
        return True

    def _call(self) -> None:
        if not self._called:
            self._called = True
            self._call_soon(self._step)

    def _step(self) -> None:
        """Write a portion. Where a round takes many steps, what is added meanwhile is one round."""
        self._called = False
        writes = 0
        while writes < PORTION and (self._rounds or self._seal()):
            for client, parcel in self._rounds[0].left:
                writes += self._give(client, parcel)
                if writes >= PORTION:
                    break
            else:
                self._rounds.popleft()
        if self._rounds or self._tellings:
            self._call()
