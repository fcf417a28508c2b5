"""Random watches, changes and rights: users are notified exactly as a plain model of the rules has
it, and once.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.clock import ManualClock
from bridge.events import Event
from bridge.gateway.subscription import Subscription
from bridge.notifications.notifier import Notifier, NotifierOptions
from bridge.notifications.rules import NotificationRules
from bridge.notifications.watch_index import Watch, WatchIndex
from bridge.pipeline import diff
from bridge.projection import Projection
from bridge.rights import Rights
from tests.support.examples import examples

AT = "2026-01-05T09:00:00Z"
PROJECTION = Projection(
    published=("name", "state", "city", "price", "status", "price_note"),
    region=("state", "city"),
    member=("cap_rate",),
)
KEYS = ("p1", "p2")
USERS = ("ann", "bob", "cat")
REGIONS = ("TX", "TX/Austin", "TX/Dallas", "CA", "CA/Fresno")

ROW = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["Oak", None]),
        "state": st.sampled_from(["TX", "TX", "CA", None]),
        "city": st.sampled_from(["Austin", "Dallas", "Fresno", None]),
        "price": st.sampled_from([1000, 951, 950, 900, 1050, 0, None]),
        "status": st.sampled_from(["available", "sold", "pending", None]),
        "price_note": st.sampled_from(['"price":{"old":1}', '"moved":{']),
        "cap_rate": st.sampled_from([1, 2]),
        "updated_at": st.just(AT),
    }
)
TARGET = st.fixed_dictionaries({"property": st.sampled_from(KEYS)}) | st.fixed_dictionaries(
    {"region": st.sampled_from(REGIONS)}
)
WATCH = st.builds(lambda user, target: Watch(user, **target), st.sampled_from(USERS), TARGET)
WATCHES = st.lists(st.tuples(st.integers(0, 5), st.none() | WATCH), min_size=1, max_size=8)
"""Watches by slot."""

STATES = st.lists(ROW | st.none(), min_size=2, max_size=8)
"""Successive states of one property."""

RULES = st.builds(
    NotificationRules,
    statuses=st.sampled_from([(), (("*", "*"),), (("available", "sold"), ("*", "pending"))]),
    price_percent=st.sampled_from([0.0, 5.0, 10.0]),
    new_listings=st.booleans(),
)
RIGHTS = st.none() | st.lists(st.sampled_from(REGIONS), max_size=3, unique=True).map(tuple)


def regions(row: dict[str, Any]) -> list[str]:
    if not row["state"]:
        return []
    return [row["state"], *([f"{row['state']}/{row['city']}"] if row["city"] else [])]


def notified_columns(
    rules: NotificationRules, old: dict[str, Any], new: dict[str, Any]
) -> set[str]:
    """Return the columns of a change that are notified."""
    out = set()
    a, b = old["status"], new["status"]
    if a != b and any(x in ("*", a) and y in ("*", b) for x, y in rules.statuses):
        out.add("status")
    a, b = old["price"], new["price"]
    comparable = rules.price_percent and a and b is not None
    if comparable and abs(b - a) / a >= rules.price_percent / 100:
        out.add("price")
    return out


def expected(
    rules: NotificationRules,
    watches: list[Watch],
    key: str,
    change: tuple[dict[str, Any] | None, dict[str, Any] | None],
    granted: tuple[str, ...] | None,
) -> tuple[str, set[str]] | None:
    """Return the kind of notification and its columns for a user with these watches and rights to
    the regions `granted`; None: the user is not notified.
    """
    old, new = change
    if new is None:
        return None
    watched = {watch.region for watch in watches if watch.region}
    after = set(regions(new))
    before = set() if old is None else set(regions(old))
    if old is not None:
        columns = notified_columns(rules, old, new)
        concerned = any(w.property == key for w in watches) or watched & before & after
        if columns and concerned:
            may_read = granted is None or before & after & set(granted)
            kind = "status-changed" if "status" in columns else "price-"
            return (kind, columns) if may_read else None
    if rules.new_listings and watched & (after - before):
        return ("new-listing", set()) if granted is None or after & set(granted) else None
    return None


@settings(max_examples=examples(1000))
@given(
    rules=RULES,
    puts=WATCHES,
    changes=st.tuples(st.sampled_from(KEYS), STATES),
    rights=st.lists(RIGHTS, min_size=len(USERS), max_size=len(USERS)),
    present=st.sets(st.sampled_from((*USERS, "a", "b", "c")), min_size=2),
)
def test_users_are_notified_exactly_as_the_rules_require(
    rules: NotificationRules,
    puts: list[tuple[int, Watch | None]],
    changes: tuple[str, list[dict[str, Any] | None]],
    rights: list[tuple[str, ...] | None],
    present: set[str],
) -> None:
    key, states = changes
    index, watches = WatchIndex(), dict[int, Watch | None]()
    for slot, watch in puts:
        index.set(slot, watch)
        watches[slot] = watch
    notifier = Notifier(
        NotifierOptions(rules, max_users=100, region_scoped=True),
        index,
        present=present,
        clock=ManualClock(),
    )
    for old, new in pairwise(states):
        rows: dict[str | int, dict[str, Any] | None] = {key: new}
        events = diff.events_between(PROJECTION, key, old, new, AT)
        notified = notifier.add_notifications(events, rows.__getitem__)
        for user, granted in zip(USERS, rights, strict=True):
            own = [watch for watch in watches.values() if watch and watch.user == user]
            wanted = expected(rules, own, key, (old, new), granted)
            if user not in present:
                wanted = None
            received = notifications(notified, Rights(granted, user=user))
            assert len(received) == (wanted is not None)
            for data in received:
                assert wanted is not None
                assert data["kind"].startswith(wanted[0])
                assert set(data["changes"]) == wanted[1]
                assert "cap_rate" not in json.dumps(data)
        assert notifications(notified, Rights()) == []


def notifications(notified: Any, rights: Rights) -> list[dict[str, Any]]:
    """Return the notifications that a client with these rights receives."""
    rooms = set(Subscription(rights=rights).rooms)
    return [json.loads(event.envelope)["data"] for event in notified if is_received(event, rooms)]


def is_received(event: Event, rooms: set[str]) -> bool:
    return event.name == "property-notification" and not rooms.isdisjoint(event.rooms)
