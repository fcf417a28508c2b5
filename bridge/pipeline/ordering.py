"""Orders a change relative to the last emitted state of its row: older, identical, newer, unknown.

Row contents decide. Where they can't, the order is unknown and the row is re-read from the table.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from bridge.changes import Op, json_equal

if TYPE_CHECKING:
    from bridge.changes import Change, Record
    from bridge.projection import Projection
    from bridge.rows import RowStore


class Unknown(Enum):
    UNKNOWN = "unknown"


class ChangeOrder:
    """Compares a change with a row's state as `RowStore` encodes it (None: no such row)."""

    def __init__(self, projection: Projection, rows: RowStore) -> None:
        self._projection = projection
        self._rows = rows

    def is_current(self, state: bytes | None, change: Change) -> bool:
        """Return whether the change led to this very state."""
        if change.op is Op.DELETE or state is None:
            return change.op is Op.DELETE and state is None
        return _agrees(self._rows.decode(state), change.record)

    def is_successor(self, state: bytes | None, change: Change) -> bool:
        """Return whether the row before the change, if it was sent in full, is this state."""
        if change.old is None or state is None:
            return False
        if not all(column in change.old for column in self._rows.columns):
            return False
        return _agrees(self._rows.decode(state), change.old)

    def state_after(self, change: Change) -> bytes | Unknown | None:
        """Return the row's state after the change; None: deleted."""
        if change.op is Op.DELETE:
            return None
        if change.truncated or any(c not in change.record for c in self._rows.columns):
            return Unknown.UNKNOWN
        return self._rows.encode(change.record)

    def may_be_stale(self, state: bytes | None, change: Change, record: Record) -> bool:
        """Return whether the change, which led to `record`, may be late or a duplicate.

        Re-reading the row is cheap; emitting an old state as the present one would be wrong until
        the next full scan.
        """
        if state is None:
            return False
        known = self._rows.decode(state)
        if change.old is not None and _agrees(known, change.old):
            return False
        column = self._projection.updated_at
        before, after = (known[column], record[column]) if column else (None, None)
        if type(before) is str and type(after) is str:
            # Without the Z, fractions of any length sort in order of time.
            return after.rstrip("Z") < before.rstrip("Z")
        return change.old is not None


def _agrees(known: Record, other: Record) -> bool:
    """Return whether both have equal values in every column that both have."""
    return all(
        json_equal(known[column], value) for column, value in other.items() if column in known
    )
