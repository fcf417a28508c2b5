"""Inserts notifications after the events that they belong to. No I/O except its log; the clock is
passed in.

A notification is an event like any other: it is stored in the same commit as the event of the
change, has its own position, and is delivered and replayed by its rooms. So each user is notified
exactly once of a change, after any crash, repair or duplicate.

| the property | recipients | notification, if the rules allow one |
|---|---|---|
| is created | users with a watch of a region it is in | `new-listing` |
| changes | users with a watch of it, or of a region it was and is in | its changes |
| moves | users with a watch of a region that it enters, if not notified above | `new-listing` |

A user is notified at most once of one change, and only if present: with a client that is connected
or may still resume its session. Users with rights to some regions only are addressed by the rooms
of regions that they may receive: for a change those it was and is in, since it has the old values
too, and for a new listing those it is in now.

One notification for many users is one entry of the log with the rooms of all of them, encoded once;
very many users take several entries.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import orjson

from bridge.clock import timestamp
from bridge.events import Event
from bridge.notifications.rules import of_new, of_update
from bridge.rooms import user_room

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from bridge.changes import Key, Record
    from bridge.clock import Clock
    from bridge.notifications.rules import Notification, NotificationRules
    from bridge.notifications.watch_index import WatchIndex

log = logging.getLogger(__name__)

NOTIFIED_COLUMNS: Final = frozenset({"status", "price"})
"""Columns with changes that may be notified; a move is the other reason for a notification."""

MAX_USERS_PER_ENTRY: Final = 1_000
"""Users in the rooms of one entry of the log."""

MAX_USERS_PER_COMMIT: Final = 50_000
"""Users that are notified of the changes of one commit: it is made in one step of the loop."""

WARN_SECONDS: Final = 60.0
"""Between two warnings about users that were left out."""


@dataclass(frozen=True, slots=True)
class NotifierOptions:
    """`max_users`: users notified of one change, those with a watch of the property first.
    `region_scoped`: whether users may have rights to some regions only, which takes further rooms.
    """

    rules: NotificationRules
    max_users: int
    region_scoped: bool


@dataclass(frozen=True, slots=True)
class NotifierCounts:
    """Since the start.

    - `notified`: users, each once per change;
    - `cut_short`: notifications with more recipients than the limit;
    - `failed`: changes without notifications because of a fault.
    """

    notified: int
    cut_short: int
    failed: int


class Notifier:
    """Makes the notifications of events from the watches."""

    def __init__(
        self,
        options: NotifierOptions,
        watches: WatchIndex,
        *,
        present: Collection[str],
        clock: Clock,
    ) -> None:
        """`present`: the users that can receive anything, read at every change; others cost
        nothing.
        """
        self._rules = options.rules
        self._max_users = options.max_users
        self._region_scoped = options.region_scoped
        self._watches = watches
        self._present = present
        self._budget = 0
        self._clock = clock
        self._notified = self._cut_short = self._failed = 0
        self._warn_due = 0.0

    def counts(self) -> NotifierCounts:
        return NotifierCounts(self._notified, self._cut_short, self._failed)

    def add_notifications(
        self, events: Sequence[Event], row_of: Callable[[Key], Record | None]
    ) -> Sequence[Event]:
        """Return `events`, each followed by its notifications. `row_of` returns the public columns
        of a row; None: deleted.

        Never raises: a fault here must not stop the listings.
        """
        if not len(self._watches):
            return events
        out: list[Event] = []
        self._budget = MAX_USERS_PER_COMMIT
        for event in events:
            out.append(event)
            try:
                out.extend(self._notifications(event, row_of))
            except Exception:
                self._failed += 1
                log.exception("no user is notified of a change of property %s", event.key)
        return out

    def _notifications(self, event: Event, row_of: Callable[[Key], Record | None]) -> list[Event]:
        out = []
        for notification, users, regions in self._recipients(event, row_of):
            if not users:
                continue
            scopes = regions if self._region_scoped else ()
            envelope = notification.envelope(event.key, timestamp(self._clock.wall()))
            for start in range(0, len(users), MAX_USERS_PER_ENTRY):
                portion = users[start : start + MAX_USERS_PER_ENTRY]
                rooms = (
                    *map(user_room, portion),
                    *(user_room(user, region) for user in portion for region in scopes),
                )
                out.append(Event("property-notification", event.key, rooms, envelope))
            self._notified += len(users)
        return out

    def _recipients(
        self, event: Event, row_of: Callable[[Key], Record | None]
    ) -> Iterator[tuple[Notification, list[str], tuple[str, ...]]]:
        """Yield each notification, its users, and the regions by which users with rights to some
        regions only are addressed.
        """
        if "public" not in event.views:
            return
        if event.name == "property-created":
            regions = event.regions_after
            watching = self._watches.of_regions(regions)
            if not self._rules.new_listings or not any(map(self._any_present, watching)):
                return
            notification = of_new(self._rules, _data(event))
            if notification is not None:
                users = self._present_users(event.key, self._watches.of_regions(regions))
                yield notification, users, regions
        elif event.name == "property-updated":
            yield from self._recipients_of_update(event, row_of)

    def _recipients_of_update(
        self, event: Event, row_of: Callable[[Key], Record | None]
    ) -> Iterator[tuple[Notification, list[str], tuple[str, ...]]]:
        if not event.moved and NOTIFIED_COLUMNS.isdisjoint(event.changed):
            return
        watching = chain(
            [self._watches.of_property(event.key)], self._watches.of_regions(event.regions)
        )
        if not any(map(self._any_present, watching)):
            return
        data = _data(event)
        before, after = event.regions_before, event.regions_after
        stays = tuple(region for region in after if region in before)
        enters = tuple(region for region in after if region not in before)
        row = data.get("property") or row_of(event.key) or {}
        notified: set[str] = set()
        notification = of_update(self._rules, data["changes"], row)
        if notification is not None:
            users = self._present_users(
                event.key,
                chain([self._watches.of_property(event.key)], self._watches.of_regions(stays)),
            )
            notified.update(users)
            yield notification, users, stays
        new = of_new(self._rules, row) if enters else None
        if new is not None:
            users = self._present_users(
                event.key, self._watches.of_regions(enters), exclude=notified
            )
            yield new, users, after

    def _present_users(
        self, key: Key, watching: Iterable[Collection[str]], exclude: Collection[str] = ()
    ) -> list[str]:
        """Return the users that are present, each once, within the limits, and count them."""
        limit, present = min(self._max_users, self._budget), self._present
        found: dict[str, None] = {}
        for users in watching:
            few, many = _by_size(users, present)
            for user in few:
                if user not in many or user in exclude or user in found:
                    continue
                if len(found) == limit:
                    self._report_limit(key)
                    return self._charge(found)
                found[user] = None
        return self._charge(found)

    def _any_present(self, users: Collection[str]) -> bool:
        few, many = _by_size(users, self._present)
        return any(user in many for user in few)

    def _charge(self, users: Iterable[str]) -> list[str]:
        out = list(users)
        self._budget -= len(out)
        return out

    def _report_limit(self, key: Key) -> None:
        self._cut_short += 1
        now = self._clock.monotonic()
        if now >= self._warn_due:
            self._warn_due = now + WARN_SECONDS
            log.warning(
                "not all users are notified of a change of property %s: at most %d users are "
                "notified of one change (BRIDGE_NOTIFY_USERS) and %d of one commit",
                key,
                self._max_users,
                MAX_USERS_PER_COMMIT,
            )


def _by_size(a: Collection[str], b: Collection[str]) -> tuple[Collection[str], Collection[str]]:
    """Return the smaller collection first: the intersection is searched from its side."""
    return (a, b) if len(a) < len(b) else (b, a)


def _data(event: Event) -> dict[str, Any]:
    data: dict[str, Any] = orjson.loads(event.envelope)["data"]
    return data
