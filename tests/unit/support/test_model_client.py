"""`ModelClient` and `StateChecker` accept correct sequences of events and report each violation."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.log.base import Entry, Position
from bridge.pipeline import diff
from bridge.projection import Projection
from tests.fakes import AT, row
from tests.support.checker import StateChecker
from tests.support.expected_table import UNPUBLISHED_MARK, ExpectedTable, differences
from tests.support.model_client import ModelClient
from tests.support.subscription import Subscription
from tests.support.violations import Kind

PROJECTION = Projection()


class Scenario:
    """One property with the prices 1, 2 and 3, and a client whose snapshot has the first."""

    def __init__(self) -> None:
        self.client = ModelClient(PROJECTION)
        self.table = ExpectedTable(PROJECTION)
        self.checker = StateChecker(self.table)
        self.table.load([self.row(1)])
        for price in (2, 3):
            self.table.commit("p1", self.row(price))
        self.client.load({"p1": self.row(1)})
        self.seq = 0

    def row(self, price: int | None, **columns: Any) -> dict[str, Any]:
        return row("p1", price=price, **columns)

    def send(self, old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
        """Send the event between two states at the next position."""
        self.seq += 1
        [event] = diff.events_between(PROJECTION, "p1", old, new, AT)
        self.client.receive_entries([Entry(Position("test", self.seq), event, 0.0)])

    def reprice(self, old: int, new: int) -> None:
        self.send(self.row(old), self.row(new))

    def update(self, **data: Any) -> None:
        """Send an update with these fields, without a position."""
        fields = {"property_id": "p1", "updated_at": AT, "changes": {}} | data
        self.client.receive({"event": "property-updated", "data": fields})

    def kinds(self) -> list[Kind]:
        found = [*self.checker.check(self.client), *self.checker.unconverged(self.client)]
        return [violation.kind for violation in found]


@pytest.fixture
def scenario() -> Scenario:
    return Scenario()


def test_client_that_receives_every_state_has_no_violation(scenario: Scenario) -> None:
    scenario.reprice(1, 2)
    scenario.reprice(2, 3)
    assert scenario.kinds() == []


def test_client_may_skip_states_between_others(scenario: Scenario) -> None:
    scenario.reprice(1, 3)
    assert scenario.kinds() == []


@pytest.mark.parametrize("batches", [False, True])
def test_client_that_skips_a_state_is_a_violation_of_an_exact_stream(
    scenario: Scenario, batches: bool
) -> None:
    scenario.checker.exact = True
    scenario.client.batches = batches
    scenario.reprice(1, 3)
    assert scenario.kinds() == ([] if batches else [Kind.SKIPPED])


def test_client_without_the_last_state_is_unconverged(scenario: Scenario) -> None:
    scenario.reprice(1, 2)
    assert scenario.kinds() == [Kind.UNCONVERGED]


def test_client_without_a_row_of_the_table_is_unconverged(scenario: Scenario) -> None:
    scenario.reprice(1, 3)
    scenario.table.commit("p2", row("p2"))
    assert scenario.kinds() == [Kind.UNCONVERGED]


def test_client_with_a_deleted_row_is_unconverged(scenario: Scenario) -> None:
    scenario.reprice(1, 3)
    scenario.table.commit("p1", None)
    assert scenario.kinds() == [Kind.UNCONVERGED]


def test_client_with_snapshots_has_to_have_a_complete_one(scenario: Scenario) -> None:
    scenario.client.start()
    scenario.table.commit("p1", None)
    assert scenario.kinds() == [Kind.UNCONVERGED]


def test_earlier_state_after_a_later_one_is_disordered(scenario: Scenario) -> None:
    for step in ((1, 3), (3, 2), (2, 3)):
        scenario.reprice(*step)
    assert scenario.kinds() == [Kind.DISORDERED, Kind.REPEATED]


def test_repeated_event_is_a_repeated_state_with_a_wrong_old_value(scenario: Scenario) -> None:
    scenario.reprice(1, 3)
    scenario.reprice(1, 3)
    assert scenario.kinds() == [Kind.WRONG_OLD, Kind.REPEATED]


def test_state_that_was_never_committed_is_invented(scenario: Scenario) -> None:
    scenario.reprice(1, 99)
    assert scenario.kinds() == [Kind.INVENTED, Kind.UNCONVERGED]


def test_state_with_values_of_several_states_is_invented_and_described(
    scenario: Scenario,
) -> None:
    scenario.table.commit("p1", scenario.row(4, name="Renamed"))
    scenario.send(scenario.row(1), scenario.row(4))
    scenario.send(scenario.row(4), scenario.row(4, name="Renamed"))
    [violation] = scenario.checker.check(scenario.client)
    assert violation.kind is Kind.INVENTED
    assert "mixes values of several states" in violation.text


def test_late_large_value_is_counted_only_where_the_stream_omits_it(scenario: Scenario) -> None:
    old, new = "x" * 2000, "y" * 2000
    for address, price in ((old, 3), (new, 3), (new, 4)):
        scenario.table.commit("p1", scenario.row(price, address=address))
    for omits, kinds in ((True, []), (False, [Kind.INVENTED])):
        scenario.table.omits_large_values = omits
        client = ModelClient(PROJECTION, name=f"omits: {omits}")
        client.load({"p1": scenario.row(3, address=old)})
        scenario.client = client
        scenario.send(scenario.row(3, address=old), scenario.row(4, address=old))
        scenario.send(scenario.row(4, address=old), scenario.row(4, address=new))
        assert scenario.kinds() == kinds
    assert scenario.checker.blended == 1


@pytest.mark.parametrize(("old", "kinds"), [(None, []), ("z" * 2000, [Kind.INVENTED])])
def test_late_large_value_is_no_repetition_for_a_client_that_did_not_hold_it(
    scenario: Scenario, old: str | None, kinds: list[Kind]
) -> None:
    address = "y" * 2000
    scenario.table.omits_large_values = True
    scenario.table.commit("p1", scenario.row(3, address=None))
    scenario.table.commit("p1", scenario.row(4, address=address))
    scenario.client = ModelClient(PROJECTION, snapshots=False)
    scenario.reprice(3, 4)
    scenario.send(scenario.row(4, address=old), scenario.row(4, address=address))
    assert [violation.kind for violation in scenario.checker.check(scenario.client)] == kinds


def test_created_deleted_and_updated_rows_are_checked_against_the_held_ones(
    scenario: Scenario,
) -> None:
    scenario.send(None, scenario.row(1))
    scenario.send(scenario.row(1), None)
    scenario.send(scenario.row(1), None)
    scenario.reprice(1, 2)
    assert [(each.kind, each.text) for each in scenario.client.violations] == [
        (Kind.WRONG_OLD, "created, and was held"),
        (Kind.WRONG_OLD, "deleted, and was not held"),
        (Kind.WRONG_OLD, "updated, and was not held"),
    ]


def test_wrong_old_value_is_a_violation(scenario: Scenario) -> None:
    scenario.reprice(2, 3)
    assert [violation.text for violation in scenario.client.violations] == [
        "price was 1, its old value is 2"
    ]


@pytest.mark.parametrize("published", [("internal_notes",), ("name", "internal_notes")])
def test_unpublished_value_or_column_is_a_violation(
    scenario: Scenario, published: tuple[str, ...]
) -> None:
    leaky = Projection(published=published)
    event = diff.created(leaky, "p2", row("p2", internal_notes=f"{UNPUBLISHED_MARK} 1"))
    scenario.client.receive_entries([Entry(Position("test", 1), event, 0.0)])
    texts = [v.text for v in scenario.client.violations if v.kind is Kind.UNPUBLISHED]
    assert any(UNPUBLISHED_MARK in text for text in texts)
    assert any("unexpected fields: ['internal_notes']" in text for text in texts)


def test_unpublished_value_in_a_snapshot_is_a_violation(scenario: Scenario) -> None:
    scenario.client.load({"p1": scenario.row(1, name=UNPUBLISHED_MARK)})
    assert [violation.kind for violation in scenario.client.violations] == [Kind.UNPUBLISHED]


def test_move_is_applied_as_the_contract_says(scenario: Scenario) -> None:
    scenario.table.commit("p1", scenario.row(4, state="CA"))
    scenario.send(scenario.row(1), scenario.row(4, state="CA"))
    assert scenario.kinds() == []


def test_row_that_moves_out_of_the_subscription_is_dropped(scenario: Scenario) -> None:
    scenario.client.subscribe(Subscription(frozenset({"TX"})))
    scenario.table.commit("p1", scenario.row(4, state="CA"))
    scenario.send(scenario.row(1), scenario.row(4, state="CA"))
    assert scenario.client.rows == {}
    assert scenario.kinds() == []


def test_row_held_outside_of_the_subscription_is_unconverged(scenario: Scenario) -> None:
    scenario.reprice(1, 3)
    scenario.client.subscription = Subscription(frozenset({"CA"}))
    assert scenario.kinds() == [Kind.UNCONVERGED]


def test_change_of_region_without_moved_is_malformed(scenario: Scenario) -> None:
    scenario.update(changes={"state": {"old": "TX", "new": "CA"}})
    assert [violation.kind for violation in scenario.client.violations] == [Kind.MALFORMED]
    assert "without `moved`" in scenario.client.violations[0].text


@pytest.mark.parametrize(
    ("moved", "problem"),
    [
        ({"from": ["NY"], "to": ["CA", "CA/Austin"]}, "moved from ['NY'], was in"),
        ({"from": ["TX", "TX/Austin"], "to": ["NY"]}, "moved to ['NY'], its row is in"),
        ({"from": ["CA", "CA/Austin"], "to": ["CA", "CA/Austin"]}, "to the same"),
    ],
    ids=["from", "to", "same"],
)
def test_wrong_regions_of_a_move_are_a_violation(
    scenario: Scenario, moved: dict[str, Any], problem: str
) -> None:
    after = {column: scenario.row(1, state="CA")[column] for column in PROJECTION.published}
    changes = {"state": {"old": "TX", "new": "CA"}}
    scenario.update(changes=changes, moved=moved, property={"property_id": "p1", **after})
    assert any(problem in violation.text for violation in scenario.client.violations)


def test_row_of_a_move_has_to_follow_from_its_changes(scenario: Scenario) -> None:
    after = {column: scenario.row(9, state="CA")[column] for column in PROJECTION.published}
    scenario.update(
        changes={"state": {"old": "TX", "new": "CA"}},
        moved={"from": ["TX"], "to": ["CA"]},
        property={"property_id": "p1", **after},
    )
    texts = [violation.text for violation in scenario.client.violations]
    assert "moved, and its row does not follow from the changes" in texts


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"changes": {}}, "nothing changed"),
        ({"changes": {"price": {"old": 1, "new": 1}}}, "price did not change"),
        ({"changes": {"price": {"old": 1, "new": 2}}, "extra": 1}, "unexpected fields: ['extra']"),
        ({"changes": {"secret": {"old": 1, "new": 2}}}, "unexpected fields: ['secret']"),
    ],
)
def test_update_of_another_shape_is_a_violation(
    scenario: Scenario, data: dict[str, Any], problem: str
) -> None:
    scenario.update(**data)
    assert any(problem in violation.text for violation in scenario.client.violations)


def test_missing_fields_and_unknown_events_are_malformed(scenario: Scenario) -> None:
    scenario.client.receive({"event": "property-deleted", "data": {"property_id": "p1"}})
    scenario.client.receive({"event": "property-lost", "data": {"property_id": "p1"}})
    scenario.client.apply_page([{"property_id": "p9", "name": "Part"}], None, last=True)
    assert [violation.kind for violation in scenario.client.violations] == [Kind.MALFORMED] * 3


def test_snapshot_that_differs_from_the_events_is_a_violation(scenario: Scenario) -> None:
    page = {column: scenario.row(2)[column] for column in PROJECTION.published}
    position = Position("test", 0)
    scenario.client.apply_page([{"property_id": "p1", **page}], position, last=True)
    assert [violation.kind for violation in scenario.client.violations] == [Kind.SNAPSHOT]


@pytest.mark.parametrize(
    ("positions", "kinds"),
    [
        (("e-1", "e-2", "e-9"), []),
        (("e-1", "e-1"), [Kind.REPEATED]),
        (("e-2", "e-1"), [Kind.DISORDERED]),
        (("e-1", "f-2"), [Kind.DISORDERED]),
        (("e-1", "no position"), [Kind.MALFORMED]),
    ],
)
def test_positions_rise_within_a_session(
    scenario: Scenario, positions: tuple[str, ...], kinds: list[Kind]
) -> None:
    for price, position in enumerate(positions, 1):
        changes = {"price": {"old": price, "new": price + 1}}
        data = {"property_id": "p1", "updated_at": AT, "changes": changes}
        scenario.client.receive({"event": "property-updated", "data": data}, position)
    assert [violation.kind for violation in scenario.client.violations] == kinds


@pytest.mark.parametrize(
    ("resumed", "position", "kinds"),
    [
        (True, "h2-6", []),
        (True, "h2-4", [Kind.DISORDERED]),
        (False, "h2-6", [Kind.DISORDERED]),
    ],
)
def test_epoch_changes_in_a_recovered_session_only(
    scenario: Scenario, resumed: bool, position: str, kinds: list[Kind]
) -> None:
    status = {"event": "bridge-status", "data": {"state": "live"}}
    scenario.client.receive(status, "h1-5")
    if resumed:
        scenario.client.resume()
    scenario.client.receive(status, position)
    assert [violation.kind for violation in scenario.client.violations] == kinds


def test_unpublished_column_of_the_contract_may_be_null_and_nothing_else() -> None:
    projection = Projection(published=("name", "state"), region=("state",))
    created = {"property_id": "p1", "name": "Listing", "state": "TX"}
    for value, kinds in ((None, []), ("Austin", [Kind.UNPUBLISHED])):
        client = ModelClient(projection, null_columns={"city"})
        client.receive({"event": "property-created", "data": created | {"city": value}})
        assert [violation.kind for violation in client.violations] == kinds


def test_client_without_snapshots_holds_what_events_name() -> None:
    client = ModelClient(PROJECTION, snapshots=False)
    price = {"property_id": "p1", "updated_at": AT, "changes": {"price": {"old": 1, "new": 2}}}
    client.receive({"event": "property-updated", "data": price})
    assert client.rows == {"p1": {"price": 2}}
    assert client.violations == []
    client.receive({"event": "property-updated", "data": price})
    assert [violation.kind for violation in client.violations] == [Kind.WRONG_OLD]


def test_batch_is_applied_event_by_event(scenario: Scenario) -> None:
    events = [
        {
            "event": "property-updated",
            "data": {
                "property_id": "p1",
                "updated_at": AT,
                "changes": {"price": {"old": old, "new": old + 1}},
            },
        }
        for old in (1, 2, 7)
    ]
    scenario.client.receive({"event": "properties-batch", "data": {"events": events}})
    assert scenario.client.counts["events"] == 3
    assert [violation.kind for violation in scenario.client.violations] == [Kind.WRONG_OLD]


async def test_until_returns_when_an_event_makes_the_condition_true(scenario: Scenario) -> None:
    with pytest.raises(TimeoutError):
        await scenario.client.until(lambda: bool(scenario.client.states), 0.01)
    scenario.reprice(1, 3)
    assert await scenario.client.until(lambda: bool(scenario.client.states), 5) < 5


def test_reloaded_table_records_the_rows_that_differ() -> None:
    table = ExpectedTable(PROJECTION)
    table.load([row("p1", price=1), row("p2", price=1)])
    table.reload([row("p1", price=2), row("p3", price=1)])
    prices = {
        key: [state and state["price"] for state in states] for key, states in table.states.items()
    }
    assert prices == {"p1": [1, 2], "p2": [1, None], "p3": [None, 1]}
    assert table.rows.keys() == {"p1", "p3"}


def test_differences_name_each_row_that_differs() -> None:
    held = {"same": {"price": 1}, "other": {"price": 1}, "extra": {"price": 1}}
    expected = {"same": {"price": 1}, "other": {"price": 2}, "missing": {"price": 1}}
    assert dict(differences(held, expected)).keys() == {"other", "extra", "missing"}
