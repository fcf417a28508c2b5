"""A client that applies snapshots and events as the contract defines, and records violations."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from bridge.log.base import Position
from bridge.rooms import regions_of
from tests.support.expected_table import UNPUBLISHED_MARK, Row, differences, matches
from tests.support.history import parse_in_history
from tests.support.observations import Observations, brief
from tests.support.subscription import Subscription
from tests.support.violations import Kind, Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from bridge.log.base import Entry
    from bridge.projection import Projection


@dataclass(frozen=True, slots=True)
class ReceivedState:
    """A state of a property as the client received it, in an event or in a snapshot."""

    key: str
    state: Row | None
    at: float
    from_snapshot: bool
    completes_former: bool = False
    """Whether it is the state received before it, with columns that were unknown then."""
    follows: bool = False
    """Whether the client held the row before it, and receives every event by itself."""


class ModelClient:
    """Holds the rows that a client of the contract holds, and checks each event against them.

    With `snapshots`, the client takes snapshots and has to hold every row of its subscription; an
    event of a row that it lacks is a violation then. Without, it holds what events name. `batches`:
    positions are those of batches. `clock` returns seconds since the start of the test.

    Violations found at once are in `violations`; the states in `received` are for `StateChecker`.
    """

    def __init__(
        self,
        projection: Projection,
        *,
        name: str = "client",
        snapshots: bool = True,
        batches: bool = False,
        null_columns: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`null_columns`: columns of the contract that are not published, which may be null."""
        self.name = name
        self.snapshots = snapshots
        self.batches = batches
        self.rows: dict[str, Row] = {}
        self.subscription = Subscription()
        self.complete = False
        """Whether the last page of a snapshot of the whole subscription was applied."""
        self.uncertain = False
        """Whether the subscription in force is unknown, because the connection ended before the ack
        of a request. Until the next ack an event may be missing without a violation."""
        self.position: Position | None = None
        self.received: list[ReceivedState] = []
        self.violations: list[Violation] = []
        self.counts: Counter[str] = Counter()
        self.may_go_back = False
        """Whether a new session may begin with an earlier snapshot than the one before: the client
        does not send what it has received, and another machine may be behind."""
        self.observations = Observations()
        self._projection = projection
        self._clock = clock
        self._null_columns = null_columns
        self._hides_regions = not set(projection.region) <= set(projection.published)
        self._event_at_position = False  # else only a status event
        self._resumed = False  # recovered, and no position received since
        self._changed = asyncio.Event()

    # -- input ----------------------------------------------------------------------------------

    def start(self, subscription: Subscription | None = None) -> None:
        """Start a session that is not a recovered one: no row and no position is left."""
        self.rows.clear()
        self.complete = self.uncertain = False
        self.position = None
        self.subscription = subscription or Subscription()

    def resume(self) -> None:
        """Go on in a recovered session. Its history may have another epoch by now: a machine of a
        shared log begins one if it starts while no other one runs.
        """
        self._resumed = True

    def load(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        """Apply a snapshot of one page, given as columns by key; start a session with it."""
        self.start()
        published = self._projection.published
        page = [{"property_id": key} | {c: row[c] for c in published} for key, row in rows.items()]
        self.apply_page(page, None, last=True)

    def subscribe(self, subscription: Subscription) -> None:
        """Change the subscription; rows outside of it are dropped, by the contract."""
        self.subscription = subscription
        self.uncertain = False
        self.rows = {key: row for key, row in self.rows.items() if self._included(key, row)}

    def apply_page(
        self, rows: Iterable[Mapping[str, Any]], position: Position | None, *, last: bool
    ) -> None:
        """Apply a page of a snapshot that holds at `position`."""
        needed = {"property_id", *self._projection.published}
        for data in rows:
            key = data["property_id"]
            if data.keys() != needed:
                self.violate(Kind.MALFORMED, key, f"a row with the fields {sorted(data)}")
                continue
            row = {column: data[column] for column in self._projection.published}
            held = self.rows.get(key)
            if held is not None and held != row:
                self.violate(Kind.SNAPSHOT, key, f"{row} at {position}, held {held}")
            if UNPUBLISHED_MARK in str(row):
                self.violate(Kind.UNPUBLISHED, key, "an unpublished value in a snapshot")
            self.rows[key] = row
            self._receive(key, row, from_snapshot=True)
        self.complete = last
        self._changed.set()

    def receive_entries(self, entries: Iterable[Entry]) -> None:
        """Receive entries of the log; takes the place of the gateway."""
        for entry in entries:
            self.receive(orjson.loads(entry.event.envelope), str(entry.position))

    def receive(self, envelope: Mapping[str, Any], position: str | None = None) -> None:
        """Receive an event, a batch or a status event, with its `position`."""
        self.counts["frames"] += 1
        parsed = None if position is None else parse_in_history(position)
        if position is not None and parsed is None:
            self.violate(Kind.MALFORMED, "", f"position {position!r}")
        name, data = envelope["event"], envelope["data"]
        is_status = name == "bridge-status"
        if parsed is not None:
            self._advance(parsed, is_event=not is_status)
        if is_status:
            self.observe("", f"{position} bridge-status {data['state']}")
            return
        text = orjson.dumps(envelope)
        self._on_envelope(parsed, text)
        if UNPUBLISHED_MARK.encode() in text:
            self.violate(Kind.UNPUBLISHED, "", f"{position} {text.decode()[:300]}")
        for event in data["events"] if name == "properties-batch" else [envelope]:
            self.counts["events"] += 1
            key = event["data"]["property_id"]
            self.observe(key, f"{position} {event['event']} {brief(event['data'])}")
            self._apply(event["event"], key, event["data"])
        self._changed.set()

    # -- result ---------------------------------------------------------------------------------

    @property
    def states(self) -> list[Row | None]:
        """States received in events, of all properties, in order."""
        return [received.state for received in self.received if not received.from_snapshot]

    async def until(self, reached: Callable[[], bool], seconds: float) -> float:
        """Wait until an event makes `reached` true; return the seconds that took.

        Raises `TimeoutError` after `seconds`.
        """
        began = time.monotonic()
        async with asyncio.timeout(seconds):
            while not reached():
                self._changed.clear()
                await self._changed.wait()
        return time.monotonic() - began

    def differences(self, table: Mapping[str, Row]) -> Iterator[tuple[str, str]]:
        """Yield the key of each property that differs from `table`, and how.

        A row outside of the subscription differs too, and with snapshots a row that lacks. Without
        them only the columns that are held are compared.
        """
        region = self._projection.region
        for key, text in differences(self.rows, table):
            if key in self.rows or (
                self.snapshots and self.subscription.includes(key, regions_of(table[key], region))
            ):
                yield key, text
        for key in self.rows.keys() & table.keys():
            if self.subscription.includes(key, regions_of(table[key], region)) is False:
                yield key, "holds it, outside of its subscription"

    def observe(self, key: str, text: str) -> None:
        self.observations.add(self._clock(), key, text)

    def violate(self, kind: Kind, key: str, text: str) -> None:
        """Record a violation, with the recent observations of the property."""
        at = self._clock()
        context = self.observations.around(key, at)
        self.violations.append(Violation(kind, self.name, text, at, key, context))

    # -- hooks ----------------------------------------------------------------------------------

    def _on_position(self, position: Position, *, is_event: bool) -> None:
        """Called for each frame with a position."""

    def _on_envelope(self, position: Position | None, text: bytes) -> None:
        """Called for each event or batch, before it is applied."""

    # -- application ----------------------------------------------------------------------------

    def _advance(self, position: Position, *, is_event: bool) -> None:
        """Events have rising positions; a status event has the position of the head."""
        before = self.position
        if before is not None:
            if before.epoch != position.epoch and not self._resumed:
                self.violate(Kind.DISORDERED, "", f"{position} after {before} in one session")
            elif position.seq == before.seq and is_event and self._event_at_position:
                self.violate(Kind.REPEATED, "", f"position {position} twice")
            elif position.seq < before.seq:
                self.violate(Kind.DISORDERED, "", f"position {position} after {before}")
        self._event_at_position = is_event or (position == before and self._event_at_position)
        self._resumed = False
        self.position = position
        self._on_position(position, is_event=is_event)

    def _apply(self, name: str, key: str, data: Mapping[str, Any]) -> None:
        match name:
            case "property-created":
                self._apply_created(key, data)
            case "property-updated":
                self._apply_updated(key, data)
            case "property-deleted":
                self._check_fields(key, data, {"property_id", "deleted_at"})
                held = self.rows.pop(key, None)
                if held is None and self.complete:
                    self.violate(Kind.WRONG_OLD, key, "deleted, and was not held")
                self._receive(key, None, held=held)
            case other:
                self.violate(Kind.MALFORMED, key, f"an event {other}")

    def _apply_created(self, key: str, data: Mapping[str, Any]) -> None:
        self._check_row(key, data)
        if key in self.rows and not self.uncertain:
            self.violate(Kind.WRONG_OLD, key, "created, and was held")
        self.rows[key] = {column: data.get(column) for column in self._projection.published}
        self._receive(key, self.rows[key])

    def _apply_updated(self, key: str, data: Mapping[str, Any]) -> None:
        optional = {"moved", "property"}
        self._check_fields(key, data, {"property_id", "changes", "updated_at"}, optional)
        self._check_fields(key, data["changes"], set(), set(self._projection.published))
        held, moved = self.rows.get(key), data.get("moved")
        if not data["changes"] and not (moved and self._hides_regions):
            self.violate(Kind.MALFORMED, key, "updated, and nothing changed")
        state = dict(held or {})
        if held and not self.uncertain:
            self._learn_old_values(key, held, data["changes"])
        for column, change in data["changes"].items():
            if column in state and state[column] != change["old"] and not self.uncertain:
                old, known = str(change["old"])[:80], str(state[column])[:80]
                self.violate(Kind.WRONG_OLD, key, f"{column} was {known}, its old value is {old}")
            if change["old"] == change["new"]:
                self.violate(Kind.MALFORMED, key, f"{column} did not change")
            state[column] = change["new"]
        if moved:
            self._apply_moved(key, data, held, state)
            return
        before, after = self._regions(held), self._regions(state)
        if before is not None and before != after and not self.uncertain:
            self.violate(Kind.MALFORMED, key, f"moved from {before} to {after} without `moved`")
        if held is None and self.snapshots:
            if self.complete:
                self.violate(Kind.WRONG_OLD, key, "updated, and was not held")
            # Otherwise a later page of the snapshot has the row.
        else:
            self.rows[key] = state
            self._receive(key, state, held=held)

    def _learn_old_values(self, key: str, held: Row, changes: Mapping[str, Any]) -> None:
        """Complete the state before an update by the old values of columns that were not held: a
        client without snapshots may have received an earlier large value without seeing it.
        """
        learned = {c: change["old"] for c, change in changes.items() if c not in held}
        if learned:
            self.received.append(
                ReceivedState(key, {**held, **learned}, self._clock(), True, completes_former=True)
            )

    def _apply_moved(self, key: str, data: Mapping[str, Any], held: Row | None, state: Row) -> None:
        moved, whole = data["moved"], data.get("property", {})
        self._check_row(key, whole)
        row = {column: whole.get(column) for column in self._projection.published}
        if moved["from"] == moved["to"]:
            self.violate(Kind.MALFORMED, key, f"moved from {moved['from']} to the same")
        regions = self._regions(row)
        if regions is not None and regions != moved["to"]:
            self.violate(Kind.MALFORMED, key, f"moved to {moved['to']}, its row is in {regions}")
        if self.uncertain:
            held = None
        if held is not None and not matches(state, row):
            self.violate(Kind.WRONG_OLD, key, "moved, and its row does not follow from the changes")
        before = self._regions(held)
        if before is not None and before != moved["from"]:
            self.violate(Kind.WRONG_OLD, key, f"moved from {moved['from']}, was in {before}")
        if self.complete:
            expected = self.subscription.includes(key, moved["from"])
            if expected is not (held is not None):
                self.violate(Kind.WRONG_OLD, key, f"moved, held before: {held is not None}")
        if self.subscription.includes(key, moved["to"]):
            self.rows[key] = row
        else:
            self.rows.pop(key, None)
        self._receive(key, row, held=held)

    def _included(self, key: str, row: Row) -> bool:
        """Return whether a held row is in the subscription; False where that is undecided."""
        return self.subscription.includes(key, self._regions(row)) is True

    def _regions(self, row: Row | None) -> list[str] | None:
        """Return the regions of a row, or None if a column of them is unknown."""
        region = self._projection.region
        if row is None or any(column not in row for column in region):
            return None
        return list(regions_of(row, region))

    def _receive(
        self,
        key: str,
        state: Row | None,
        *,
        from_snapshot: bool = False,
        held: Row | None = None,
    ) -> None:
        copied = None if state is None else dict(state)
        # Batches have the net change of several events of a property.
        single = self.snapshots and not self.batches
        everything = single and self.complete and self.subscription.regions is None
        follows = everything and held is not None and not self.uncertain
        self.received.append(
            ReceivedState(key, copied, self._clock(), from_snapshot, follows=follows)
        )

    def _check_row(self, key: str, data: Mapping[str, Any]) -> None:
        nulls = {column for column in self._null_columns if data.get(column, ...) is None}
        self._check_fields(key, data, {"property_id", *self._projection.published}, nulls)

    def _check_fields(
        self,
        key: str,
        data: Mapping[str, Any],
        needed: set[str],
        optional: set[str] | None = None,
    ) -> None:
        missing, extra = needed - data.keys(), data.keys() - needed - (optional or set())
        if missing:
            self.violate(Kind.MALFORMED, key, f"missing fields: {sorted(missing)}")
        if extra:
            self.violate(Kind.UNPUBLISHED, key, f"unexpected fields: {sorted(extra)}")
