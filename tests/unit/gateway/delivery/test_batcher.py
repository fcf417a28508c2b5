from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from bridge.gateway.delivery import batcher as windows
from bridge.gateway.delivery.batcher import Batcher
from bridge.gateway.subscription import Subscription
from bridge.log.base import Entry, Position
from bridge.pipeline import diff
from bridge.projection import Projection
from bridge.rights import Rights
from tests.fakes import AT, client_session, entry, row

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from bridge.gateway.client import ClientSession

TX, CA = Subscription(("TX",)), Subscription(("CA",))


class Post:
    """Records deliveries of a batcher as (recipients, position, seqs)."""

    def __init__(self) -> None:
        self.frames: list[tuple[list[str], int, list[int]]] = []
        self.entries: list[Entry] = []

    def __call__(self, entry: Entry, recipients: Collection[str]) -> None:
        events = orjson.loads(entry.event.envelope)["data"]["events"]
        assert entry.event.name == "properties-batch"
        seqs = [event["data"]["seq"] for event in events]
        self.entries.append(entry)
        self.frames.append((list(recipients), entry.position.seq, seqs))


@pytest.fixture
def post() -> Post:
    return Post()


class Window:
    """A batcher with clients that are made and named by their sids."""

    def __init__(self, deliver: Callable[[Entry, Collection[str]], None]) -> None:
        self.client_of: dict[str, ClientSession] = {}
        self.deliver = deliver
        self.batcher = Batcher(deliver=self._deliver, seconds=0.01, updated_at=None)
        self.add = self.batcher.add
        self.flush = self.batcher.flush

    def _deliver(self, entry: Entry, clients: Collection[ClientSession]) -> None:
        self.deliver(entry, [client.sid for client in clients])

    def _client(self, sid: str) -> ClientSession:
        return self.client_of.setdefault(sid, client_session(sid, batching=True))

    def set(self, sid: str, subscription: Subscription) -> None:
        client = self._client(sid)
        client.subscription = subscription
        self.batcher.set(client)

    def remove(self, sid: str) -> None:
        self.batcher.remove(self._client(sid))

    def flush_one(self, sid: str) -> None:
        self.batcher.flush_one(self._client(sid))


@pytest.fixture
def window(post: Post) -> Window:
    return Window(post)


def created(seq: int, *regions: str) -> Entry:
    return entry(seq, *regions, key=f"p{seq}", name="property-created")


async def test_entries_of_one_window_are_one_batch(window: Window, post: Post) -> None:
    window.set("a", TX)
    window.add([created(1, "TX"), created(2, "CA")])
    window.add([created(3, "TX"), created(4, "CA")])
    assert post.frames == []
    await asyncio.sleep(0.03)
    assert post.frames == [(["a"], 4, [1, 3])]
    await asyncio.sleep(0.02)
    assert len(post.frames) == 1


async def test_client_without_a_matching_event_receives_no_batch(
    window: Window, post: Post
) -> None:
    window.set("a", CA)
    window.add([created(1, "TX")])
    window.flush()
    assert post.frames == []


async def test_batcher_without_clients_collects_nothing(window: Window, post: Post) -> None:
    window.add([created(1, "TX")])
    assert window.batcher.waiting == 0
    window.set("a", TX)
    window.flush()
    assert post.frames == []
    window.remove("a")
    window.add([created(2, "TX")])
    assert window.batcher.waiting == 0


async def test_clients_with_equal_subscriptions_share_a_batch(window: Window, post: Post) -> None:
    for sid, subscription in (("a", TX), ("b", CA), ("c", TX), ("d", Subscription(("TX", "CA")))):
        window.set(sid, subscription)
    window.add([created(1, "TX"), created(2, "CA")])
    window.flush()
    assert post.frames == [(["a", "c"], 2, [1]), (["b"], 2, [2]), (["d"], 2, [1, 2])]


async def test_client_added_during_a_window_receives_its_rest(window: Window, post: Post) -> None:
    window.set("a", TX)
    window.add([created(1, "TX")])
    window.set("b", TX)
    window.add([created(2, "TX")])
    window.flush()
    assert post.frames == [(["a"], 2, [1, 2]), (["b"], 2, [2])]
    window.add([created(3, "TX")])
    window.flush()
    assert post.frames[2:] == [(["a", "b"], 3, [3])]


async def test_changed_subscription_flushes_the_earlier_one_first(
    window: Window, post: Post
) -> None:
    window.set("a", TX)
    window.add([created(1, "TX"), created(2, "CA")])
    window.set("a", CA)
    assert post.frames == [(["a"], 2, [1])]
    window.add([created(3, "TX"), created(4, "CA")])
    window.flush()
    assert post.frames[1:] == [(["a"], 4, [4])]


