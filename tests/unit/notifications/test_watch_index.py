"""The index of watches equals the rows after any sequence of changes."""

from __future__ import annotations

import pytest

from bridge.notifications.watch_index import Watch, WatchIndex

ANN, BOB = "ann", "bob"


def users(watches: WatchIndex, regions: tuple[str, ...]) -> list[str]:
    return [user for users in watches.of_regions(regions) for user in users]


def test_property_has_the_users_that_named_it() -> None:
    watches = WatchIndex()
    watches.set("w1", Watch(ANN, property="p1"))
    watches.set("w2", Watch(BOB, property="p2"))
    assert list(watches.of_property("p1")) == [ANN]
    assert list(watches.of_property("p3")) == []


def test_numeric_key_is_found_by_its_text() -> None:
    watches = WatchIndex()
    watches.set(1, Watch(ANN, property="7"))
    assert list(watches.of_property(7)) == [ANN]


def test_region_has_the_watchers_of_the_regions_passed() -> None:
    watches = WatchIndex()
    watches.set("w1", Watch(ANN, region="TX"))
    watches.set("w2", Watch(BOB, region="TX/Austin"))
    assert users(watches, ("TX", "TX/Austin")) == [ANN, BOB]
    assert users(watches, ("TX", "TX/Dallas")) == [ANN]


def test_deleted_watch_is_removed() -> None:
    watches = WatchIndex()
    watches.set("w1", Watch(ANN, region="TX"))
    watches.set("w1", None)
    assert users(watches, ("TX",)) == []
    assert len(watches) == 0


def test_second_watch_of_a_target_outlives_the_first() -> None:
    watches = WatchIndex()
    watches.set("w1", Watch(ANN, region="TX"))
    watches.set("w2", Watch(ANN, region="TX"))
    watches.set("w1", None)
    assert users(watches, ("TX",)) == [ANN]


def test_updated_watch_has_its_new_target_only() -> None:
    watches = WatchIndex()
    watches.set("w1", Watch(ANN, region="TX"))
    watches.set("w1", Watch(ANN, property="p1"))
    assert users(watches, ("TX",)) == []
    assert list(watches.of_property("p1")) == [ANN]


def test_removing_an_unknown_watch_has_no_effect() -> None:
    watches = WatchIndex()
    watches.set("w1", None)
    assert len(watches) == 0


@pytest.mark.parametrize(
    "record",
    [
        {"user_id": None, "property_id": "p1", "region": None},
        {"user_id": ANN, "property_id": None, "region": None},
        {"user_id": ANN, "property_id": None, "region": ""},
        {},
    ],
)
def test_row_without_a_user_or_target_is_no_watch(record: dict[str, object]) -> None:
    assert Watch.of(record) is None


def test_row_is_parsed_to_a_watch() -> None:
    record = {"user_id": ANN, "property_id": 7, "region": None, "updated_at": "x"}
    assert Watch.of(record) == Watch(ANN, property="7")
