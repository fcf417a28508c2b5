"""Makes events of row changes and appends them to the log: the sink of the listings."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

from bridge.pipeline.diff import events_between

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bridge.changes import Key, Record
    from bridge.events import Event
    from bridge.log.base import EventLog, Progress
    from bridge.pipeline.merger import RowChangeSet
    from bridge.projection import Projection
    from bridge.replica import Replica
    from bridge.rows import RowChange, RowStore


def events_of(projection: Projection, rows: RowStore, changes: Iterable[RowChange]) -> list[Event]:
    """Return the events of `changes`, in order. `rows` decodes their states."""
    decode = rows.decode
    events: list[Event] = []
    for change in changes:
        before, after = change.before, change.after
        events += events_between(
            projection,
            change.key,
            None if before is None else decode(before),
            None if after is None else decode(after),
            change.committed_at,
        )
    return events


class AddNotifications(Protocol):
    """Inserts notifications after the events that they belong to. Must not raise or block."""

    def __call__(
        self, events: Sequence[Event], row_of: Callable[[Key], Record | None], /
    ) -> Sequence[Event]:
        """`row_of` returns the public columns of a row after these events; None: deleted."""
        ...


class EventSink:
    """Implements `pipeline.RowSink`: makes events of row changes and appends both to the log.

    The rows that the pipeline compares with are those of a replica that follows the same log and
    runs in this process, so that they are kept once. A commit waits until it is applied there.
    """

    def __init__(
        self,
        projection: Projection,
        log: EventLog,
        replica: Replica,
        *,
        add_notifications: AddNotifications | None = None,
    ) -> None:
        self.rows = replica.rows
        self.counts: Counter[str] = Counter()
        self._projection = projection
        self._log = log
        self._replica = replica
        self._add_notifications = add_notifications

    @property
    def progress(self) -> Progress:
        return self._log.progress

    async def commit(self, changes: RowChangeSet, progress: Progress | None = None) -> None:
        events: Sequence[Event] = events_of(self._projection, self.rows, changes.changes)
        if self._add_notifications is not None:
            events = self._add_notifications(events, lambda key: self._public(changes.rows, key))
        commit = await self._log.append(events, list(changes.rows.items()), progress)
        await self._replica.applied(commit)
        for event in events:
            self.counts[event.name if "public" in event.views else "member-events"] += 1

    async def store_progress(self, progress: Progress) -> None:
        await self._log.append((), (), progress)

    def _public(self, rows: Mapping[Key, bytes | None], key: Key) -> Record | None:
        row = rows[key] if key in rows else self.rows.get(key)
        if row is None:
            return None
        known = self.rows.decode(row)
        return {column: known[column] for column in self._projection.published if column in known}
