"""A client that applies batches has the same state as one that applies the single events."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.changes import json_equal
from bridge.gateway.delivery import coalesce as batch
from bridge.gateway.subscription import Subscription
from bridge.log.base import Entry, Position
from bridge.pipeline import diff
from bridge.projection import Projection
from tests.support.examples import examples

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.events import Event

PROJECTION = Projection(
    key="id",
    published=("name", "state", "price", "notes", "updated_at"),
    region=("state", "city"),
    updated_at="updated_at",
)
Row = dict[str, Any]

values = st.sampled_from([None, 1, 2, True, "x", {"a": [1]}])
rows = st.fixed_dictionaries(
    {
        "name": values,
        "state": st.sampled_from([None, "TX", "CA"]),
        "city": st.sampled_from(["Austin", "Reno"]),
        "price": values,
        "notes": values,
    }
)
histories = st.dictionaries(
    st.sampled_from("abc"), st.lists(st.none() | rows, min_size=1, max_size=6), min_size=1
)
"""The states of each property, None where it doesn't exist."""
subscriptions = st.sampled_from(
    [
        Subscription(),
        Subscription(("TX",)),
        Subscription(("CA",)),
        Subscription(("TX/Austin", "CA")),
        Subscription((), ("a",)),
        Subscription(("CA/Reno",), ("b",)),
    ]
)


@dataclass
class Client:
    """Applies events as the contract specifies, and keeps the properties of its subscription."""

    subscription: Subscription
    known: dict[Any, Row]

    def apply(self, envelopes: Iterable[bytes]) -> Client:
        for envelope in envelopes:
            event = orjson.loads(envelope)
            self._apply(event["event"], event["data"])
        return self

    def _apply(self, name: str, data: Row) -> None:
        key = data["property_id"]
        if name == "property-created":
            self.known[key] = data
        elif name == "property-deleted":
            self.known.pop(key, None)
        elif "moved" in data:
            self.known.pop(key, None)
            if self._mine(key, data["moved"]["to"]):
                self.known[key] = data["property"]
        elif key in self.known:
            row = self.known[key] = dict(self.known[key])
            for column, change in data["changes"].items():
                assert row[column] == change["old"]
                row[column] = change["new"]
            row["updated_at"] = data["updated_at"]

    def _mine(self, key: Any, regions: list[str]) -> bool:
        mine = self.subscription
        return (
            mine.regions is None
            or key in mine.properties
            or not set(regions).isdisjoint(mine.regions)
        )


@st.composite
def stories(draw: st.DrawFn) -> tuple[dict[Any, Row], list[Entry]]:
    """Draw the table at the beginning, and the entries after that."""
    states = draw(histories)
    steps = [
        (key, number, before, after)
        for key, history in states.items()
        for number, (before, after) in enumerate(pairwise(history))
    ]
    order = draw(st.permutations(range(len(steps))))
    # Interleaved, but each property's own steps in their order.
    queues = {key: [step for step in steps if step[0] == key] for key in states}
    turns = [steps[index][0] for index in order]
    entries: list[Entry] = []
    stamps: dict[Any, str] = {}
    table = {}
    for key, history in states.items():
        if history[0] is not None:
            row = {**history[0], "updated_at": "t0"}
            stamps[key] = "t0"
            table[key] = orjson.loads(diff.created(PROJECTION, key, row).envelope)["data"]
    for clock, key in enumerate(turns, 1):
        _, _, before, after = queues[key].pop(0)
        at = f"t{clock}"
        old = None if before is None else {**before, "updated_at": stamps[key]}
        new = None if after is None else {**after, "updated_at": at}
        events = diff.events_between(PROJECTION, key, old, new, at)
        stamps[key] = at
        entries.extend(Entry(Position("e", clock), event, 0.0) for event in events)
    return table, entries


def heard(subscription: Subscription, events: Iterable[Event]) -> list[Event]:
    return [event for event in events if not set(subscription.rooms).isdisjoint(event.rooms)]


def start(subscription: Subscription, table: dict[Any, Row], places: dict[Any, Any]) -> Client:
    client = Client(subscription, {})
    client.known = {key: row for key, row in table.items() if client._mine(key, list(places[key]))}
    return client


@settings(max_examples=examples(400))
@given(stories(), subscriptions, st.data())
def test_batch_has_the_same_result_as_its_events(
    story: tuple[dict[Any, Row], list[Entry]], subscription: Subscription, data: st.DataObject
) -> None:
    table, entries = story
    places = _places(table, entries)
    single = start(subscription, table, places)
    single.apply(e.envelope for e in heard(subscription, (x.event for x in entries)))
    batched = start(subscription, table, places)
    cut = data.draw(st.integers(0, len(entries)))
    for part in (entries[:cut], entries[cut:]):
        folded = heard(subscription, batch.coalesce(part, "updated_at"))
        told = orjson.loads(batch.envelope(folded))
        assert told["event"] == "properties-batch"
        batched.apply(orjson.dumps(event) for event in told["data"]["events"])
    assert _content(single) == _content(batched)


def _content(client: Client) -> dict[Any, Row]:
    """Return the published columns but `updated_at`: no net change is sent without a new value."""
    columns = [column for column in PROJECTION.published if column != "updated_at"]
    return {
        key: {column: row.get(column) for column in columns} for key, row in client.known.items()
    }


@settings(max_examples=examples(200))
@given(stories())
def test_property_has_one_net_change_without_restored_values(
    story: tuple[dict[Any, Row], list[Entry]],
) -> None:
    _, entries = story
    folded = batch.coalesce(entries, "updated_at")
    names: dict[Any, list[str]] = {}
    for event in folded:
        names.setdefault(event.key, []).append(event.name)
        data = orjson.loads(event.envelope)["data"]
        for change in data.get("changes", {}).values():
            assert not json_equal(change["old"], change["new"])
    for told in names.values():
        assert told in (
            ["property-created"],
            ["property-updated"],
            ["property-deleted"],
            ["property-deleted", "property-created"],
        )
    assert len(folded) <= len(entries)


def _places(table: dict[Any, Row], entries: list[Entry]) -> dict[Any, tuple[str, ...]]:
    """Return the regions of each property at the beginning, as its first event has them."""
    places: dict[Any, tuple[str, ...]] = {}
    for entry in entries:
        key = entry.event.key
        if key in table and key not in places:
            data = orjson.loads(entry.event.envelope)["data"]
            moved = data.get("moved")
            places[key] = (
                tuple(moved["from"])
                if moved
                else tuple(r.removeprefix("region:") for r in entry.event.rooms[2:])
            )
    # Without an event its regions do not matter.
    return {key: places.get(key, ()) for key in table}
