"""Index of the table of watches: the users of each property and of each region. No I/O.

A user is identified by the `sub` of its tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, KeysView

    from bridge.changes import Key, Record

WATCH_COLUMNS: Final = ("user_id", "property_id", "region")
"""Columns of the table, other than its key `id` and `updated_at`."""

NO_USERS: Final[dict[str, int]] = {}


@dataclass(frozen=True, slots=True)
class Watch:
    """One row. It names a property or a region; if both, it counts for both."""

    user: str
    property: str | None = None
    region: str | None = None

    @classmethod
    def of(cls, record: Record) -> Watch | None:
        """Return the watch of a row; None if it names no user or no target."""
        user, property_id, region = (record.get(column) for column in WATCH_COLUMNS)
        if user is None or (property_id is None and not region):
            return None
        return cls(
            str(user),
            None if property_id is None else str(property_id),
            str(region) if region else None,
        )


class WatchIndex:
    """All watches, by target."""

    def __init__(self) -> None:
        self._all: dict[Key, Watch] = {}
        # Users with the number of their watches of the target, in order of insertion.
        self._properties: dict[str, dict[str, int]] = {}
        self._regions: dict[str, dict[str, int]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Key]:
        """Iterate over the keys of the rows."""
        return iter(self._all)

    def set(self, key: Key, watch: Watch | None) -> None:
        """Set the watch of that row; None: the row is deleted or has no watch."""
        before = self._all.pop(key, None)
        if before is not None:
            _decrement(self._properties, before.property, before.user)
            _decrement(self._regions, before.region, before.user)
        if watch is not None:
            self._all[key] = watch
            _increment(self._properties, watch.property, watch.user)
            _increment(self._regions, watch.region, watch.user)

    def of_property(self, key: Key) -> KeysView[str]:
        """Return the users with a watch of that property."""
        return self._properties.get(str(key), NO_USERS).keys()

    def of_regions(self, regions: Iterable[str]) -> Iterator[KeysView[str]]:
        """Yield the users with a watch of each region. A property in `TX/Austin` is in `TX` too:
        pass both.
        """
        for region in regions:
            yield self._regions.get(region, NO_USERS).keys()


def _increment(index: dict[str, dict[str, int]], name: str | None, user: str) -> None:
    if name is not None:
        users = index.setdefault(name, {})
        users[user] = users.get(user, 0) + 1


def _decrement(index: dict[str, dict[str, int]], name: str | None, user: str) -> None:
    if name is None:
        return
    users = index[name]
    users[user] -= 1
    if not users[user]:
        del users[user]
        if not users:
            del index[name]
