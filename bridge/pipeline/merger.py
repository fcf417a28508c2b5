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
from bridge.pipeline.ordering import Evidence, Unknown

if TYPE_CHECKING:
    from bridge.changes import Key, Record
    from bridge.events import Event
    from bridge.projection import Projection
    from bridge.rows import Rows

AHEAD_SECONDS = 30.0
"""How long a row stays ahead of the stream when nothing of it arrives. Far longer than the stream
lags; a row that is wrongly still ahead costs one read."""

EXPIRED_AT_ONCE = 1000
"""Rows that one call of `expire` forgets; after the repair of a large table there are many."""


@dataclass(slots=True)
class _Ahead:
    """A row whose told state came from a read."""

    until: float
    undecided: int = 0  # arrival number of the newest undecided change; 0: none
    newest: bytes | Unknown | None = Unknown.UNKNOWN  # the row after that change; None: gone
    committed_at: str = ""  # when that change was committed
    flight: list[tuple[int, Change]] | None = None  # arrived during a read


@dataclass(slots=True)
class Batch:
    """What one step decided: stored together, then told."""

    events: list[Event] = field(default_factory=list)
    rows: dict[Key, bytes | None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.rows)


class Ledger:
    def __init__(self, projection: Projection, rows: Rows) -> None:
        self._projection = projection
        self._rows = rows
        self._evidence = Evidence(projection, rows)
        self._batch = Batch()
        self._ahead: dict[Key, _Ahead] = {}
        self._unread: dict[Key, None] = {}  # rows that only a read can settle, oldest first
        self._arrivals = 0
        self._reading: int | None = None  # the arrival number at which the read in flight began
        self._told: set[Key] = set()  # rows that the stream told while that read was in flight
        self._filled_until = 0.0
        self._filled_told: set[Key] = set()

    # -- looking ------------------------------------------------------------------------------

    @property
    def doubts(self) -> int:
        """Rows that wait for a read."""
        return len(self._unread)

    def state(self, key: Key) -> bytes | None:
        """The row as told last, or about to be told with the batch that is being made."""
        if key in self._batch.rows:
            return self._batch.rows[key]
        return self._rows.get(key)

    def unread(self, limit: int) -> list[Key]:
        """Rows that have to be read, oldest doubt first."""
        return list(islice(self._unread, limit))

    def differs(self, record: Record) -> bool:
        """Whether a read record is not what was told, and the stream has not spoken since."""
        key = record[self._projection.key]
        return key not in self._told and self.state(key) != self._rows.encode(record)

    # -- the stream ---------------------------------------------------------------------------

    def change(self, change: Change, now: float) -> None:
        """A change arrived from the stream. `now`: monotonic seconds."""
        if change.old_key is not None and change.old_key != change.key:
            self._renamed(change, now)
            return
        self._arrivals += 1
        ahead = self._ahead.get(change.key) or self._ahead_since_fill(change.key, now)
        if ahead is None:
            self._tell_change(change, now)
        else:
            self._weigh(ahead, change, now)

    # -- reads of the table -------------------------------------------------------------------

    def suspect(self, key: Key) -> None:
        """The table seems to know more of this row than the stream told: have it read."""
        self._unread[key] = None

    def begin_read(self) -> int:
        """A read of the table begins, one at a time. Its results are handed in with the number."""
        self._told.clear()
        self._reading = self._arrivals
        return self._arrivals

    def end_read(self) -> None:
        """The read is over, whether or not it gave anything."""
        self._told.clear()
        self._reading = None

    def observe(self, key: Key, record: Record | None, now: float, at: str) -> bool:
        """The read in flight showed this row, or its absence (`record` None).

        `at` stands in for the commit time that a read can't know. Gives True where the read told
        what the stream had not (a repair).
        """
        assert self._reading is not None, "observe belongs between begin_read and end_read"
        began = self._reading
        if key in self._told:
            return False  # the stream told the row after this read began
        read = None if record is None else self._rows.encode(record)
        ahead = self._ahead.pop(key, None)
        shown = ahead is not None and 0 < ahead.undecided <= began and ahead.newest == read
        repaired = self._tell_row(key, read, ahead.committed_at if ahead and shown else at)
        if ahead is None:
            self._unread.pop(key, None)
            if repaired:
                self._ahead[key] = _Ahead(now + AHEAD_SECONDS)
            return repaired
        later = [change for number, change in ahead.flight or () if number > began]
        if ahead.undecided <= began:
            self._unread.pop(key, None)
        if shown:
            self._told_by_stream(key)  # the stream is where the table is
        else:
            self._ahead[key] = _Ahead(now + AHEAD_SECONDS)
        for change in later:
            self.change(change, now)
        return repaired

    def fill(self, record: Record) -> None:
        """A row read on the very first start: remembered, not told."""
        self._batch.rows[record[self._projection.key]] = self._rows.encode(record)

    def forget(self, key: Key) -> None:
        """A row that an interrupted first fill left behind, and that is gone: it was never told."""
        self._batch.rows[key] = None

    def filled(self, now: float) -> None:
        """The first fill is complete: for a while every row is ahead of the stream."""
        self._filled_until = now + AHEAD_SECONDS

    # -- time and storage ---------------------------------------------------------------------

    def expire(self, now: float) -> None:
        """Forget that rows were ahead of a stream that must have passed them by now."""
        if self._filled_until and now >= self._filled_until:
            self._filled_until = 0.0
            self._filled_told.clear()
        over: list[Key] = []
        for key, ahead in self._ahead.items():
            if ahead.until > now or len(over) == EXPIRED_AT_ONCE:
                break  # in the order in which they were put
            if key not in self._unread:
                over.append(key)
        for key in over:
            del self._ahead[key]

    def take(self) -> Batch:
        """The batch so far. The caller stores it and calls `stored`. In between nobody may change
        what is in it (`change`, `observe`, `fill`, `forget`); everything else may be asked for.
        """
        return self._batch

    def stored(self) -> None:
        self._rows.apply(self._batch.rows)
        self._batch = Batch()

    # -- inside -------------------------------------------------------------------------------

    def _renamed(self, change: Change, now: float) -> None:
        """A changed key is one property gone and another one new. Values that were not sent again
        (large, unchanged) are the old row's.
        """
        assert change.old_key is not None
        record = dict(change.record)
        known = self.state(change.old_key)
        if known is not None and not change.doubtful:
            record = {**self._rows.decode(known), **record}
        self.change(Change(Op.DELETE, change.old_key, {}, change.committed_at, change.old), now)
        self.change(
            Change(
                Op.INSERT,
                change.key,
                record,
                change.committed_at,
                doubtful=change.doubtful,
                lsn=change.lsn,
            ),
            now,
        )

    def _ahead_since_fill(self, key: Key, now: float) -> _Ahead | None:
        if now >= self._filled_until or key in self._filled_told:
            return None
        ahead = self._ahead[key] = _Ahead(self._filled_until)
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

    def _tell_change(self, change: Change, now: float) -> None:
        if change.op is Op.DELETE:
            self._told_by_stream(change.key)
            self._tell_row(change.key, None, change.committed_at)
            return
        record = None if change.doubtful else self._whole(change)
        if record is None or self._evidence.seems_older(self.state(change.key), change, record):
            self._doubt(change.key, now)
            return
        if self._reading is not None and len(change.record) < len(self._rows.columns):
            # Newer than the read in flight, but with holes that were filled from what was known,
            # which a gap may have made old: neither can be believed.
            self._unread[change.key] = None
        self._told_by_stream(change.key)
        self._tell_row(change.key, self._rows.encode(record), change.committed_at)

    def _doubt(self, key: Key, now: float) -> None:
        """Something happened to this row that only a read can tell."""
        self._ahead[key] = _Ahead(now + AHEAD_SECONDS, self._arrivals)
        self._unread[key] = None

    def _told_by_stream(self, key: Key) -> None:
        if self._reading is not None:
            self._told.add(key)
        if self._filled_until:
            self._filled_told.add(key)

    def _weigh(self, ahead: _Ahead, change: Change, now: float) -> None:
        """A change of a row whose told state came from a read: older, the same, or after it?"""
        state = self.state(change.key)
        if not change.doubtful:
            if self._evidence.equals(state, change):
                self._caught_up(change.key)  # the very change that the read showed
                return
            if self._evidence.follows(state, change):
                self._caught_up(change.key)
                self._tell_change(change, now)  # its old row vouches for it
                return
        ahead.undecided = self._arrivals
        ahead.newest = self._evidence.after(change)
        ahead.committed_at = change.committed_at
        if self._reading is not None:
            if ahead.flight is None or ahead.flight[0][0] <= self._reading:
                ahead.flight = []  # what it held is left over from a read that failed
            ahead.flight.append((self._arrivals, change))
        self._unread[change.key] = None

    def _caught_up(self, key: Key) -> None:
        self._ahead.pop(key, None)
        self._unread.pop(key, None)
        self._told_by_stream(key)

    def _tell_row(self, key: Key, row: bytes | None, at: str) -> bool:
        """Put the step from the told state to `row` into the batch. False: there is none."""
        told = self.state(key)
        if told == row:
            return False
        self._batch.events += diff.tell(
            self._projection,
            key,
            None if told is None else self._rows.decode(told),
            None if row is None else self._rows.decode(row),
            at,
        )
        self._batch.rows[key] = row
        return True
