"""Whom a change concerns: events go in, and come out with the notifications that follow them. Pure,
but for its log and the clock that is passed in.

A notification is an event like any other: it is stored in the same transaction as the change that
it speaks of, has its own position, and is told and replayed by its rooms. That is why each user is
notified once, whatever is killed, repaired or repeated.

| the property | who is notified | of |
|---|---|---|
| is created | who watches a region it is in | `new-listing` |
| changes | who watches it, or a region it was and is in | what changed, if that is worth it |
| moves | who watches a region that it enters, and is not notified above | `new-listing` |

A user is notified once of one change. Only users who are present are, since nobody else could be
told: who has a client connected, or one that may come back. Users whose rights end at some regions
are reached through the rooms of regions whose listings they may hear: where they were and are for a
change, since it has the old values too, and where they are now for what is new.

One notification for many users is one entry of the log whose rooms are all of theirs, encoded once;
there are several entries where they are very many.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import orjson

from bridge.clock import timestamp
from bridge.events import Event
from bridge.notifications import rules as notifications
from bridge.rooms import user_room

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from bridge.changes import Key, Record
    from bridge.clock import Clock
    from bridge.notifications.rules import Notification, NotificationRules
    from bridge.notifications.watch_index import WatchIndex

log = logging.getLogger(__name__)

NOTIFIED_COLUMNS: Final = frozenset({"status", "price"})
"""Columns whose changes may be worth a notification; a move is another reason for one."""

MAX_USERS_PER_ENTRY: Final = 1_000
"""Users whose rooms one entry of the log has."""

MAX_USERS_PER_STEP: Final = 50_000
"""Users who are notified of all that is decided in one step of the loop."""

WARN_SECONDS: Final = 60.0
"""Between two warnings that somebody was left out."""


@dataclass(frozen=True, slots=True)
class NotifierCounts:
    """Since the start.

    - `notified`: users, each once for each change;
    - `cut_short`: notifications that more users should have had than may be;
    - `failed`: changes of which nobody was notified because of a fault.
    """

    notified: int
    cut_short: int
    failed: int


class Notifier:
    def __init__(
        self,
        rules: NotificationRules,
        watches: WatchIndex,
        *,
        present: Collection[str],
        users: int,
        scoped: bool,
        clock: Clock,
    ) -> None:
        """`present`: the users who can be told anything, looked at whenever something is told; the
        others cost nothing. `users`: how many are notified of one change, at the most; who watches
        the property itself comes first. `scoped`: whether there are users whose rights end at some
        regions, who need further rooms.
        """
        self._rules = rules
        self._watches = watches
        self._present = present
        self._users = users
        self._budget = 0
        self._scoped = scoped
        self._clock = clock
        self._notified = self._cut_short = self._failed = 0
        self._warn_due = 0.0

    def counts(self) -> NotifierCounts:
        return NotifierCounts(self._notified, self._cut_short, self._failed)

    def add_notifications(
        self, events: Sequence[Event], row_of: Callable[[Key], Record | None]
    ) -> Sequence[Event]:
        """`events`, each followed by the notifications that it is worth. `row_of` gives the public
        columns of a row, None where it is gone.

        Never raises: listings go on whatever becomes of notifications.
        """
        if not len(self._watches):
            return events
        out: list[Event] = []
        self._budget = MAX_USERS_PER_STEP
        for event in events:
            out.append(event)
            try:
                out.extend(self._notifications(event, row_of))
            except Exception:
                self._failed += 1
                log.exception("nobody is notified of a change of property %s", event.key)
        return out

    def _notifications(self, event: Event, row_of: Callable[[Key], Record | None]) -> list[Event]:
        """What `event` is worth."""
        out = []
        for notice, users, places in self._audience(event, row_of):
            if not users:
                continue
            within = places if self._scoped else ()
            envelope = notice.envelope(event.key, timestamp(self._clock.wall()))
            for start in range(0, len(users), MAX_USERS_PER_ENTRY):
                some = users[start : start + MAX_USERS_PER_ENTRY]
                rooms = (
                    *map(user_room, some),
                    *(user_room(user, region) for user in some for region in within),
                )
                out.append(Event("property-notification", event.key, rooms, envelope))
            self._notified += len(users)
        return out

    def _audience(
        self, event: Event, row_of: Callable[[Key], Record | None]
    ) -> Iterator[tuple[Notification, list[str], tuple[str, ...]]]:
        """What is told, to whom, and within which regions to those whose rights end at some."""
        if "public" not in event.views:
            return
        if event.name == "property-created":
            place = event.regions_after
            watching = self._watches.of_regions(place)
            if not self._rules.new_listings or not any(map(self._anybody, watching)):
                return
            notice = notifications.of_new(self._rules, _data(event))
            if notice is not None:
                yield notice, self._take(event.key, self._watches.of_regions(place)), place
        elif event.name == "property-updated":
            yield from self._of_update(event, row_of)

    def _of_update(
        self, event: Event, row_of: Callable[[Key], Record | None]
    ) -> Iterator[tuple[Notification, list[str], tuple[str, ...]]]:
        if not event.moved and NOTIFIED_COLUMNS.isdisjoint(event.changed):
            return
        watching = chain(
            [self._watches.of_property(event.key)], self._watches.of_regions(event.regions)
        )
        if not any(map(self._anybody, watching)):
            return
        data = _data(event)
        before, after = event.regions_before, event.regions_after
        stays = tuple(region for region in after if region in before)
        enters = tuple(region for region in after if region not in before)
        row = data.get("property") or row_of(event.key) or {}
        told: set[str] = set()
        notice = notifications.of_update(self._rules, data["changes"], row)
        if notice is not None:
            users = self._take(
                event.key,
                chain([self._watches.of_property(event.key)], self._watches.of_regions(stays)),
            )
            told.update(users)
            yield notice, users, stays
        new = notifications.of_new(self._rules, row) if enters else None
        if new is not None:
            users = self._take(event.key, self._watches.of_regions(enters), but=told)
            yield new, users, after

    def _take(
        self, key: Key, watching: Iterable[Collection[str]], but: Collection[str] = ()
    ) -> list[str]:
        """Those who are present, each once, and no more than may be."""
        limit, present = min(self._users, self._budget), self._present
        found: dict[str, None] = {}
        for users in watching:
            few, many = _by_size(users, present)
            for user in few:
                if user not in many or user in but or user in found:
                    continue
                if len(found) == limit:
                    self._cut(key)
                    return self._taken(found)
                found[user] = None
        return self._taken(found)

    def _anybody(self, users: Collection[str]) -> bool:
        """Whether one of them is present."""
        few, many = _by_size(users, self._present)
        return any(user in many for user in few)

    def _taken(self, users: Iterable[str]) -> list[str]:
        out = list(users)
        self._budget -= len(out)
        return out

    def _cut(self, key: Key) -> None:
        self._cut_short += 1
        now = self._clock.monotonic()
        if now >= self._warn_due:
            self._warn_due = now + WARN_SECONDS
            log.warning(
                "not all are notified of a change of property %s: expected at most %d users for "
                "one change (BRIDGE_NOTIFY_USERS) and %d for what is decided at once",
                key,
                self._users,
                MAX_USERS_PER_STEP,
            )


def _by_size(a: Collection[str], b: Collection[str]) -> tuple[Collection[str], Collection[str]]:
    """The smaller one first: who is in both is found from its side."""
    return (a, b) if len(a) < len(b) else (b, a)


def _data(event: Event) -> dict[str, Any]:
    data: dict[str, Any] = orjson.loads(event.envelope)["data"]
    return data
