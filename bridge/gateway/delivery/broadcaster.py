"""Broadcasts events to clients: joined per iteration of the event loop, and written in slices.

Everything that is added in one iteration is sent at the beginning of the next one, joined: a client
that receives sixteen events receives one write. Writes to thousands of clients are made in slices,
between which the loop serves others. The jobs follow one another, so every client receives every
event in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sized
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

SLICE_WRITES: Final = 256
"""Writes in one iteration of the event loop: about 3 ms."""

MAX_RECIPIENT_SETS: Final = 32
"""Distinct sets of recipients in one job. Each is as large as a room, so a burst in which every
event has a set of its own is divided."""

Recipient = TypeVar("Recipient")
Queue = TypeVar("Queue")
BroadcastEvent = TypeVar("BroadcastEvent")
Packets = TypeVar("Packets", bound=Sized)


class BroadcastJob(Generic[Queue, BroadcastEvent, Packets]):
    """Events, their packets for a list of queues, and the progress through it."""

    __slots__ = ("_done", "_index_of", "_queues", "events", "packets")

    def __init__(self, events: list[BroadcastEvent], queues: list[Queue], packets: Packets) -> None:
        self._queues = queues
        self._done = 0
        self._index_of: dict[Queue, int] | None = None
        self.events = events
        self.packets = packets

    def next(self, number: int) -> list[Queue]:
        """Return the next queues, at most `number`; an empty list at the end."""
        start = self._done
        self._done += number
        return self._queues[start : self._done]

    def pop(self, queue: Queue) -> bool:
        """Remove a queue that is still to be written to; False if there is no such queue."""
        if self._index_of is None:
            self._index_of = {each: index for index, each in enumerate(self._queues)}
        index = self._index_of.get(queue, -1)
        if index < self._done:
            return False
        # It changes places with the next one.
        other = self._queues[self._done]
        self._queues[self._done], self._queues[index] = queue, other
        self._index_of[queue], self._index_of[other] = self._done, index
        self._done += 1
        return True


class Broadcaster(Generic[Recipient, Queue, BroadcastEvent, Packets]):
    """Sends events to recipients, in the order in which they are added."""

    def __init__(
        self,
        *,
        pack: Callable[
            [list[BroadcastEvent], Iterable[Recipient]], Iterable[tuple[list[Queue], Packets]]
        ],
        write: Callable[[list[Queue], Packets], None],
        call_soon: Callable[[Callable[[], None]], object],
        written: Callable[[list[BroadcastEvent]], None] = lambda _events: None,
    ) -> None:
        """`pack` joins consecutive events for recipients into packets, one per form of encoding,
        each with the queues of the recipients that use it. `write` writes packets to queues, in
        `len(packets)` writes each. `call_soon` calls in the next iteration of the loop.
        `written` gets the events of a job after its last write.
        """
        self._pack = pack
        self._write = write
        self._call_soon = call_soon
        self._written = written
        self._added: list[tuple[BroadcastEvent, int]] = []  # with the number of their recipients
        self._recipient_sets: list[tuple[Recipient, ...]] = []
        self._jobs: deque[BroadcastJob[Queue, BroadcastEvent, Packets]] = deque()
        self._scheduled = False

    def add(self, event: BroadcastEvent, recipients: Collection[Recipient]) -> None:
        """Send an event to these recipients, as they are now, in a later iteration of the loop."""
        recipient_set = tuple(recipients)
        try:
            number = self._recipient_sets.index(recipient_set)
        except ValueError:
            if len(self._recipient_sets) == MAX_RECIPIENT_SETS:
                self._make_jobs()
            number = len(self._recipient_sets)
            self._recipient_sets.append(recipient_set)
        self._added.append((event, number))
        self._schedule()

    def catch_up(self, queue: Queue) -> None:
        """Write everything that is added for this queue, now."""
        self._make_jobs()
        for job in self._jobs:
            if job.pop(queue):
                self._write([queue], job.packets)

    def remove(self, queue: Queue) -> None:
        """Discard everything that is added for this queue."""
        self._make_jobs()
        for job in self._jobs:
            job.pop(queue)

    def flush(self) -> None:
        """Write everything to all queues before this returns, however long it takes."""
        while self._jobs or self._make_jobs():
            job = self._jobs[0]
            while queues := job.next(SLICE_WRITES):
                self._write(queues, job.packets)
            self._jobs.popleft()
            self._written(job.events)

    def _make_jobs(self) -> bool:
        """Turn the events that were added into jobs; False if no job is left to do."""
        if not self._added:
            return False
        added, recipient_sets = self._added, self._recipient_sets
        self._added, self._recipient_sets = [], []
        for numbers, recipients in _groups(recipient_sets):
            events = [event for event, number in added if numbers >> number & 1]
            for queues, packets in self._pack(events, recipients):
                self._jobs.append(BroadcastJob(events, queues, packets))
        return bool(self._jobs)  # all recipients may have left

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._call_soon(self._write_slice)

    def _write_slice(self) -> None:
        """Write one slice. Events added while a broadcast takes several slices are joined."""
        self._scheduled = False
        left = SLICE_WRITES
        while left > 0 and (self._jobs or self._make_jobs()):
            job = self._jobs[0]
            each = len(job.packets)
            queues = job.next(max(1, left // each))
            if queues:
                self._write(queues, job.packets)
                left -= len(queues) * each
            else:
                self._jobs.popleft()
                self._written(job.events)
        if self._jobs or self._added:
            self._schedule()


def _groups(
    recipient_sets: list[tuple[Recipient, ...]],
) -> Iterator[tuple[int, Iterable[Recipient]]]:
    """Group recipients by the sets that contain them; the numbers of the sets are bits."""
    if len(recipient_sets) == 1:
        yield 1, recipient_sets[0]
        return
    numbers: dict[Recipient, int] = {}
    for number, recipients in enumerate(recipient_sets):
        bit = 1 << number
        for recipient in recipients:
            numbers[recipient] = numbers.get(recipient, 0) | bit
    groups: dict[int, list[Recipient]] = {}
    for recipient, bits in numbers.items():
        groups.setdefault(bits, []).append(recipient)
    yield from groups.items()
