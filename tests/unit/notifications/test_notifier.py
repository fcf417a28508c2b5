"""The users that are notified of a change, and the rooms that address them."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from typing import Any

import pytest

from bridge.clock import ManualClock
from bridge.events import Event
from bridge.gateway.presence import Presence
from bridge.gateway.subscription import Subscription
from bridge.notifications import notifier
from bridge.notifications.notifier import Notifier, NotifierOptions
from bridge.notifications.rules import NotificationRules
from bridge.notifications.watch_index import Watch, WatchIndex
from bridge.pipeline import diff
from bridge.projection import Projection
from bridge.rights import Rights
from tests.fakes import AT, Everybody, row

ANN, BOB = "ann", "bob"
ALL_USERS = Everybody()
PROJECTION = Projection(region=("state", "city"))


def index_of(*watches: Watch) -> WatchIndex:
    out = WatchIndex()
    for number, watch in enumerate(watches):
        out.set(number, watch)
    return out


def notify(
    watches: WatchIndex, *events: Event | None, present: Collection[str] = ALL_USERS
) -> list[Event]:
    tested = Notifier(
        NotifierOptions(NotificationRules(), max_users=100, region_scoped=True),
        watches,
        present=present,
        clock=ManualClock(),
    )
    changes = [event for event in events if event is not None]
    return list(tested.add_notifications(changes, row))


def change(old: dict[str, Any] | None, new: dict[str, Any] | None) -> Event | None:
    """Return its first event; None if there is none."""
    key = (new or old or {})["id"]
    return next(iter(diff.events_between(PROJECTION, key, old, new, AT)), None)


def received(events: list[Event], user: str | None, *regions: str) -> list[dict[str, Any]]:
    """Return the notifications that a client of `user` without a subscription receives; with
    rights to `regions` only, if any are changes.
    """
    rooms = Subscription((), rights=Rights(regions or None, user=user)).rooms
    return [
        json.loads(event.envelope)["data"]
        for event in events
        if event.name == "property-notification" and set(rooms) & set(event.rooms)
    ]


SOLD = (row("p1"), row("p1", status="sold"))


def test_watcher_of_a_property_is_notified_after_the_event() -> None:
    first, second = notify(index_of(Watch(ANN, property="p1")), change(*SOLD))
    assert [first.name, second.name] == ["property-updated", "property-notification"]
    assert second.key == "p1"
    [data] = received([first, second], ANN)
    assert data["title"] == "Listing p1 is now sold"
    assert data["created_at"] == "2026-01-05T09:00:00.000Z"


def test_other_user_is_not_notified() -> None:
    assert received(notify(index_of(Watch(ANN, property="p1")), change(*SOLD)), BOB) == []


def test_client_without_a_token_is_not_notified() -> None:
    assert received(notify(index_of(Watch(ANN, property="p1")), change(*SOLD)), None) == []


def test_change_of_another_property_is_not_notified() -> None:
    assert len(notify(index_of(Watch(ANN, property="p2")), change(*SOLD))) == 1


def test_watcher_of_the_region_is_notified() -> None:
    for region in ("TX", "TX/Austin"):
        events = notify(index_of(Watch(ANN, region=region)), change(*SOLD))
        assert len(received(events, ANN)) == 1


def test_change_in_another_region_is_not_notified() -> None:
    for region in ("CA", "TX/Dallas", "T", "TX/"):
        assert len(notify(index_of(Watch(ANN, region=region)), change(*SOLD))) == 1


def test_watcher_of_a_property_and_its_regions_is_notified_once() -> None:
    watches = index_of(
        Watch(ANN, region="TX"), Watch(ANN, region="TX/Austin"), Watch(ANN, property="p1")
    )
    events = notify(watches, change(*SOLD))
    assert len(received(events, ANN)) == 1
    assert len(events) == 2


def test_many_users_share_one_entry() -> None:
    watches = index_of(Watch(ANN, property="p1"), Watch(BOB, region="TX"))
    events = notify(watches, change(*SOLD))
    assert len(events) == 2
    assert received(events, ANN) == received(events, BOB) != []


def test_change_below_the_threshold_is_not_notified() -> None:
    events = notify(
        index_of(Watch(ANN, property="p1")), change(row("p1"), row("p1", price=999_000))
    )
    assert len(events) == 1


def test_change_of_another_column_is_not_notified() -> None:
    text = 'see "status":{"old":1} and "price":{"old":1} and "moved":{'
    events = notify(index_of(Watch(ANN, property="p1")), change(row("p1"), row("p1", name=text)))
    assert len(events) == 1


def test_new_listing_is_notified_to_watchers_of_its_region_only() -> None:
    watches = index_of(Watch(ANN, region="TX/Austin"), Watch(BOB, region="CA"))
    events = notify(watches, change(None, row("p1")))
    [data] = received(events, ANN)
    assert data["kind"] == "new-listing"
    assert received(events, BOB) == []


def test_deletion_is_not_notified() -> None:
    watches = index_of(Watch(ANN, region="TX"), Watch(ANN, property="p1"))
    assert len(notify(watches, change(row("p1"), None))) == 1


def test_deleted_watch_is_not_notified() -> None:
    watches = index_of(Watch(ANN, property="p1"), Watch(BOB, property="p1"))
    watches.set(0, None)
    events = notify(watches, change(*SOLD))
    assert received(events, ANN) == []
    assert len(received(events, BOB)) == 1


def test_without_watches_no_notification_is_made() -> None:
    event = change(*SOLD)
    assert notify(index_of(), event) == [event]


# -- moves ------------------------------------------------------------------------------------

MOVE = (row("p1"), row("p1", state="CA", city="Fresno", price=800_000))


def test_move_into_a_region_is_a_new_listing_for_its_watchers() -> None:
    events = notify(
        index_of(Watch(ANN, region="CA"), Watch(BOB, region="CA/Fresno")), change(*MOVE)
    )
    for user in (ANN, BOB):
        [data] = received(events, user)
        assert data["kind"] == "new-listing"
        assert data["changes"] == {}
        assert data["body"] == "In Fresno, CA. 10 units, price 800,000."


def test_move_out_of_a_region_is_not_notified_to_its_watchers() -> None:
    assert len(notify(index_of(Watch(ANN, region="TX")), change(*MOVE))) == 1


def test_move_within_a_watched_region_is_no_new_listing() -> None:
    event = change(row("p1"), row("p1", city="Dallas"))
    events = notify(index_of(Watch(ANN, region="TX"), Watch(BOB, region="TX/Dallas")), event)
    assert received(events, ANN) == []
    assert [data["kind"] for data in received(events, BOB)] == ["new-listing"]


def test_user_notified_of_the_change_is_not_notified_of_a_new_listing() -> None:
    watches = index_of(Watch(ANN, property="p1"), Watch(ANN, region="CA"), Watch(BOB, region="CA"))
    events = notify(watches, change(*MOVE))
    assert [data["kind"] for data in received(events, ANN)] == ["price-dropped"]
    assert [data["kind"] for data in received(events, BOB)] == ["new-listing"]


# -- rights -----------------------------------------------------------------------------------


def test_user_with_rights_to_another_region_is_not_notified() -> None:
    events = notify(index_of(Watch(ANN, property="p1")), change(*SOLD))
    assert len(received(events, ANN, "TX")) == 1
    assert len(received(events, ANN, "TX/Austin")) == 1
    assert len(received(events, ANN, "TX", "TX/Austin")) == 1
    assert received(events, ANN, "CA") == []
    assert received(events, ANN, "TX/Dallas") == []


def test_row_without_a_region_is_notified_to_users_with_rights_to_all() -> None:
    event = change(row("p1", state=None), row("p1", state=None, status="sold"))
    events = notify(index_of(Watch(ANN, property="p1")), event)
    assert len(received(events, ANN)) == 1
    assert received(events, ANN, "TX") == []


@pytest.mark.parametrize("region", ["TX", "CA"])
def test_change_with_a_move_is_not_notified_to_users_with_rights_to_one_region(region: str) -> None:
    events = notify(index_of(Watch(ANN, property="p1")), change(*MOVE))
    assert len(received(events, ANN)) == 1
    assert received(events, ANN, region) == []


def test_change_with_a_move_within_the_rights_is_notified() -> None:
    event = change(row("p1"), row("p1", city="Dallas", status="sold"))
    events = notify(index_of(Watch(ANN, property="p1")), event)
    assert len(received(events, ANN, "TX")) == 1
    assert received(events, ANN, "TX/Dallas") == []


def test_new_listing_of_a_move_is_notified_to_users_with_rights_to_the_new_region() -> None:
    events = notify(index_of(Watch(ANN, region="CA")), change(*MOVE))
    assert len(received(events, ANN, "CA")) == 1
    assert received(events, ANN, "TX") == []


MEMBERS = Projection(published=("name", "price", "city"), member=("status",), region=("state",))
WATCHED = (Watch(ANN, property="p1"), Watch(BOB, region="TX"))


def test_change_of_member_columns_is_not_notified() -> None:
    events = diff.events_between(MEMBERS, "p1", *SOLD, AT)
    assert len(events) == 1
    assert notify(index_of(*WATCHED), *events) == list(events)


def test_change_in_both_views_is_notified_with_its_public_part() -> None:
    events = diff.events_between(MEMBERS, "p1", row("p1"), row("p1", status="sold", price=5), AT)
    assert len(events) == 2
    out = notify(index_of(*WATCHED), *events)
    assert [event.name for event in out] == [
        "property-updated",
        "property-notification",
        "property-updated",
    ]
    assert b"sold" not in out[1].envelope
    assert b"status" not in out[1].envelope.replace(b"status-changed", b"")


def test_change_with_one_event_for_both_views_is_notified_once() -> None:
    for old, new in ((row("p1"), row("p1", price=5)), (None, row("p1"))):
        events = diff.events_between(MEMBERS, "p1", old, new, AT)
        out = notify(index_of(*WATCHED), *events)
        assert len(received(out, BOB)) == 1


def test_move_with_an_event_per_view_is_notified_once() -> None:
    events = diff.events_between(MEMBERS, "p1", row("p1", state="CA"), row("p1"), AT)
    assert len(events) == 2
    assert len(received(notify(index_of(*WATCHED), *events), BOB)) == 1


# -- presence ---------------------------------------------------------------------------------


@pytest.mark.parametrize("present", [{ANN}, {ANN, "x", "y", "z"}, {"x": 1, ANN: 1}.keys()])
def test_only_present_users_are_notified(present: Collection[str]) -> None:
    watches = index_of(*(Watch(user, region="TX") for user in (ANN, BOB, "c", "d")))
    events = notify(watches, change(*SOLD), present=present)
    assert len(received(events, ANN)) == 1
    assert received(events, BOB) == []


def test_change_is_not_stored_as_notification_if_no_watcher_is_present() -> None:
    assert len(notify(index_of(*WATCHED), change(*SOLD), present=["x"])) == 1
    assert len(notify(index_of(*WATCHED), change(*SOLD), present=[])) == 1


def test_user_is_notified_from_the_time_of_being_present() -> None:
    presence = Presence()
    watches = index_of(*WATCHED)
    assert len(notify(watches, change(*SOLD), present=presence.users)) == 1
    presence.add(ANN)
    assert len(notify(watches, change(*SOLD), present=presence.users)) == 2
    presence.remove(ANN)
    assert len(notify(watches, change(*SOLD), present=presence.users)) == 1


# -- bounds -----------------------------------------------------------------------------------


def test_users_are_limited_and_watchers_of_the_property_are_first(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watches = index_of(
        *(Watch(f"u{number}", region="TX") for number in range(10)), Watch(ANN, property="p1")
    )
    tested = Notifier(
        NotifierOptions(NotificationRules(), max_users=3, region_scoped=True),
        watches,
        present=ALL_USERS,
        clock=ManualClock(),
    )
    event = change(*SOLD)
    assert event is not None
    with caplog.at_level(logging.WARNING):
        events = list(tested.add_notifications([event, event], row))
    assert [room for room in events[1].rooms if "@" not in room] == [
        "user:ann",
        "user:u0",
        "user:u1",
    ]
    assert tested.counts().notified == 6
    assert tested.counts().cut_short == 2
    assert len(caplog.records) == 1, "it is said once, not at every change"


def test_very_many_users_are_split_over_entries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notifier, "MAX_USERS_PER_ENTRY", 4)
    watches = index_of(*(Watch(f"u{number}", region="TX") for number in range(10)))
    events = notify(watches, change(*SOLD))
    assert len(events) == 4
    for number in range(10):
        assert len(received(events, f"u{number}")) == 1
        assert len(received(events, f"u{number}", "TX")) == 1


def test_users_notified_of_one_commit_are_limited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notifier, "MAX_USERS_PER_COMMIT", 5)
    watches = index_of(*(Watch(f"u{number}", region="TX") for number in range(2)))
    events = notify(watches, *[change(*SOLD)] * 4)
    assert [event.name for event in events].count("property-updated") == 4
    assert len(received(events, "u0")) + len(received(events, "u1")) == 5


def test_fault_of_the_notifier_leaves_the_events_unchanged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_key: object) -> Any:
        raise RuntimeError("a fault of ours")

    watches = index_of(Watch(ANN, property="p1"))
    tested = Notifier(
        NotifierOptions(NotificationRules(), max_users=9, region_scoped=False),
        watches,
        present=ALL_USERS,
        clock=ManualClock(),
    )
    event = change(*SOLD)
    assert event is not None
    with caplog.at_level(logging.ERROR):
        assert tested.add_notifications([event], broken) == [event]
    assert tested.counts().failed == 1
    assert "no user is notified" in caplog.text


def test_user_takes_one_room_without_regional_rights() -> None:
    watches = index_of(Watch(ANN, property="p1"))
    tested = Notifier(
        NotifierOptions(NotificationRules(), max_users=9, region_scoped=False),
        watches,
        present=ALL_USERS,
        clock=ManualClock(),
    )
    event = change(*SOLD)
    assert event is not None
    [_, notification] = tested.add_notifications([event], row)
    assert notification.rooms == ("user:ann",)