async def test_flush_of_one_client_leaves_the_others(window: Window, post: Post) -> None:
    window.set("a", TX)
    window.set("b", TX)
    window.add([created(1, "TX")])
    window.flush_one("a")
    window.flush_one("a")
    window.flush_one("nobody")
    window.add([created(2, "TX")])
    window.flush()
    assert post.frames == [(["a"], 1, [1]), (["b"], 2, [1, 2]), (["a"], 2, [2])]


async def test_removed_client_receives_no_batch(window: Window, post: Post) -> None:
    window.set("a", TX)
    window.add([created(1, "TX")])
    window.remove("a")
    window.remove("a")
    window.flush()
    assert post.frames == []
    assert window.batcher.clients == 0


async def test_full_window_is_flushed_before_its_end(
    window: Window, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "MAX_BATCH_BYTES", 500)
    window.set("a", TX)
    window.add([created(n, "TX") for n in range(30)])
    assert len(post.frames) > 1
    window.flush()
    assert [seq for _, _, seqs in post.frames for seq in seqs] == list(range(30))
    # A client can resume from each position: everything up to it was sent, and no more.
    assert [position for _, position, _ in post.frames] == [f[2][-1] for f in post.frames]


async def test_users_with_equal_rights_share_a_batch(window: Window, post: Post) -> None:
    for n in range(3):
        window.set(f"u{n}", Subscription(("TX",), rights=Rights(user=f"user {n}")))
    window.set("limited", Subscription(rights=Rights(("TX",), user="u")))
    window.add([created(1, "TX")])
    window.flush()
    assert [sids for sids, _, _ in post.frames] == [["u0", "u1", "u2"], ["limited"]]


async def test_view_has_its_own_batch(window: Window) -> None:
    frames: list[tuple[list[str], bytes]] = []
    window.deliver = lambda entry, sids: frames.append((list(sids), entry.event.envelope))
    window.set("public", Subscription())
    window.set("member", Subscription(rights=Rights(view="member")))
    projection = Projection(member=("notes",))
    states = [{**row("p1"), "notes": notes, "price": n} for n, notes in enumerate("abc")]
    told = [
        e
        for old, new in pairwise(states)
        for e in diff.events_between(projection, "p1", old, new, AT)
    ]
    assert len(told) == 4
    window.add([Entry(Position("e", n), event, 0) for n, event in enumerate(told)])
    window.flush()
    [(to_public, public), (to_members, member)] = frames
    assert (to_public, to_members) == (["public"], ["member"])
    assert _changes(public) == {"price": {"old": 0, "new": 2}}
    assert _changes(member) == {"price": {"old": 0, "new": 2}, "notes": {"old": "a", "new": "c"}}


async def test_move_in_a_batch_is_translated_for_limited_rights(window: Window) -> None:
    frames: dict[str, list[str]] = {}

    def deliver(entry: Entry, sids: Collection[str]) -> None:
        events = orjson.loads(entry.event.envelope)["data"]["events"]
        frames.update({sid: [event["event"] for event in events] for sid in sids})

    window.deliver = deliver
    for name, regions in {"old": ("TX",), "new": ("CA",), "both": ("TX", "CA")}.items():
        window.set(name, Subscription(rights=Rights(regions)))
    window.set("all", Subscription())
    # An update within its region, then a move: coalesced into one move.
    states = [row("p1"), row("p1", price=5), row("p1", price=5, state="CA")]
    told = [
        e
        for old, new in pairwise(states)
        for e in diff.events_between(Projection(), "p1", old, new, AT)
    ]
    window.add([Entry(Position("e", n), event, 0) for n, event in enumerate(told)])
    window.flush()
    assert frames == {
        "old": ["property-deleted"],
        "new": ["property-created"],
        "both": ["property-updated"],
        "all": ["property-updated"],
    }


def _changes(envelope: bytes) -> Any:
    [event] = orjson.loads(envelope)["data"]["events"]
    return event["data"]["changes"]


async def test_notifications_are_in_the_batch_as_they_are_and_where_they_stood(
    post: Post, window: Window
) -> None:
    ann = Rights(user="ann")
    window.set("a", Subscription(("TX",), rights=ann))
    window.set("a2", Subscription((), rights=ann))
    window.set("b", TX)

    def notification(seq: int) -> Entry:
        told = entry(seq, "TX", name="property-notification")
        return replace(told, event=replace(told.event, rooms=("user:ann",)))

    change: dict[str, Any] = {"changes": {"price": {"old": 1, "new": 2}}, "updated_at": "x"}
    window.add([entry(1, "TX", **change), notification(2), created(3, "TX"), notification(4)])
    window.flush()
    assert post.frames == [(["a"], 4, [1, 2, 3, 4]), (["a2"], 4, [2, 4]), (["b"], 4, [1, 3])]
