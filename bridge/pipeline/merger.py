"""What clients have been told of each row, and what they are told next.

Two witnesses speak of a row: the stream, in commit order but late and with holes, and reads of the
table, true at one moment. The ledger weaves them into one story per row that never goes back:

- A read that *began after* a change arrived includes that change. This is the only fact about time
  that is relied on; clocks are not.
- Where a read told something that the stream had not (a repair), later changes of the row may be
  older than what was told. Such a row is *ahead*. A change whose record equals the read is the one
  that it showed: the stream has caught up. A change whose whole old row equals the read comes
  after it. Anything else is settled by reading the row again, and that read is told instead.

Pure: no I/O, no clock of its own. Whoever drives it calls `take` and stores what it gives before
anybody is told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from bridge.changes import Change, Op
from bridge.pipeline import diff
from bridge.pipeline.ordering import ChangeOrder, Unknown

if TYPE_CHECKING:
    from bridge.changes import Key, Record
    from bridge.events import Event
    from bridge.projection import Projection
    from bridge.rows import RowStore

READ_AHEAD_SECONDS = 30.0
"""How long a row stays ahead of the stream when nothing of it arrives. Far longer than the stream
lags; a row that is wrongly still ahead costs one read."""

MAX_EXPIRED_PER_CALL = 1000
"""Rows that one call of `expire` forgets; after the repair of a large table there are many."""


@dataclass(slots=True)
class _ReadAhead:
    """A row whose told state came from a read."""

    until: float
    undecided: int = 0  # arrival number of the newest undecided change; 0: none
    newest: bytes | Unknown | None = Unknown.UNKNOWN  # the row after that change; None: gone
    committed_at: str = ""  # when that change was committed
    flight: list[tuple[int, Change]] | None = None  # arrived during a read


@dataclass(slots=True)
class RowChangeSet:
    """What one step decided: stored together, then told."""

    events: list[Event] = field(default_factory=list)
    rows: dict[Key, bytes | None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.rows)


class ChangeMerger:
    def __init__(self, projection: Projection, rows: RowStore) -> None:
        self._projection = projection
        self._rows = rows
        self._order = ChangeOrder(projection, rows)
        self._batch = RowChangeSet()
        self._read_ahead: dict[Key, _ReadAhead] = {}
        self._rereads: dict[Key, None] = {}  # rows that only a read can settle, oldest first
        self._arrivals = 0
        self._reading: int | None = None  # the arrival number at which the read in flight began
        self._streamed: set[Key] = set()  # rows that the stream told while that read was in flight
        self._load_ahead_until = 0.0
        self._load_streamed: set[Key] = set()

    # -- looking ------------------------------------------------------------------------------

    @property
    def pending_rereads(self) -> int:
        """Rows that wait for a read."""
        return len(self._rereads)

    def state(self, key: Key) -> bytes | None:
        """The row as told last, or about to be told with the batch that is being made."""
        if key in self._batch.rows:
            return self._batch.rows[key]
        return self._rows.get(key)

    def rows_to_reread(self, limit: int) -> list[Key]:
        """Rows that have to be read, oldest doubt first."""
        return list(islice(self._rereads, limit))

    def differs(self, record: Record) -> bool:
        """Whether a read record is not what was told, and the stream has not spoken since."""
        key = record[self._projection.key]
        return key not in self._streamed and self.state(key) != self._rows.encode(record)

    # -- the stream ---------------------------------------------------------------------------

    def apply_change(self, change: Change, now: float) -> None:
        """A change arrived from the stream. `now`: monotonic seconds."""
        if change.old_key is not None and change.old_key != change.key:
            self._renamed(change, now)
            return
        self._arrivals += 1
        ahead = self._read_ahead.get(change.key) or self._read_ahead_since_load(change.key, now)
        if ahead is None:
            self._emit_change(change, now)
        else:
            self._resolve(ahead, change, now)

    # -- reads of the table -------------------------------------------------------------------

    def request_reread(self, key: Key) -> None:
        """The table seems to know more of this row than the stream told: have it read."""
        self._rereads[key] = None

    def begin_read(self) -> int:
        """A read of the table begins, one at a time. Its results are handed in with the number."""
        self._streamed.clear()
        self._reading = self._arrivals
        return self._arrivals

    def end_read(self) -> None:
        """The read is over, whether or not it gave anything."""
        self._streamed.clear()
        self._reading = None

    def apply_read(self, key: Key, record: Record | None, now: float, at: str) -> bool:
        """The read in flight showed this row, or its absence (`record` None).

        `at` stands in for the commit time that a read can't know. Gives True where the read told
        what the stream had not (a repair).
        """
        assert self._reading is not None, "observe belongs between begin_read and end_read"
        began = self._reading
        if key in self._streamed:
            return False  # the stream told the row after this read began
        read = None if record is None else self._rows.encode(record)
        ahead = self._read_ahead.pop(key, None)
        shown = ahead is not None and 0 < ahead.undecided <= began and ahead.newest == read
        repaired = self._emit_row(key, read, ahead.committed_at if ahead and shown else at)
        if ahead is None:
            self._rereads.pop(key, None)
            if repaired:
                self._read_ahead[key] = _ReadAhead(now + READ_AHEAD_SECONDS)
            return repaired
        later = [change for number, change in ahead.flight or () if number > began]
        if ahead.undecided <= began:
            self._rereads.pop(key, None)
        if shown:
            self._mark_streamed(key)  # the stream is where the table is
        else:
            self._read_ahead[key] = _ReadAhead(now + READ_AHEAD_SECONDS)
        for change in later:
            self.apply_change(change, now)
        return repaired

    def load_initial(self, record: Record) -> None:
        """A row read on the very first start: remembered, not told."""
        self._batch.rows[record[self._projection.key]] = self._rows.encode(record)

    def drop_initial(self, key: Key) -> None:
        """A row that an interrupted first fill left behind, and that is gone: it was never told."""
        self._batch.rows[key] = None

    def initial_load_done(self, now: float) -> None:
        """The first fill is complete: for a while every row is ahead of the stream."""
        self._load_ahead_until = now + READ_AHEAD_SECONDS

    # -- time and storage ---------------------------------------------------------------------

    def expire(self, now: float) -> None:
        """Forget that rows were ahead of a stream that must have passed them by now."""
        if self._load_ahead_until and now >= self._load_ahead_until:
            self._load_ahead_until = 0.0
            self._load_streamed.clear()
        over: list[Key] = []
        for key, ahead in self._read_ahead.items():
            if ahead.until > now or len(over) == MAX_EXPIRED_PER_CALL:
                break  # in the order in which they were put
            if key not in self._rereads:
                over.append(key)
        for key in over:
            del self._read_ahead[key]

    def take(self) -> RowChangeSet:
        """The batch so far. The caller stores it and calls `stored`. In between nobody may change
        what is in it (`change`, `observe`, `fill`, `forget`); everything else may be asked for.
        """
        return self._batch

    def stored(self) -> None:
        self._rows.apply(self._batch.rows)
        self._batch = RowChangeSet()

    # -- inside -------------------------------------------------------------------------------

    def _renamed(self, change: Change, now: float) -> None:
        """A changed key is one property gone and another one new. Values that were not sent again
        (large, unchanged) are the old row's.
        """
        assert change.old_key is not None
        record = dict(change.record)
        known = self.state(change.old_key)
        if known is not None and not change.truncated:
            record = {**self._rows.decode(known), **record}
        self.apply_change(
            Change(Op.DELETE, change.old_key, {}, change.committed_at, change.old), now
        )
        self.apply_change(
            Change(
                Op.INSERT,
                change.key,
                record,
                change.committed_at,
                truncated=change.truncated,
                lsn=change.lsn,
            ),
            now,
        )

    def _read_ahead_since_load(self, key: Key, now: float) -> _ReadAhead | None:
        if now >= self._load_ahead_until or key in self._load_streamed:
            return None
        ahead = self._read_ahead[key] = _ReadAhead(self._load_ahead_until)
        return ahead

    def _whole(self, change: Change) -> dict[str, object] | None:
        """The record after the change, unchanged large values filled in; None: unknown."""
        record = change.record
        columns = self._rows.columns
        if all(column in record for column in columns):
            return dict(record)
        known = self.state(change.key)
        if known is None:
            return None
        filled = self._rows.decode(known)
        filled.update(record)
        return filled

    def _emit_change(self, change: Change, now: float) -> None:
        if change.op is Op.DELETE:
            self._mark_streamed(change.key)
            self._emit_row(change.key, None, change.committed_at)
            return
        record = None if change.truncated else self._whole(change)
        if record is None or self._order.may_be_stale(self.state(change.key), change, record):
            self._reread_later(change.key, now)
            return
        if self._reading is not None and len(change.record) < len(self._rows.columns):
            # Newer than the read in flight, but with holes that were filled from what was known,
            # which a gap may have made old: neither can be believed.
            self._rereads[change.key] = None
        self._mark_streamed(change.key)
        self._emit_row(change.key, self._rows.encode(record), change.committed_at)

    def _reread_later(self, key: Key, now: float) -> None:
        """Something happened to this row that only a read can tell."""
        self._read_ahead[key] = _ReadAhead(now + READ_AHEAD_SECONDS, self._arrivals)
        self._rereads[key] = None

    def _mark_streamed(self, key: Key) -> None:
        if self._reading is not None:
            self._streamed.add(key)
        if self._load_ahead_until:
            self._load_streamed.add(key)

    def _resolve(self, ahead: _ReadAhead, change: Change, now: float) -> None:
        """A change of a row whose told state came from a read: older, the same, or after it?"""
        state = self.state(change.key)
        if not change.truncated:
            if self._order.is_current(state, change):
                self._caught_up(change.key)  # the very change that the read showed
                return
            if self._order.is_successor(state, change):
                self._caught_up(change.key)
                self._emit_change(change, now)  # its old row vouches for it
                return
        ahead.undecided = self._arrivals
        ahead.newest = self._order.state_after(change)
        ahead.committed_at = change.committed_at
        if self._reading is not None:
            if ahead.flight is None or ahead.flight[0][0] <= self._reading:
                ahead.flight = []  # what it held is left over from a read that failed
            ahead.flight.append((self._arrivals, change))
        self._rereads[change.key] = None

    def _caught_up(self, key: Key) -> None:
        self._read_ahead.pop(key, None)
        self._rereads.pop(key, None)
        self._mark_streamed(key)

    def _emit_row(self, key: Key, row: bytes | None, at: str) -> bool:
        """Put the step from the told state to `row` into the batch. False: there is none."""
        told = self.state(key)
        if told == row:
            return False
        self._batch.events += diff.events_between(
            self._projection,
            key,
            None if told is None else self._rows.decode(told),
            None if row is None else self._rows.decode(row),
            at,
        )
        self._batch.rows[key] = row
        return True
