"""What a client that comes back may hear of what it missed. Pure.

It has the rights of then and those of now. It goes on only if the view is the same and it may still
hear all that it heard; what it missed is told as both allow.
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
    """Part of the log, during which a subscription was the same."""

    entries: Sequence[Entry]
    rights: tuple[Rights, ...]
    """Those of then, and those of now where they are others; their view is the same."""
    rooms: tuple[frozenset[str], ...]
    """Of the subscription, by each of these rights."""

    @classmethod
    def of(cls, subscription: Subscription, entries: Sequence[Entry], now: Rights) -> ReplaySegment:
        """`now`: the rights with which its client came back."""
        rights = tuple(dict.fromkeys((subscription.rights, now)))
        rooms = tuple(frozenset(replace(subscription, rights=each).rooms) for each in rights)
        return cls(entries, rights, rooms)

    @property
    def view(self) -> View:
        return self.rights[0].view

    @cached_property
    def visible(self) -> Sequence[Entry]:
        """What its client would have heard of `entries`."""
        mine = self.entries
        for rooms in self.rooms:
            mine = [entry for entry in mine if not rooms.isdisjoint(entry.event.rooms)]
        if all(each.regions is None for each in self.rights):
            return mine
        out = []
        for entry in mine:
            event = visible_event(entry.event, self.rights)
            if event is not None:
                out.append(replace(entry, event=event))
        return out

    def visible_event(self, event: Event) -> Event | None:
        """A folded event as it may be heard by then and by now; None: not at all."""
        if any(rooms.isdisjoint(event.rooms) for rooms in self.rooms):
            return None
        return visible_event(event, self.rights)


def may_resume(rights: Rights, subscription: Subscription) -> bool:
    """Whether a client with `rights` may go on from what it heard by `subscription`.

    Regions that it named must still be allowed. What "everything" and a property's places come to
    depends on the rights, so for these they must be the same: with fewer it may not have what was
    missed, and with more it would be told of rows that it never got.
    """
    then = subscription.rights
    # Who came without a token may have become a user in the course of its session.
    if rights.view != then.view or then.user not in (None, rights.user):
        return False
    if subscription.regions is not None and not subscription.properties:
        return all(map(rights.can_read_region, subscription.regions))
    if then.regions is None or rights.regions is None:
        return then.regions is rights.regions
    return set(then.regions) == set(rights.regions)
