"""Every committed state of each property, in commit order, and the order of received states."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from bridge.source.normalize import normalize

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bridge.projection import Projection

Row: TypeAlias = dict[str, Any]
"""Published columns of a property. A client without snapshots holds only the columns of the events
that it received."""

LARGE_COLUMN: Final = "address"
"""The one column with values so large that the stream omits them from a change that leaves them as
they were. Under replica identity default, a change of such a value that was lost may be
followed by events with the old value, until the table is read; this is documented."""
LARGE_LENGTH: Final = 1500
"""Characters; PostgreSQL stores longer values out of line, and the stream may omit them."""

UNPUBLISHED_MARK: Final = "not-for-clients"
"""Part of every text that tests write into a column which is not published."""


class StateOrder(StrEnum):
    """Order of a received state relative to the state of its property received before it."""

    LATER = "later"
    SAME = "same"
    EARLIER = "earlier"
    BLENDED = "blended"
    """Later, except for the large value, which is an earlier one."""
    NEVER = "never"


class ExpectedTable:
    """The table as the database committed it: the present rows and all states before."""

    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self.rows: dict[str, Row] = {}
        self.states: dict[str, list[Row | None]] = {}
        """Per property, equal neighbours once; None: the property did not exist."""
        self.commits = 0
        self.omits_large_values = False
        """Whether the table ever had a replica identity with which large values are omitted."""
        self._large: set[str] = set()

    def load(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Set the rows at the start; each is `to_jsonb` of a row, with unpublished columns."""
        for raw in rows:
            key, row = raw[self._projection.key], self._published(raw)
            self.rows[key], self.states[key] = row, [row]

    def commit(self, key: str, raw: Mapping[str, Any] | None) -> None:
        """Record that a row was written, or deleted (None)."""
        self.commits += 1
        self._record(key, None if raw is None else self._published(raw))

    def reload(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Record the whole table as it is now, where the outcome of statements is unknown."""
        found = {raw[self._projection.key]: self._published(raw) for raw in rows}
        for key in [*found, *self.rows]:
            self._record(key, found.get(key))

    def order(
        self, key: str, state: Row | None, index: int, *, repeatable: bool = False
    ) -> tuple[StateOrder, int]:
        """Return the order of `state` after the state at `index`, and the index of `state`.

        `index` is -1 if no state of the property was received before. Of several matching states
        the first is taken, so that most remain for the states that follow; with `repeatable`, as
        for a snapshot, that may be the one at `index`.
        """
        states = self.states.get(key, [None])
        if repeatable and index >= 0 and matches(state, states[index]):
            return StateOrder.SAME, index
        for n in range(index + 1, len(states)):
            if matches(state, states[n]):
                return StateOrder.LATER, n
        if index >= 0 and matches(state, states[index]):
            return StateOrder.SAME, index
        if any(matches(state, states[n]) for n in range(min(index, len(states)))):
            return StateOrder.EARLIER, index
        blended = self._blended(key, state, states, index)
        return (StateOrder.NEVER, index) if blended is None else (StateOrder.BLENDED, blended)

    def mixes_states(self, key: str, state: Row | None, index: int) -> bool:
        """Return whether each value of `state` is of some state from `index` on."""
        states = self.states.get(key, [None])[max(index, 0) :]
        return state is not None and all(
            any(row is not None and row.get(column) == value for row in states)
            for column, value in state.items()
        )

    def _record(self, key: str, row: Row | None) -> None:
        states = self.states.setdefault(key, [None])
        if states[-1] != row:
            states.append(row)
        if row is None:
            self.rows.pop(key, None)
            return
        self.rows[key] = row
        if len(row.get(LARGE_COLUMN) or "") > LARGE_LENGTH:
            self._large.add(key)

    def _blended(
        self, key: str, state: Row | None, states: Sequence[Row | None], index: int
    ) -> int | None:
        if state is None or key not in self._large or not self.omits_large_values:
            return None
        rest = {column: value for column, value in state.items() if column != LARGE_COLUMN}
        for n in range(index + 1, len(states)):
            before = (row.get(LARGE_COLUMN) for row in states[:n] if row is not None)
            if matches(rest, states[n]) and state.get(LARGE_COLUMN) in before:
                return n
        return None

    def _published(self, raw: Mapping[str, Any]) -> Row:
        return {
            column: normalize(raw[column], "timestamptz" if column.endswith("_at") else "")
            for column in self._projection.published
        }


def matches(state: Row | None, row: Row | None) -> bool:
    """Return whether every value of `state` is that of `row`; both None match."""
    if state is None or row is None:
        return state is row
    return all(column in row and row[column] == value for column, value in state.items())


def differences(held: Mapping[str, Row], expected: Mapping[str, Row]) -> Iterator[tuple[str, str]]:
    """Yield the key of each property that differs, and how, for a client that holds all rows."""
    for key, row in held.items():
        there = expected.get(key)
        if there is None:
            yield key, f"holds {row}, which is not in the table"
        elif not matches(row, there):
            wrong = {c: (value, there.get(c)) for c, value in row.items() if value != there.get(c)}
            yield key, f"(held, expected): {wrong}"
    for key, there in expected.items():
        if key not in held:
            yield key, f"lacks {there}"
