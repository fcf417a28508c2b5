"""What is read next, and when. Pure: times are passed in, monotonic seconds.

After a gap:

- in a small table, or where there is no cursor, a **pass** over all rows;
- in a large one a **pass over recent rows**, those that `updated_at` says were changed since;
  then a walk over the **keys**, which finds what is gone and what is unknown; then, at leisure, a
  walk over the **rows**, which finds what `updated_at` did not show: a column that does not move
  with every write, a transaction that was open for longer than the cursor stays behind.

And all the time, every few seconds a **look** at recent rows; more rarely, the keys, or the rows
where there is no `updated_at`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bridge.changes import Gap, GapReason
from bridge.pipeline.table_scan import Kind, Unseen, Walk

if TYPE_CHECKING:
    from bridge.settings import Settings

SWEEP_SHARE: Final = 0.2
"""The share of time in which walks that nobody waits for may keep the database busy."""

BRISK_SHARE: Final = 0.5
"""The same right after a gap, when clients wait for what they missed: as much is left for others
as is taken."""


class Agenda:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._timed = bool(settings.updated_at)
        self._gap: Gap | None = None
        self._fill = False
        self._pass: Walk | None = None
        self._look: Walk | None = None
        self._keys: Walk | None = None
        self._keys_again: Gap | None = None
        self._rows: Walk | None = None
        self._rows_again: Gap | None = None
        self._after_keys: Gap | None = None  # the rows are walked over when the keys are done
        self._look_due = self._keys_due = self._rows_due = float("inf")
        self._paced_until = 0.0
        self.passes = 0

    @property
    def catching_up(self) -> bool:
        """Whether what a gap made doubtful is being looked for; not at leisure."""
        return (
            self._gap is not None
            or self._pass is not None
            or self._keys_again is not None
            or (self._keys is not None and self._keys.catches_up)
        )

    @property
    def walking(self) -> Walk | None:
        """What is under way, the most urgent first."""
        return self._pass or self._look or self._keys or self._rows

    def gap(self, gap: Gap, *, fill: bool = False) -> None:
        """Something may be missing. It never ends what is under way: where gaps come all the time,
        nothing would ever be done.
        """
        self._gap = gap
        self._fill = self._fill or fill

    def sweep(self, at: float) -> None:
        """Walk over the keys at that time, if it would be later."""
        self._keys_due = min(self._keys_due, at)

    def next(self, now: float, *, rows: int, since: str | None) -> Walk | None:
        """The walk of which a step is due; None: not before `due`. `rows` are known, `since` is
        the cursor.
        """
        if self._pass is None and self._gap is not None:
            self._begin_pass(self._gap, rows, since)
        if self._look is None and now >= self._look_due:
            self._look = Walk(Kind.RECENT, "look at recent rows", since=since)
        if self._keys is None and now >= self._keys_due:
            self._keys = Walk(Kind.KEYS, "walk over the keys", SWEEP_SHARE, unseen=Unseen())
        if self._rows is None and now >= self._rows_due:
            self._rows = Walk(Kind.ROWS, "walk over the rows", SWEEP_SHARE, unseen=Unseen())
        return next((walk for walk in self._under_way() if self._time_of(walk) <= now), None)

    def due(self) -> float:
        """When `next` will have something."""
        times = [self._time_of(walk) for walk in self._under_way()]
        if self._look is None:
            times.append(self._look_due)
        if self._keys is None:
            times.append(self._keys_due)
        if self._rows is None:
            times.append(self._rows_due)
        return min(times)

    def stepped(self, walk: Walk, seconds: float, now: float) -> None:
        """A step of `walk` kept the database busy for so long, at the most."""
        if walk.share < 1:
            self._paced_until = now + seconds * (1 / walk.share - 1)

    def done(self, walk: Walk, now: float) -> None:
        """`walk` is over."""
        pause = max(self._settings.sweep_interval, (now - walk.started) / SWEEP_SHARE)
        if walk is self._look:
            self._look = None
            self._look_due = now + self._settings.watch_interval
        elif walk is self._pass:
            self._pass = None
            self._pass_done(walk, now, pause)
        elif walk is self._keys:
            self._keys_done(walk, now, pause)
        elif walk is self._rows:
            again, self._rows_again = self._rows_again, None
            self._rows = None if again is None else self._whole(again)
            self._rows_due = float("inf") if self._timed else now + pause

    def _under_way(self) -> list[Walk]:
        # The keys wait for the pass before them; no look is needed while recent rows are passed.
        if self._pass is not None and self._pass.kind is Kind.RECENT:
            return [self._pass]
        walks = (self._pass, self._look, self._keys, self._rows)
        return [walk for walk in walks if walk is not None]

    def _time_of(self, walk: Walk) -> float:
        return self._paced_until if walk.share < 1 else 0.0

    def _begin_pass(self, gap: Gap, rows: int, since: str | None) -> None:
        why, fill = gap.reason.value, self._fill
        self._gap, self._fill = None, False
        if fill or rows <= self._settings.pass_rows or since is None:
            # It finds all that the others would.
            self._look = self._keys = self._rows = None
            self._keys_again = self._rows_again = self._after_keys = None
            self._look_due = self._keys_due = self._rows_due = float("inf")
            large = not fill and rows > self._settings.pass_rows
            self._pass = Walk(
                Kind.ROWS,
                f"pass over the table ({why})",
                BRISK_SHARE if large else 1.0,
                at_once=True,
                fill=fill,
                catches_up=True,
                unseen=Unseen(),
            )
            return
        self._pass = Walk(
            Kind.RECENT,
            f"pass over recent rows ({why})",
            at_once=True,
            catches_up=True,
            since=since,
        )
        self._look = None
        # What is under way may have passed the place where something is missing.
        self._after_keys = gap
        if self._keys is not None:
            self._keys_again = gap
            self._keys.share = BRISK_SHARE

    def _pass_done(self, walk: Walk, now: float, pause: float) -> None:
        if self._timed:
            self._look_due = now + self._settings.watch_interval
        if walk.kind is Kind.ROWS:
            self.passes += 1
            if self._timed:
                self._keys_due = now + pause
            else:
                self._rows_due = now + pause
        elif self._keys is None:
            self._keys = self._brisk(self._after_keys)

    def _keys_done(self, walk: Walk, now: float, pause: float) -> None:
        again, self._keys_again = self._keys_again, None
        self._keys = None if again is None else self._brisk(again)
        self._keys_due = now + pause
        if self._keys is not None or not walk.catches_up:
            return
        self.passes += 1
        gap, self._after_keys = self._after_keys, None
        if self._rows is not None:
            self._rows_again = gap
        else:
            self._rows = self._whole(gap)

    def _brisk(self, gap: Gap | None) -> Walk:
        return Walk(
            Kind.KEYS,
            f"walk over the keys ({_why(gap)})",
            BRISK_SHARE,
            at_once=True,
            catches_up=True,
            unseen=Unseen(),
        )

    def _whole(self, gap: Gap | None) -> Walk:
        # What is gone is found by walks over the keys.
        return Walk(Kind.ROWS, f"walk over the rows ({_why(gap)})", SWEEP_SHARE)


def _why(gap: Gap | None) -> str:
    return (gap.reason if gap else GapReason.SUBSCRIBED).value
