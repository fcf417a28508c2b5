"""Filters the log entries that a reconnecting client missed by its rights. No I/O.

A client may resume only if its view is the same and its rights still cover what its session has
received. Of what it missed it receives what both the earlier and the present rights allow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from bridge.gateway.visibility import visible_event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.events import Event
    from bridge.gateway.subscription import Subscription
    from bridge.log.base import Entry
    from bridge.rights import Rights, View


@dataclass(frozen=True)
class ReplaySegment:
    """Consecutive log entries during which a session's subscription was the same."""

    entries: Sequence[Entry]
    rights: tuple[Rights, ...]
    """The earlier rights, and the present ones if they differ; their view is the same."""
    rooms: tuple[frozenset[str], ...]
    """The rooms of the subscription under each of these rights."""

    @classmethod
    def of(cls, subscription: Subscription, entries: Sequence[Entry], now: Rights) -> ReplaySegment:
        """`now`: the rights with which the client reconnected."""
        rights = tuple(dict.fromkeys((subscription.rights, now)))
        rooms = tuple(frozenset(replace(subscription, rights=each).rooms) for each in rights)
        return cls(entries, rights, rooms)

    @property
    def view(self) -> View:
        return self.rights[0].view

    @cached_property
    def visible(self) -> Sequence[Entry]:
        """The entries that the client receives."""
        entries = self.entries
        for rooms in self.rooms:
            entries = [entry for entry in entries if not rooms.isdisjoint(entry.event.rooms)]
        if all(rights.regions is None for rights in self.rights):
            return entries
        visible = []
        for entry in entries:
            event = visible_event(entry.event, self.rights)
            if event is not None:
                visible.append(replace(entry, event=event))
        return visible

    def visible_event(self, event: Event) -> Event | None:
        """Return the event that the client receives for a coalesced one; None: none."""
        if any(rooms.isdisjoint(event.rooms) for rooms in self.rooms):
            return None
        return visible_event(event, self.rights)


def may_resume(rights: Rights, subscription: Subscription) -> bool:
    """Return whether a client with `rights` may resume a session with this subscription.

    The rights must cover the regions that it names. A subscription to everything, or to properties,
    depends on the rights itself, so for these the rights must be equal: with fewer the client must
    not receive what it missed, and with more it would receive updates of rows that it never got.
    """
    earlier = subscription.rights
    # A client that connected without a token may have sent one later.
    if rights.view != earlier.view or earlier.user not in (None, rights.user):
        return False
    if subscription.regions is not None and not subscription.properties:
        return all(map(rights.can_read_region, subscription.regions))
    if earlier.regions is None or rights.regions is None:
        return earlier.regions is rights.regions
    return set(earlier.regions) == set(rights.regions)
