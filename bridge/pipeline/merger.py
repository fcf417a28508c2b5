"""Merges two inputs into one ordered sequence of row changes.

The inputs are the stream (in commit order, but delayed and with possible gaps) and reads of the
table (consistent at one point in time). A row never moves back to an older state:

- A read that *began after* a change arrived includes that change. This is the only fact about time
  that the merger relies on; it compares no clocks.
- After a read showed a state that the stream had not delivered (a repair), later changes of that
  row may be older than the state that was emitted: the row is *read ahead* of the stream. If the
  record of a change equals the read, it is the change that the read showed, and the stream has
  caught up. If its full old row equals the read, it is the successor. Any other change is
  undecided: the row is re-read, and the result of that read is emitted.

No I/O; time is passed in. The caller takes the pending row changes with `take`, stores them, and
calls `applied` once the row store holds them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

from bridge.changes import Change, Op
from bridge.pipeline.ordering import ChangeOrder, Unknown
from bridge.rows import RowChange

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.changes import Key, Record
    from bridge.projection import Projection
    from bridge.rows import RowStore

READ_AHEAD_SECONDS: Final = 30.0
"""How long a row counts as ahead of the stream if no change of it arrives. Far longer than the lag
of the stream; a row that is wrongly kept ahead costs one read."""

MAX_EXPIRED_PER_CALL: Final = 1000
"""Rows that one call of `expire` releases; after the repair of a large table there are many."""


@dataclass(slots=True)
class _ReadAhead:
    """A row that was last emitted from a read."""

    until: float
    undecided: int = 0  # arrival number of the newest undecided change; 0: none
    newest: bytes | Unknown | None = Unknown.UNKNOWN  # the row after that change; None: deleted
    committed_at: str = ""  # commit time of that change
    in_flight: list[tuple[int, Change]] | None = None  # changes that arrived during a read


@dataclass(slots=True)
class RowChangeSet:
    """What one transaction of the pipeline decided; stored together.

    `changes` are the steps to publish, in order. `rows` is the resulting state of each row, also of
    those that are stored without being published (the initial load).
    """

    changes: list[RowChange] = field(default_factory=list)
    rows: dict[Key, bytes | None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.rows)


class ChangeMerger:
    """Decides what a change or a read means for a row, given its last emitted state in `rows`."""

    def __init__(self, projection: Projection, rows: RowStore) -> None:
        self._projection = projection
        self._rows = rows
        self._order = ChangeOrder(projection, rows)
        self._set = RowChangeSet()
        self._read_ahead: dict[Key, _ReadAhead] = {}
        self._rereads: dict[Key, None] = {}  # rows that only a read can settle, oldest first
        self._arrivals = 0
        self._reading: int | None = None  # the arrival number at which the read in flight began
        self._streamed: set[Key] = set()  # rows that the stream changed during the read in flight
        self._load_ahead_until = 0.0
        self._load_streamed: set[Key] = set()

    # -- state --------------------------------------------------------------------------------

    @property
    def pending_rereads(self) -> int:
        """Number of rows that wait for a re-read."""
        return len(self._rereads)

    def state(self, key: Key) -> bytes | None:
        """Return the last emitted state of the row, including changes that are not stored yet."""
        if key in self._set.rows:
            return self._set.rows[key]
        return self._rows.get(key)

    def rows_to_reread(self, limit: int) -> list[Key]:
        """Return up to `limit` keys of rows to re-read, oldest request first."""
        return list(islice(self._rereads, limit))

    def reported_deleted(self, key: Key) -> bool:
        """Return whether the last change of a row that waits for a re-read is its DELETE."""
        ahead = self._read_ahead.get(key)
        return ahead is not None and ahead.undecided > 0 and ahead.newest is None

    def differs(self, record: Record) -> bool:
        """Return whether a read record differs from the last emitted state, and the stream has not
        changed the row since the read began.
        """
        key = record[self._projection.key]
        return key not in self._streamed and self.state(key) != self._rows.encode(record)

    # -- the stream ---------------------------------------------------------------------------

    def apply_change(self, change: Change, now: float) -> None:
        """Merge a change from the stream. `now`: monotonic seconds."""
        if change.old_key is not None and change.old_key != change.key:
            self._apply_key_change(change, now)
            return
        self._arrivals += 1
        ahead = self._read_ahead.get(change.key) or self._read_ahead_since_load(change.key, now)
        if ahead is None:
            self._emit_change(change, now)
        else:
            self._resolve(ahead, change, now)

    # -- reads of the table -------------------------------------------------------------------

    def request_reread(self, key: Key) -> None:
        """Request a re-read of a row that the table seems to have changed and the stream has not
        delivered.
        """
        self._rereads[key] = None

    def defer_rereads(self, keys: Iterable[Key]) -> None:
        """Put rows that could not be read behind all others."""
        for key in keys:
            if key in self._rereads:
                del self._rereads[key]
                self._rereads[key] = None

    def begin_read(self) -> int:
        """Begin a read of the table; one at a time. Return the number of changes so far."""
        self._streamed.clear()
        self._reading = self._arrivals
        return self._arrivals

    def end_read(self) -> None:
        """End the read, whether or not it succeeded."""
        self._streamed.clear()
        self._reading = None

    def apply_read(self, key: Key, record: Record | None, now: float, at: str) -> bool:
        """Merge one row of the read in flight; `record` None: the row does not exist.

        `at` stands in for the commit time, which a read does not show. Return True if the read
        showed a state that the stream had not delivered (a repair).
        """
        assert self._reading is not None, "apply_read belongs between begin_read and end_read"
        began = self._reading
        if key in self._streamed:
            return False  # the stream changed the row after this read began
        read = None if record is None else self._rows.encode(record)
        ahead = self._read_ahead.pop(key, None)
        shown = ahead is not None and 0 < ahead.undecided <= began and ahead.newest == read
        repaired = self._emit_row(key, read, ahead.committed_at if ahead and shown else at)
        if ahead is None:
            self._rereads.pop(key, None)
            if repaired:
                self._read_ahead[key] = _ReadAhead(now + READ_AHEAD_SECONDS)
            return repaired
        later = [change for number, change in ahead.in_flight or () if number > began]
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
        """Store a row of the initial load, without emitting a change."""
        self._set.rows[record[self._projection.key]] = self._rows.encode(record)

    def drop_initial(self, key: Key) -> None:
        """Remove a row that an interrupted initial load left and that no longer exists. It was
        never emitted, so its removal is not either.
        """
        self._set.rows[key] = None

    def initial_load_done(self, now: float) -> None:
        """End the initial load: for a while every row counts as read ahead of the stream."""
        self._load_ahead_until = now + READ_AHEAD_SECONDS

    def apply_snapshot(self, key: Key, row: bytes | None, at: str) -> bool:
        """Merge a row of a snapshot that the stream continues from; None: it is not in there.
        Return whether it differs from the last emitted state. It settles all earlier reads.
        """
        self._read_ahead.pop(key, None)
        self._rereads.pop(key, None)
        self._mark_streamed(key)
        return self._emit_row(key, row, at)

    def known_keys(self) -> list[Key]:
        """Return the keys of all rows as of the last emitted states."""
        pending = self._set.rows
        known = [key for key in self._rows if key not in pending]
        return known + [key for key, row in pending.items() if row is not None]

    def delete(self, keys: Iterable[Key], at: str) -> int:
        """Merge the deletion of rows at a known position of the stream (a TRUNCATE, a snapshot).
        Return how many existed.
        """
        return sum(self.apply_snapshot(key, None, at) for key in keys)

    # -- time and storage ---------------------------------------------------------------------

    def expire(self, now: float) -> None:
        """Release rows that were read ahead of a stream that must have passed them by now."""
        if self._load_ahead_until and now >= self._load_ahead_until:
            self._load_ahead_until = 0.0
            self._load_streamed.clear()
        expired: list[Key] = []
        for key, ahead in self._read_ahead.items():
            if ahead.until > now or len(expired) == MAX_EXPIRED_PER_CALL:
                break  # in order of insertion
            if key not in self._rereads:
                expired.append(key)
        for key in expired:
            del self._read_ahead[key]

    def take(self) -> RowChangeSet:
        """Return the pending row changes. The caller stores them and then calls `applied`; until
        then no method may be called that adds to them (`apply_change`, `apply_read`,
        `load_initial`, `drop_initial`). All others may.
        """
        return self._set

    def applied(self) -> None:
        """The row store holds the rows of the set that `take` returned: start an empty one."""
        self._set = RowChangeSet()

    # -- inside -------------------------------------------------------------------------------

    def _apply_key_change(self, change: Change, now: float) -> None:
        """A changed key is a deletion of one property and the creation of another one. Large
        unchanged values, which the stream does not send again, are those of the old row.
        """
        assert change.old_key is not None
        record = dict(change.record)
        known = self.state(change.old_key)
        if known is not None and not change.truncated:
            record = {**self._rows.decode(known), **record}
        self.apply_change(
            Change(Op.DELETE, change.old_key, {}, change.committed_at, change.old, lsn=change.lsn),
            now,
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

    def _full_record(self, change: Change) -> dict[str, object] | None:
        """Return the record after the change, with unchanged large values filled in; None: they
        are unknown.
        """
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
        record = None if change.truncated else self._full_record(change)
        if record is None or (
            change.lsn is None  # else the stream is in commit order without a gap
            and self._order.may_be_stale(self.state(change.key), change, record)
        ):
            self._reread_later(change.key, now)
            return
        if self._reading is not None and len(change.record) < len(self._rows.columns):
            # Newer than the read in flight, but with missing values filled from the known row,
            # which a gap may have made stale: neither can be trusted.
            self._rereads[change.key] = None
        self._mark_streamed(change.key)
        self._emit_row(change.key, self._rows.encode(record), change.committed_at)

    def _reread_later(self, key: Key, now: float) -> None:
        """Request a re-read of a row, because its change can't be emitted from the stream alone."""
        self._read_ahead[key] = _ReadAhead(now + READ_AHEAD_SECONDS, self._arrivals)
        self._rereads[key] = None

    def _mark_streamed(self, key: Key) -> None:
        if self._reading is not None:
            self._streamed.add(key)
        if self._load_ahead_until:
            self._load_streamed.add(key)

    def _resolve(self, ahead: _ReadAhead, change: Change, now: float) -> None:
        """Merge a change of a row that was read ahead: is it older, the same, or a successor?"""
        state = self.state(change.key)
        if not change.truncated:
            if self._order.is_current(state, change):
                self._caught_up(change.key)  # the very change that the read showed
                return
            if self._order.is_successor(state, change):
                self._caught_up(change.key)
                self._emit_change(change, now)  # its old row proves the order
                return
        ahead.undecided = self._arrivals
        ahead.newest = self._order.state_after(change)
        ahead.committed_at = change.committed_at
        if self._reading is not None:
            if ahead.in_flight is None or ahead.in_flight[0][0] <= self._reading:
                ahead.in_flight = []  # its contents are left over from a read that failed
            ahead.in_flight.append((self._arrivals, change))
        self._rereads[change.key] = None

    def _caught_up(self, key: Key) -> None:
        self._read_ahead.pop(key, None)
        self._rereads.pop(key, None)
        self._mark_streamed(key)

    def _emit_row(self, key: Key, row: bytes | None, at: str) -> bool:
        """Add the step from the last emitted state to `row`. Return False if they are equal."""
        before = self.state(key)
        if before == row:
            return False
        self._set.changes.append(RowChange(key, before, row, at))
        self._set.rows[key] = row
        return True
