"""Batches for the clients that asked for them: one `properties-batch` per window."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from bridge.events import Event
from bridge.gateway.delivery.coalesce import BATCH_EVENT, coalesce, envelope
from bridge.gateway.visibility import visible_event
from bridge.log.base import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from bridge.gateway.client import ClientSession
    from bridge.gateway.subscription import Subscription
    from bridge.rights import Rights, View

MAX_BATCH_BYTES: Final = 256 * 1024
"""Bytes of envelopes that end a window before its time. Each batch is complete in itself, so a
client can resume from its position."""


class Batcher:
    """Collects entries for `seconds` and delivers them as one batch to each of its clients.

    Nothing is collected while it has no clients. Clients with equal subscriptions share a batch.
    """

    def __init__(
        self,
        *,
        deliver: Callable[[Entry, Collection[ClientSession]], None],
        seconds: float,
        updated_at: str | None,
    ) -> None:
        self._deliver = deliver
        self._seconds = seconds
        self._updated_at = updated_at
        self._groups: dict[Subscription, dict[ClientSession, None]] = {}
        self._delivered: dict[ClientSession, int] = {}  # of the waiting entries, where above 0
        self._entries: list[Entry] = []
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Number of entries that wait for the end of the window."""
        return len(self._entries)

    @property
    def clients(self) -> int:
        """Number of clients."""
        return sum(map(len, self._groups.values()))

    def set(self, client: ClientSession) -> None:
        """Deliver to the client by its present subscription from here on. Entries that wait are
        delivered first, by the earlier one.
        """
        assert client.subscription is not None, "the client has joined"
        self.flush_one(client)
        self.remove(client)
        client.batch_group = client.subscription
        self._groups.setdefault(client.subscription, {})[client] = None
        if self._entries:
            self._delivered[client] = len(self._entries)

    def remove(self, client: ClientSession) -> None:
        """Remove a client, with the entries that wait for it. Removing one that is not here is
        harmless.
        """
        if client.batch_group is None:
            return
        self._delivered.pop(client, None)
        group = self._groups[client.batch_group]
        del group[client]
        if not group:
            del self._groups[client.batch_group]
        client.batch_group = None

    def add(self, entries: Sequence[Entry]) -> None:
        if not self._groups:
            return
        for entry in entries:
            self._entries.append(entry)
            self._bytes += len(entry.event.envelope)
            if self._bytes >= MAX_BATCH_BYTES:
                self.flush()
        if self._entries and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._seconds, self.flush)

    def flush_one(self, client: ClientSession) -> None:
        """Deliver to this client what waits for it, ahead of something else that is sent to it."""
        if client.batch_group is None or not self._entries:
            return
        start = self._delivered.get(client, 0)
        self._delivered[client] = len(self._entries)
        self._send(start, [(client.batch_group, [client])])

    def flush(self) -> None:
        """Deliver everything that waits. `deliver` must not change any subscription."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._entries:
            return
        delivered = self._delivered
        self._send(
            0,
            [
                (group, [c for c in clients if c not in delivered] if delivered else clients)
                for group, clients in self._groups.items()
            ],
        )
        by_start: dict[int, list[tuple[Subscription, list[ClientSession]]]] = {}
        for client, start in delivered.items():
            assert client.batch_group is not None, "it was not removed"
            by_start.setdefault(start, []).append((client.batch_group, [client]))
        for start, groups in by_start.items():
            self._send(start, groups)
        self._entries, self._delivered, self._bytes = [], {}, 0

    def close(self) -> None:
        """Discard everything that waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._entries, self._delivered, self._bytes = [], {}, 0

    def _send(
        self, start: int, groups: Sequence[tuple[Subscription, Collection[ClientSession]]]
    ) -> None:
        entries = self._entries[start:]
        if not entries:
            return
        by_view: dict[View, list[tuple[Subscription, Collection[ClientSession]]]] = {}
        for subscription, clients in groups:
            if clients:
                by_view.setdefault(subscription.rights.view, []).append((subscription, clients))
        for view, of_view in by_view.items():
            self._send_view(coalesce(entries, self._updated_at, view), entries[-1], of_view)

    def _send_view(
        self,
        events: Sequence[Event],
        last: Entry,
        groups: Sequence[tuple[Subscription, Collection[ClientSession]]],
    ) -> None:
        in_room: dict[str, list[int]] = {}
        for number, event in enumerate(events):
            for room in event.rooms:
                in_room.setdefault(room, []).append(number)
        recipients: dict[tuple[tuple[int, ...], Rights], list[ClientSession]] = {}
        for subscription, clients in groups:
            numbers = tuple(
                sorted({n for room in subscription.rooms for n in in_room.get(room, ())})
            )
            if not numbers:
                continue
            # Users with equal rights share the batch.
            rights = replace(subscription.rights, user=None)
            recipients.setdefault((numbers, rights), []).extend(clients)
        for (numbers, rights), clients in recipients.items():
            visible = [
                translated
                for number in numbers
                if (translated := visible_event(events[number], (rights,))) is not None
            ]
            if visible:
                batch = Event(BATCH_EVENT, "", (), envelope(visible))
                self._deliver(Entry(last.position, batch, last.at), clients)
