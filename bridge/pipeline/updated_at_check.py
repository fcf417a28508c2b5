"""Checks the premise that `updated_at` moves with every UPDATE. No I/O."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from bridge import clock as clocks
from bridge.changes import Op

if TYPE_CHECKING:
    from bridge.changes import Change, Json
    from bridge.projection import Projection
    from bridge.rows import RowStore

log = logging.getLogger(__name__)

LONGEST_TRANSACTION_SECONDS: Final = 60.0
"""By how much `updated_at` may be older than the commit without being suspect: it is often the
start of the transaction, and equal in all updates of a row within it."""


class UpdatedAtCheck:
    """Counts the UPDATEs that left `updated_at` where it was, and logs the first one with what to
    do.
    """

    def __init__(self, projection: Projection, rows: RowStore) -> None:
        self._projection = projection
        self._column = projection.updated_at
        self._rows = rows
        self.unchanged = 0
        """Number of UPDATEs that did not move `updated_at`."""

    def check(self, change: Change, known: bytes | None) -> None:
        """Check a change of the stream. `known`: the row's state before it."""
        if self._column is None or change.op is not Op.UPDATE or known is None:
            return
        at = change.record.get(self._column, self)
        if at is self or not _older(at, change.committed_at):
            return
        before = self._rows.decode(known)
        record = change.record
        if at != before[self._column] or all(before.get(name) == record[name] for name in record):
            return
        self.unchanged += 1
        if self.unchanged == 1:
            log.warning("%s", self.advice)

    @property
    def advice(self) -> str:
        """For people."""
        projection = self._projection
        return (
            f"an UPDATE of {projection.schema}.{projection.table} left {self._column} as it was: "
            "if Realtime loses such a change, only a full comparison finds it "
            f"(BRIDGE_COMPARE_INTERVAL). A trigger mends that: {trigger_sql(projection)}"
        )


def trigger_sql(projection: Projection) -> str:
    """Return the statements that make a trigger set `updated_at`."""
    return (
        "create extension if not exists moddatetime schema extensions; "
        "create trigger set_updated_at before update on "
        f'"{projection.schema}"."{projection.table}" for each row execute function '
        f'extensions.moddatetime("{projection.updated_at}");'
    )


def _older(updated_at: Json, committed_at: str) -> bool:
    """Return whether the transaction of a change can't have written its `updated_at`."""
    if updated_at is None:
        return True
    if not isinstance(updated_at, str):
        return False
    at, commit = clocks.unix(updated_at), clocks.unix(committed_at)
    return at is not None and commit is not None and commit - at > LONGEST_TRANSACTION_SECONDS
