"""The changes that are notified, and the text of notifications."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bridge.notifications.rules import (
    BODY_CHARACTERS,
    TITLE_CHARACTERS,
    Notification,
    NotificationRules,
    of_new,
    of_update,
)

ROW = {"name": "Oak View", "city": "Austin", "state": "TX", "price": 900_000, "units": 12}


def moved(old: Any, new: Any, rules: NotificationRules | None = None) -> Notification | None:
    return of_update(rules or NotificationRules(), {"price": {"old": old, "new": new}}, ROW)


def became(old: Any, new: Any, rules: NotificationRules | None = None) -> Notification | None:
    return of_update(rules or NotificationRules(), {"status": {"old": old, "new": new}}, ROW)


def test_status_change_is_notified() -> None:
    notice = became("pending", "available")
    assert notice == Notification(
        "status-changed",
        "info",
        "Oak View is now available",
        "Status changed from pending to available.",
        {"status": {"old": "pending", "new": "available"}},
    )


@pytest.mark.parametrize("status", ["sold", "pending", "SOLD"])
def test_sold_and_pending_are_important(status: str) -> None:
    notice = became("available", status)
    assert notice is not None
    assert notice.severity == "important"


def test_without_statuses_no_status_change_is_notified() -> None:
    assert became("available", "sold", NotificationRules(statuses=())) is None


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("available", "pending", True),
        ("pending", "sold", True),
        ("available", "sold", True),
        ("pending", "available", False),
        ("sold", "pending", False),
        (None, "pending", False),
        (None, "sold", True),
    ],
)
def test_only_listed_transitions_are_notified(old: Any, new: Any, *, told: bool) -> None:
    rules = NotificationRules(statuses=(("available", "pending"), ("*", "sold")))
    assert (became(old, new, rules) is not None) is told


def test_missing_status_is_named_unknown() -> None:
    notice = became("sold", None)
    assert notice is not None
    assert notice.body == "Status changed from sold to unknown."


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        (1_000_000, 950_000, "price-dropped"),
        (1_000_000, 950_001, None),
        (1_000_000, 1_050_000, "price-raised"),
        (1_000_000, 1_049_999, None),
        (1_000.5, 900.25, "price-dropped"),
        (0, 5, None),
        (None, 5, None),
        (5, None, None),
        ("5", 500, None),
        (True, False, None),
        (5, 0, "price-dropped"),
    ],
)
def test_price_move_is_notified_from_the_threshold_on(old: Any, new: Any, kind: str | None) -> None:
    notice = moved(old, new)
    assert (notice and notice.kind) == kind


def test_with_zero_percent_no_price_move_is_notified() -> None:
    assert moved(100, 1, NotificationRules(price_percent=0)) is None


@pytest.mark.parametrize(
    ("new", "severity"), [(901, "info"), (900, "important"), (1100, "info"), (2000, "info")]
)
def test_price_drop_by_twice_the_threshold_is_important_and_no_rise_is(
    new: int, severity: str
) -> None:
    notice = moved(1000, new)
    assert notice is not None
    assert notice.severity == severity


def test_price_is_formatted_for_people() -> None:
    notice = moved(1_420_000, 1_250_000)
    assert notice is not None
    assert notice.title == "Price drop: Oak View"
    assert notice.body == "Price 1,250,000, down 12% from 1,420,000."
    up = moved(1000.5, 1064.25)
    assert up is not None
    assert up.title == "Price up: Oak View"
    assert up.body == "Price 1,064.25, up 6.4% from 1,000.50."


@pytest.mark.parametrize(("old", "new"), [(1, 1e308), (-1e308, 1e308), (5e-324, 1e300), (-5, 5)])
def test_extreme_prices_do_not_raise(old: float, new: float) -> None:
    notice = moved(old, new)
    assert notice is not None
    assert len(notice.body) <= BODY_CHARACTERS


def test_change_of_status_and_price_is_one_notification() -> None:
    changes = {
        "status": {"old": "available", "new": "contacted"},
        "price": {"old": 1_000_000, "new": 800_000},
        "units": {"old": 1, "new": 2},
    }
    notice = of_update(NotificationRules(), changes, ROW)
    assert notice is not None
    assert (notice.kind, notice.severity) == ("status-changed", "important")
    assert set(notice.changes) == {"status", "price"}
    assert notice.body == (
        "Status changed from available to contacted. Price 800,000, down 20% from 1,000,000."
    )


def test_column_that_the_rules_do_not_match_is_left_out() -> None:
    changes = {
        "status": {"old": "available", "new": "sold"},
        "price": {"old": 1_000_000, "new": 999_999},
    }
    notice = of_update(NotificationRules(), changes, ROW)
    assert notice is not None
    assert set(notice.changes) == {"status"}


def test_other_columns_are_not_notified() -> None:
    assert of_update(NotificationRules(), {"units": {"old": 1, "new": 200}}, ROW) is None


def test_new_listing_has_place_units_and_price() -> None:
    notice = of_new(NotificationRules(), ROW)
    assert notice == Notification(
        "new-listing",
        "info",
        "New listing: Oak View",
        "In Austin, TX. 12 units, price 900,000.",
        {},
    )


def test_new_listing_with_few_columns_has_a_short_text() -> None:
    notice = of_new(NotificationRules(), {"price": 5})
    assert notice is not None
    assert (notice.title, notice.body) == ("New listing: A property", "Price 5.")
    bare = of_new(NotificationRules(), {})
    assert bare is not None
    assert bare.body == "A new listing."


def test_without_the_rule_no_new_listing_is_notified() -> None:
    assert of_new(NotificationRules(new_listings=False), ROW) is None


def test_texts_are_one_line_of_limited_length() -> None:
    endless = "<b>\n" + "x" * 10_000
    row = {"name": endless, "city": endless, "state": endless}
    for notice in (
        of_new(NotificationRules(), row),
        of_update(NotificationRules(), {"status": {"old": endless, "new": endless + "y"}}, row),
    ):
        assert notice is not None
        assert len(notice.title) <= TITLE_CHARACTERS
        assert len(notice.body) <= BODY_CHARACTERS
        assert "\n" not in notice.title + notice.body


def test_braces_in_a_name_are_not_interpreted() -> None:
    notice = of_update(
        NotificationRules(),
        {"status": {"old": "a", "new": "{name}"}},
        {"name": "{0} {status.__class__}"},
    )
    assert notice is not None
    assert notice.title == "{0} {status.__class__} is now {name}"


def test_envelope_is_the_documented_one() -> None:
    notice = became("available", "sold")
    assert notice is not None
    assert json.loads(notice.envelope("p1", "2026-01-05T09:00:00.000Z")) == {
        "event": "property-notification",
        "data": {
            "property_id": "p1",
            "kind": "status-changed",
            "severity": "important",
            "title": "Oak View is now sold",
            "body": "Status changed from available to sold.",
            "changes": {"status": {"old": "available", "new": "sold"}},
            "created_at": "2026-01-05T09:00:00.000Z",
        },
    }
