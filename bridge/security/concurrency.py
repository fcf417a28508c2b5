"""How many of each there are at present. Pure."""

from __future__ import annotations

from enum import Enum, auto


class Full(Enum):
    """Why there is no place."""

    KEY = auto()
    ALL = auto()


class Place:
    """One of those that are counted, until it is given back."""

    __slots__ = ("_crowd", "kept", "key")

    def __init__(self, crowd: Crowd, key: str | None) -> None:
        self._crowd: Crowd | None = crowd
        self.key = key
        self.kept = False
        """Whether somebody will give it back later than whoever took it."""

    def give_back(self) -> None:
        """It is free again. To say so twice does no harm."""
        if self._crowd is not None:
            self._crowd.leave(self.key)
            self._crowd = None


class Crowd:
    """Places for `per_key` of each key and for `in_all`. Remembers keys that have a place only. Who
    has no key (None) is counted among all, and by nothing else.
    """

    def __init__(self, per_key: int, in_all: int) -> None:
        self._per_key = per_key
        self._in_all = in_all
        self._by_key: dict[str, int] = {}
        self.total = 0

    def enter(self, key: str | None) -> Place | Full:
        """A place, or why there is none."""
        taken = 0 if key is None else self._by_key.get(key, 0)
        if taken >= self._per_key:
            return Full.KEY
        if self.total >= self._in_all:
            return Full.ALL
        if key is not None:
            self._by_key[key] = taken + 1
        self.total += 1
        return Place(self, key)

    def leave(self, key: str | None) -> None:
        self.total -= 1
        if key is None:
            return
        left = self._by_key[key] - 1
        if left:
            self._by_key[key] = left
        else:
            del self._by_key[key]
