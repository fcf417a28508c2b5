"""What one client hears, applied as a browser would apply it, and what can't be true of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from bridge.log.base import Position
from bridge.rooms import regions_of
from tests.chaos.facts import Facts, brief
from tests.chaos.span import Spans
from tests.chaos.subscription import Subscription
from tests.chaos.truth import MARK, Row, fits
from tests.chaos.violation import Kind, Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bridge.projection import Projection
    from tests.chaos.world import World


@dataclass(frozen=True, slots=True)
class Telling:
    """A client was told that a property is in this state. `fresh`: by a snapshot."""

    key: str
    state: Row | None
    at: float
    fresh: bool


class Story:
    """`snapshots`: whether the client takes them, so that it ought to know all that it asked for.

    `clock` gives seconds since the beginning of it all.
    """

    def __init__(
        self,
        name: str,
        projection: Projection,
        world: World,
        clock: Callable[[], float],
        *,
        snapshots: bool,
        batches: bool,
    ) -> None:
        self.name = name
        self.snapshots = snapshots
        self.batches = batches
        self.rows: dict[str, Row] = {}
        self.subscription = Subscription()
        self.connected = False
        self.whole = False
        """Whether it has had the last page of a snapshot of all that it hears."""
        self.spans = Spans()
        self.tellings: list[Telling] = []
        self.violations: list[Violation] = []
        self.counts: Counter[str] = Counter()
        self.position: Position | None = None
        self._spoke = False  # whether an event stood there, and not only word of the state
        self._asking = False
        self._doubt = False  # whether a request was under way when the connection ended
        self._was_whole = False
        self._projection = projection
        self._world = world
        self._clock = clock
        self.facts = Facts()

    # -- what happens ---------------------------------------------------------------------------

    def came(self, auth: Mapping[str, Any], *, recovered: bool, transport: str = "") -> None:
        """It is connected."""
        self._note("", f"connected by {transport}, {'recovered' if recovered else 'fresh'}")
        self.connected = True
        self.counts["connects"] += 1
        self.counts["recovered" if recovered else "fresh"] += 1
        if recovered:
            return
        self.rows.clear()
        self.whole = self._doubt = False
        self.position = None
        self.subscription = Subscription.of_handshake(auth)
        self.spans.begin(self.subscription)

    def went(self, reason: str) -> None:
        self._note("", f"disconnected: {reason}")
        self.connected = False
        if self._asking:
            # Nobody knows whether the bridge has heard it, and what it tells from there on.
            self._asking, self._doubt = False, True
            self._was_whole, self.whole = self.whole or self._was_whole, False
            self.spans.doubt()

    def asked(self) -> None:
        """It asks to hear something else, or for a page of a snapshot."""
        self._asking = True
        if not self._doubt:
            self._was_whole = self.whole
            self.spans.remember()

    def answered(self, request: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """An ack of `subscribe` or `unsubscribe` came."""
        rows = answer.get("snapshot")
        told = {k: v for k, v in answer.items() if k != "snapshot"}
        self._note("", f"{request['name']} {request['argument']}: {told}, {len(rows or ())} rows")
        self._asking = False
        if not answer["ok"]:
            self.counts["refused"] += 1
            return
        position = Position.parse(answer["offset"]) if "offset" in answer else None
        before, self.subscription = self.subscription, Subscription.of_ack(answer)
        if self.subscription != before or self._doubt:
            at = (None, 0) if position is None else (position.epoch, position.seq)
            self.spans.change(self.subscription, *at)
            self.rows = {key: row for key, row in self.rows.items() if self._still(key, row)}
        self._doubt = False
        if rows is None:
            self.whole = self._was_whole
            return
        if "after" not in request["argument"]:
            self.counts["snapshots"] += 1
        if not self.snapshots:
            return
        self._page({row["property_id"]: row for row in rows}, position)
        self.whole = "more" not in answer

    def told(self, envelope: dict[str, Any], position: str | None) -> None:
        """An event came."""
        self.counts["frames"] += 1
        text = orjson.dumps(envelope)
        place = None if position is None else Position.parse(position)
        if position is not None and place is None:
            self._complain(Kind.MALFORMED, "", f"position {position!r}")
        name, data = envelope["event"], envelope["data"]
        events = data["events"] if name == "properties-batch" else [envelope]
        speaks = name != "bridge-status"
        if place is not None:
            self._move(place, speaks=speaks)
        if not speaks:
            self._note("", f"{position} bridge-status {data['state']}")
            return
        if place is not None and not self.batches:
            found = self._world.hear(self.name, place, text, self._clock())
            if found is not None:
                self.violations.append(found)
        if MARK.encode() in text:
            self._complain(Kind.UNPUBLISHED, "", f"{position} {text.decode()[:300]}")
        for event in events:
            self.counts["events"] += 1
            key = event["data"]["property_id"]
            self._note(key, f"{position} {event['event']} {brief(event['data'])}")
            self._apply(event["event"], key, event["data"])

    # -- what it comes to -----------------------------------------------------------------------

    def differs(self, table: Mapping[str, Row]) -> Iterator[tuple[str, str]]:
        """Properties that it knows otherwise than `table` says, and how."""
        region = self._projection.region
        for key, row in self.rows.items():
            there = table.get(key)
            if there is None:
                yield key, f"holds {row}, and there is none"
            elif not fits(row, there):
                wrong = {c: (v, there[c]) for c, v in row.items() if v != there[c]}
                yield key, f"(held, true): {wrong}"
            elif self.subscription.hears(key, regions_of(there, region)) is False:
                yield key, "holds it, and it is elsewhere"
        if not self.snapshots:
            return
        for key, there in table.items():
            if key not in self.rows and self.subscription.hears(key, regions_of(there, region)):
                yield key, f"doesn't know {there}"

    # -- inside ---------------------------------------------------------------------------------

    def _move(self, place: Position, *, speaks: bool) -> None:
        """Events stand at rising positions; word of the bridge's state stands at the head."""
        before = self.position
        if before is not None:
            if before.epoch != place.epoch:
                self._complain(Kind.DISORDERED, "", f"{place} after {before}, and it recovered")
            elif place.seq == before.seq and speaks and self._spoke:
                self._complain(Kind.REPEATED, "", f"position {place} came again")
            elif place.seq < before.seq:
                self._complain(Kind.DISORDERED, "", f"position {place} after {before}")
        self.position = place
        self._spoke = speaks or (place == before and self._spoke)
        self.spans.reach(place.epoch, place.seq, heard=speaks)

    def _page(self, rows: Mapping[str, dict[str, Any]], position: Position | None) -> None:
        needed = {"property_id", *self._projection.published}
        for key, data in rows.items():
            if data.keys() != needed:
                self._complain(Kind.MALFORMED, key, f"a row of fields {sorted(data)}")
                continue
            row = {column: data[column] for column in self._projection.published}
            known = self.rows.get(key)
            if known is not None and known != row:
                self._complain(Kind.SNAPSHOT, key, f"{row} at {position}, held {known}")
            self.rows[key] = row
            self.tellings.append(Telling(key, dict(row), self._clock(), fresh=True))
        if MARK in str(rows):
            self._complain(Kind.UNPUBLISHED, "", "in a snapshot")
        if position is not None:
            self._world.page(self.name, position, {key: dict(self.rows[key]) for key in rows})

    def _apply(self, name: str, key: str, data: dict[str, Any]) -> None:
        match name:
            case "property-created":
                self._created(key, data)
            case "property-updated":
                self._updated(key, data)
            case "property-deleted":
                self._say_exactly(key, data, {"property_id", "deleted_at"})
                if self.rows.pop(key, None) is None and self.whole:
                    self._complain(Kind.WRONG_OLD, key, "is deleted, and was not known")
                self._tell(key, None)
            case other:
                self._complain(Kind.MALFORMED, key, f"an event {other}")

    def _created(self, key: str, data: dict[str, Any]) -> None:
        self._say_exactly(key, data, {"property_id", *self._projection.published})
        if key in self.rows and not self._doubt:
            self._complain(Kind.WRONG_OLD, key, "is created, and was known")
        self.rows[key] = {column: data.get(column) for column in self._projection.published}
        self._tell(key, self.rows[key])

    def _updated(self, key: str, data: dict[str, Any]) -> None:
        self._say_exactly(
            key, data, {"property_id", "changes", "updated_at"}, {"moved", "property"}
        )
        known, moved = self.rows.get(key), data.get("moved")
        self._say_exactly(key, data["changes"], set(), set(self._projection.published))
        if not data["changes"]:
            self._complain(Kind.MALFORMED, key, "is updated, and nothing changed")
        state = dict(known or {})
        for column, change in data["changes"].items():
            # While nobody knows what the bridge lets it hear, a change may pass it by.
            if column in state and state[column] != change["old"] and not self._doubt:
                what = f"{column} was {str(change['old'])[:80]}, told was {str(state[column])[:80]}"
                self._complain(Kind.WRONG_OLD, key, what)
            if change["old"] == change["new"]:
                self._complain(Kind.MALFORMED, key, f"{column} did not change")
            state[column] = change["new"]
        if moved:
            self._moved(key, data, known, state)
        elif known is None and self.snapshots:
            if self.whole:
                self._complain(Kind.WRONG_OLD, key, "is updated, and was not known")
            # Else a later page has it as it is then.
        else:
            self.rows[key] = state
            self._tell(key, state)

    def _moved(self, key: str, data: dict[str, Any], known: Row | None, state: Row) -> None:
        moved, region = data["moved"], self._projection.region
        row = {column: data["property"].get(column) for column in self._projection.published}
        if list(regions_of(row, region)) != moved["to"]:
            self._complain(Kind.MALFORMED, key, f"moved to {moved['to']}, and is in another place")
        if self._doubt:
            known = None
        if known is not None and not fits(state, row):
            self._complain(Kind.WRONG_OLD, key, "moved, and the whole property is another one")
        if known is not None and all(column in known for column in region):
            before = list(regions_of(known, region))
            if before != moved["from"]:
                self._complain(Kind.WRONG_OLD, key, f"moved from {moved['from']}, was in {before}")
        if self.whole:
            owed = self.subscription.hears(key, moved["from"])
            if owed is not (known is not None):
                self._complain(Kind.WRONG_OLD, key, f"moved, known: {known is not None}")
        if self.subscription.hears(key, moved["to"]):
            self.rows[key] = row
        else:
            self.rows.pop(key, None)
        self._tell(key, row)

    def _still(self, key: str, row: Row) -> bool:
        """Whether a property that it holds is still its business; no where that can't be said."""
        region = self._projection.region
        known = all(column in row for column in region)
        return self.subscription.hears(key, regions_of(row, region) if known else None) is True

    def _tell(self, key: str, state: Row | None) -> None:
        copied = None if state is None else dict(state)
        self.tellings.append(Telling(key, copied, self._clock(), fresh=False))

    def _say_exactly(
        self, key: str, data: Mapping[str, Any], needed: set[str], possible: set[str] | None = None
    ) -> None:
        missing, extra = needed - data.keys(), data.keys() - needed - (possible or set())
        if missing:
            self._complain(Kind.MALFORMED, key, f"fields missing: {sorted(missing)}")
        if extra:
            self._complain(Kind.UNPUBLISHED, key, f"fields too many: {sorted(extra)}")

    def _note(self, key: str, text: str) -> None:
        self.facts.note(self._clock(), key, text)

    def _complain(self, kind: Kind, key: str, what: str) -> None:
        at = self._clock()
        self.violations.append(
            Violation(kind, self.name, what, at, key, self.facts.around(key, at))
        )
