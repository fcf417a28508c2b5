"""Clients that asked for batches, and what waits for the end of the window."""

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

    from bridge.gateway.subscription import Subscription
    from bridge.rights import Rights, View

FRAME_BYTES: Final = 256 * 1024
"""Envelopes that fill a window before its time. Each frame is complete in itself, so that its
position is a place to go on from."""


class Batcher:
    """Gathers entries for `seconds` and tells them as one batch to each of its clients.

    Nothing is gathered while it has none. Clients with equal subscriptions share a batch.
    """

    def __init__(
        self,
        *,
        deliver: Callable[[Entry, Collection[str]], None],
        seconds: float,
        updated_at: str | None,
    ) -> None:
        self._deliver = deliver
        self._seconds = seconds
        self._updated_at = updated_at
        self._subscriptions: dict[str, Subscription] = {}
        self._alike: dict[Subscription, dict[str, None]] = {}
        self._late: dict[str, int] = {}  # clients that have the first so many entries already
        self._entries: list[Entry] = []
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def __contains__(self, sid: str) -> bool:
        return sid in self._subscriptions

    def set(self, sid: str, subscription: Subscription) -> None:
        """From here on the client hears `subscription`; what it heard before is told first."""
        self.flush_one(sid)
        self.remove(sid)
        self._subscriptions[sid] = subscription
        self._alike.setdefault(subscription, {})[sid] = None
        if self._entries:
            self._late[sid] = len(self._entries)

    def remove(self, sid: str) -> None:
        """The client is gone, and so is what waits for it."""
        subscription = self._subscriptions.pop(sid, None)
        if subscription is None:
            return
        self._late.pop(sid, None)
        alike = self._alike[subscription]
        del alike[sid]
        if not alike:
            del self._alike[subscription]

    def add(self, entries: Sequence[Entry]) -> None:
        if not self._subscriptions:
            return
        for entry in entries:
            self._entries.append(entry)
            self._bytes += len(entry.event.envelope)
            if self._bytes >= FRAME_BYTES:
                self.flush()
        if self._entries and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._seconds, self.flush)

    def flush_one(self, sid: str) -> None:
        """Tell this client now what waits for it, as something else is to be said to it."""
        subscription = self._subscriptions.get(sid)
        if subscription is None or not self._entries:
            return
        start = self._late.get(sid, 0)
        self._late[sid] = len(self._entries)
        self._send(start, [(subscription, [sid])])

    def flush(self) -> None:
        """Tell everybody what waits. `deliver` must not change any subscription."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._entries:
            return
        late = self._late
        self._send(
            0,
            [
                (subscription, [sid for sid in sids if sid not in late] if late else sids)
                for subscription, sids in self._alike.items()
            ],
        )
        by_start: dict[int, list[tuple[Subscription, list[str]]]] = {}
        for sid, start in late.items():
            by_start.setdefault(start, []).append((self._subscriptions[sid], [sid]))
        for start, groups in by_start.items():
            self._send(start, groups)
        self._entries, self._late, self._bytes = [], {}, 0

    def close(self) -> None:
        """Forget everything."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._entries = []

    def _send(self, start: int, groups: Sequence[tuple[Subscription, Collection[str]]]) -> None:
        entries = self._entries[start:]
        if not entries:
            return
        by_view: dict[View, list[tuple[Subscription, Collection[str]]]] = {}
        for subscription, sids in groups:
            if sids:
                by_view.setdefault(subscription.rights.view, []).append((subscription, sids))
        for view, alike in by_view.items():
            self._send_view(coalesce(entries, self._updated_at, view), entries[-1], alike)

    def _send_view(
        self,
        events: Sequence[Event],
        last: Entry,
        groups: Sequence[tuple[Subscription, Collection[str]]],
    ) -> None:
        in_room: dict[str, list[int]] = {}
        for number, event in enumerate(events):
            for room in event.rooms:
                in_room.setdefault(room, []).append(number)
        alike: dict[tuple[tuple[int, ...], Rights], list[str]] = {}
        for subscription, sids in groups:
            numbers = tuple(
                sorted({n for room in subscription.rooms for n in in_room.get(room, ())})
            )
            if not numbers:
                continue
            # Users with equal rights share the frames.
            rights = replace(subscription.rights, user=None)
            alike.setdefault((numbers, rights), []).extend(sids)
        for (numbers, rights), sids in alike.items():
            told = [
                heard
                for number in numbers
                if (heard := visible_event(events[number], (rights,))) is not None
            ]
            if told:
                batch = Event(BATCH_EVENT, "", (), envelope(told))
                self._deliver(Entry(last.position, batch, last.at), sids)
