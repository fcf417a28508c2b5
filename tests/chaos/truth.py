"""Every state that each property was committed in, in the order of commits."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from bridge.source.normalize import normalize

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bridge.projection import Projection

Row: TypeAlias = dict[str, Any]
"""Published columns of a property; of one that a client has only heard changes of, some of them."""

LARGE: Final = "address"
"""The one column whose values may be so large that the stream leaves them out where they did not
change. Under replica identity default such a value may be told in its old form for a while after a
change of it was lost; the README says so."""

MARK: Final = "not-for-clients"
"""In every text that is written into a column which is not published."""


class Place(StrEnum):
    """Where a told state stands, seen from the one told before it."""

    LATER = "later"
    SAME = "same"
    EARLIER = "earlier"
    BLENDED = "blended"
    """Later but for the large value, which is of before."""
    NOWHERE = "nowhere"


class Truth:
    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self.now: dict[str, Row] = {}
        self.past: dict[str, list[Row | None]] = {}
        """None: there was no such property."""
        self.commits = 0
        self.large: set[str] = set()
        """Properties that ever had a large value."""
        self.leaves_out = False
        """Whether the table's replica identity was ever one that lets large values be left out."""

    def begin(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """What is in the table before the story; `to_jsonb` of its rows."""
        for raw in rows:
            key, row = raw[self._projection.key], self._read(raw)
            self.now[key], self.past[key] = row, [row]

    def commit(self, key: str, raw: Mapping[str, Any] | None) -> None:
        """A row was written, or removed (None)."""
        row = None if raw is None else self._read(raw)
        self.commits += 1
        past = self.past.setdefault(key, [None])
        if past[-1] != row:
            past.append(row)
        if row is None:
            self.now.pop(key, None)
            return
        self.now[key] = row
        if len(row.get(LARGE) or "") > 1500:
            self.large.add(key)

    def place(
        self, key: str, state: Row | None, at: int, *, again: bool = False
    ) -> tuple[Place, int]:
        """Where `state` stands from `at` on, which is the place of the state told before; -1 if
        there was none. The first place that fits is given, so that the most is left for what
        follows: `at` itself if a state may be told `again`, as a snapshot does.
        """
        past = self.past.get(key, [None])
        if again and at >= 0 and fits(state, past[at]):
            return Place.SAME, at
        for n in range(at + 1, len(past)):
            if fits(state, past[n]):
                return Place.LATER, n
        if at >= 0 and fits(state, past[at]):
            return Place.SAME, at
        if any(fits(state, past[n]) for n in range(min(at, len(past)))):
            return Place.EARLIER, at
        blended = self._blended(key, state, past, at)
        return (Place.NOWHERE, at) if blended is None else (Place.BLENDED, blended)

    def _blended(
        self, key: str, state: Row | None, past: Sequence[Row | None], at: int
    ) -> int | None:
        if state is None or key not in self.large or not self.leaves_out:
            return None
        rest = {column: value for column, value in state.items() if column != LARGE}
        for n in range(at + 1, len(past)):
            before = (row.get(LARGE) for row in past[:n] if row is not None)
            if fits(rest, past[n]) and state.get(LARGE) in before:
                return n
        return None

    def _read(self, raw: Mapping[str, Any]) -> Row:
        return {column: normalize(raw[column]) for column in self._projection.published}


def fits(state: Row | None, row: Row | None) -> bool:
    """Whether what is known of a property is what `row` says."""
    if state is None or row is None:
        return state is row
    return all(column in row and row[column] == value for column, value in state.items())
