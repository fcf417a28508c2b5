"""Who watches what: a property, or a region with all that is in it. Pure.

An index over the rows of the table of watches. Users are known by the `sub` of their tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, KeysView

    from bridge.changes import Key, Record

WATCH_COLUMNS: Final = ("user_id", "property_id", "region")
"""What a row of the table says, beside its key `id` and `updated_at`."""

NO_USERS: Final[dict[str, int]] = {}


@dataclass(frozen=True, slots=True)
class Watch:
    """One row. It has one target; one with two counts for both."""

    user: str
    property: str | None = None
    region: str | None = None

    @classmethod
    def of(cls, record: Record) -> Watch | None:
        """The watch that a row says; None where it names no user or nothing to watch."""
        user, property_id, region = (record.get(column) for column in WATCH_COLUMNS)
        if user is None or (property_id is None and not region):
            return None
        return cls(
            str(user),
            None if property_id is None else str(property_id),
            str(region) if region else None,
        )


class WatchIndex:
    """All watches, by what they are about."""

    def __init__(self) -> None:
        self._all: dict[Key, Watch] = {}
        # Users with the number of their watches of it, in the order in which they came.
        self._properties: dict[str, dict[str, int]] = {}
        self._regions: dict[str, dict[str, int]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Key]:
        """The keys of their rows."""
        return iter(self._all)

    def set(self, key: Key, watch: Watch | None) -> None:
        """The row of that key is this one now; None: it is gone, or says nothing."""
        before = self._all.pop(key, None)
        if before is not None:
            _decrement(self._properties, before.property, before.user)
            _decrement(self._regions, before.region, before.user)
        if watch is not None:
            self._all[key] = watch
            _increment(self._properties, watch.property, watch.user)
            _increment(self._regions, watch.region, watch.user)

    def of_property(self, key: Key) -> KeysView[str]:
        """Who watches that property itself."""
        return self._properties.get(str(key), NO_USERS).keys()

    def of_regions(self, regions: Iterable[str]) -> Iterator[KeysView[str]]:
        """Who watches each of `regions`. A property in `TX/Austin` is in `TX` too: hand in both."""
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
