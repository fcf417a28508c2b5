"""What a change proves about a row's told state: that it is older, the same, or comes after it.

Content decides. Where it can't, the answer is "unknown", and the row has to be read.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from bridge.changes import Op
from bridge.pipeline import diff

if TYPE_CHECKING:
    from bridge.changes import Change, Record
    from bridge.projection import Projection
    from bridge.rows import RowStore


class Unknown(Enum):
    UNKNOWN = "unknown"


class ChangeOrder:
    """Questions about a change, against a row's state as `Rows` encodes it (None: no such row)."""

    def __init__(self, projection: Projection, rows: RowStore) -> None:
        self._projection = projection
        self._rows = rows

    def is_current(self, state: bytes | None, change: Change) -> bool:
        """Whether the change led to this very state."""
        if change.op is Op.DELETE or state is None:
            return change.op is Op.DELETE and state is None
        return _agrees(self._rows.decode(state), change.record)

    def is_successor(self, state: bytes | None, change: Change) -> bool:
        """Whether the row before the change, if the source had it whole, is this state."""
        if change.old is None or state is None:
            return False
        if not all(column in change.old for column in self._rows.columns):
            return False
        return _agrees(self._rows.decode(state), change.old)

    def state_after(self, change: Change) -> bytes | Unknown | None:
        """The row's state after the change."""
        if change.op is Op.DELETE:
            return None
        if change.truncated or any(c not in change.record for c in self._rows.columns):
            return Unknown.UNKNOWN
        return self._rows.encode(change.record)

    def may_be_stale(self, state: bytes | None, change: Change, record: Record) -> bool:
        """Whether the change, which led to `record`, may be one that came late or twice.

        Reading the row costs little; telling a row's past as its present would be wrong until the
        next pass over the table.
        """
        if state is None:
            return False
        told = self._rows.decode(state)
        if change.old is not None and _agrees(told, change.old):
            return False
        column = self._projection.updated_at
        before, after = (told[column], record[column]) if column else (None, None)
        if type(before) is str and type(after) is str:
            # Without the Z, fractions of any length compare as they should.
            return after.rstrip("Z") < before.rstrip("Z")
        return change.old is not None


def _agrees(told: Record, other: Record) -> bool:
    """Whether both say the same of every column that both have."""
    return all(diff.same(told[column], value) for column, value in other.items() if column in told)
