from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from bridge.events import Event
from bridge.gateway.recovery.replay import ReplaySegment, may_resume
from bridge.gateway.recovery.sessions import (
    MAX_HISTORY_BYTES,
    MAX_SUBSCRIPTION_HISTORY,
    RecoveryLimits,
    RecoveryOffer,
    RecoveryOutcome,
    RecoverySession,
    RecoverySessions,
    parse_offer,
)
from bridge.gateway.subscription import Subscription
from bridge.log.base import Entry, Position
from bridge.log.memory import MemoryEventLog
from bridge.rights import UNRESTRICTED, Rights
from bridge.rooms import ALL_ROOM, region_room, rooms_of, user_room
from tests.fakes import SessionsBySid

if TYPE_CHECKING:
    from collections.abc import Sequence

TX, CA = Subscription(("TX",)), Subscription(("CA",))
BOTH = Subscription(("TX", "CA"))


class Story(SessionsBySid):
    """A log to append to, and sessions over it."""

    def __init__(self, **overrides: Any) -> None:
        super().__init__()
        limits = {"seconds": 120, "sessions": 100, "events": 1000, "bytes": 10**6}
        numbers = count()
        self.log = MemoryEventLog(1000, 900)
        self.sessions = RecoverySessions(
            RecoveryLimits(**{**limits, **overrides}), new_pid=lambda: f"pid{next(numbers)}"
        )

    async def tell(self, *regions: str) -> None:
        for region in regions:
            event = Event("property-updated", "p", (ALL_ROOM, region_room(region)), b"{}")
            await self.log.append([event], [])

    @property
    def head(self) -> Position:
        return self.log.head

    def at(self, seq: int) -> str:
        return str(Position(self.head.epoch, seq))

    def resume(
        self, pid: str, offset: str | None, now: float = 0, rights: Rights = UNRESTRICTED
    ) -> list[int] | None:
        session = self.sessions.find(pid, now, rights.user)
        if session is None:
            return None
        stretches = self.sessions.resume(session, offset, self.log, rights)
        return None if stretches is None else seqs(stretches)


def seqs(stretches: Sequence[ReplaySegment]) -> list[int]:
    return [entry.position.seq for stretch in stretches for entry in stretch.visible]


@pytest.mark.parametrize(
    ("auth", "offer", "rest"),
    [
        (None, RecoveryOffer(), None),
        ("x", RecoveryOffer(), "x"),
        ({"token": "t"}, RecoveryOffer(), {"token": "t"}),
        ({"pid": "p", "offset": "o", "token": "t"}, RecoveryOffer("p", "o"), {"token": "t"}),
        ({"pid": "p"}, RecoveryOffer("p", None), {}),
        ({"pid": "p", "offset": None}, RecoveryOffer("p", None), {}),
        ({"pid": "p", "offset": 7}, RecoveryOffer("p", ""), {}),
        ({"pid": 7, "offset": "o"}, RecoveryOffer(), {}),
        ({"offset": "o"}, RecoveryOffer(), {}),
    ],
)
def test_pid_and_offset_are_taken_out_of_auth(auth: Any, offer: RecoveryOffer, rest: Any) -> None:
    assert parse_offer(auth) == (offer, rest)


async def test_recovery_returns_the_events_after_the_offset() -> None:
    story = Story()
    await story.tell("TX")
    pid = story.open("s", TX, story.head).pid
    await story.tell("TX", "CA", "TX", "TX")
    story.disconnected("s", 0)
    assert story.resume(pid, story.at(3)) == [4, 5]
    assert story.resume(pid, story.at(5)) == []
    assert story.sessions.outcomes == {RecoveryOutcome.RECOVERED: 2}


async def test_recovery_without_an_offset_returns_everything_since_connect() -> None:
    story = Story()
    await story.tell("TX")
    pid = story.open("s", TX, story.head).pid
    await story.tell("TX")
    assert story.resume(pid, None) == [2]
    assert story.resume(pid, story.at(0)) == [2]


@pytest.mark.parametrize("offset", ["", "x", "x-1", "{epoch}-3", "{epoch}--1", "{epoch}-1 "])
async def test_an_offset_that_is_none_ends_the_session(offset: str) -> None:
    story = Story()
    pid = story.open("s", TX, story.head).pid
    await story.tell("TX", "TX")
    assert story.resume(pid, offset.format(epoch=story.head.epoch)) is None
    assert story.sessions.outcomes == {RecoveryOutcome.OFFSET: 1}
    assert story.resume(pid, story.at(1)) is None
    assert len(story.sessions) == 0


async def test_recovery_filters_each_event_by_the_subscription_of_its_time() -> None:
    story = Story()
    pid = story.open("s", TX, story.head).pid
    await story.tell("TX", "CA")
    story.changed("s", BOTH, story.head)
    await story.tell("TX", "CA")
    story.changed("s", CA, story.head)
    await story.tell("TX", "CA")
    assert story.resume(pid, None) == [1, 3, 4, 6]
    assert story.resume(pid, story.at(3)) == [4, 6]
    session = story.sessions.find(pid, 0)
    assert session is not None
    assert session.subscription == CA


async def test_a_subscription_that_changes_twice_at_one_position_counts_once() -> None:
    story = Story()
    session = story.open("s", TX, story.head)
    story.changed("s", CA, story.head)
    story.changed("s", BOTH, story.head)
    story.changed("s", BOTH, story.head)
    assert session.subscriptions == [(story.head, BOTH)]
    assert session.complete


async def test_offset_before_the_stored_subscriptions_is_not_served() -> None:
    story = Story()
    pids = [story.open(name, TX, story.head).pid for name in "ab"]
    for turn in range(MAX_SUBSCRIPTION_HISTORY + 1):
        await story.tell("TX")
        for name in "ab":
            story.changed(name, (CA, TX)[turn % 2], story.head)
    assert story.resume(pids[0], story.at(1)) is None
    assert story.resume(pids[1], story.at(2)) is not None


async def test_missing_offset_before_the_stored_subscriptions_is_not_served() -> None:
    story = Story()
    pid = story.open("s", TX, story.head).pid
    for turn in range(MAX_SUBSCRIPTION_HISTORY):
        await story.tell("TX")
        story.changed("s", (CA, TX)[turn % 2], story.head)
    assert story.resume(pid, None) is None


async def test_a_session_of_many_and_long_names_remembers_fewer_subscriptions() -> None:
    story = Story()
    session = story.open("s", TX, story.head)
    longest = MAX_HISTORY_BYTES // 3
    for turn in "abcdef":
        await story.tell("TX")
        story.changed("s", Subscription((turn * longest,)), story.head)
    assert [s.regions for _, s in session.subscriptions] == [("e" * longest,), ("f" * longest,)]
    assert not session.complete
    await story.tell("TX")
    story.changed("s", Subscription(("g" * MAX_HISTORY_BYTES,)), story.head)
    assert len(session.subscriptions) == 1  # the present subscription is kept, whatever its size
    story.changed("s", CA, story.head)
    assert [s for _, s in session.subscriptions] == [CA]
    assert story.resume(session.pid, str(story.head)) == []


async def test_session_expires_after_its_disconnect() -> None:
    story = Story(seconds=10)
    pids = [story.open(name, TX, story.head).pid for name in "abc"]
    story.disconnected("a", 100)
    story.disconnected("b", 105)
    story.disconnected("b", 200)  # reported again
    assert story.resume(pids[0], None, 110) is None
    assert story.resume(pids[1], None, 114.9) == []
    assert story.resume(pids[2], None, 10_000) == []  # never disconnected
    assert story.sessions.outcomes == {RecoveryOutcome.UNKNOWN: 1, RecoveryOutcome.RECOVERED: 2}


async def test_resumed_session_is_not_away() -> None:
    story = Story(seconds=10)
    pid = story.open("s", TX, story.head).pid
    story.disconnected("s", 0)
    assert story.resume(pid, None, 5) == []
    assert story.sessions.away == 0
    story.disconnected("s", 100)
    assert story.resume(pid, None, 109) == []


async def test_newest_disconnected_sessions_are_kept() -> None:
    story = Story(sessions=2)
    pids = [story.open(name, TX, story.head).pid for name in "abc"]
    for now, name in enumerate("abc"):
        story.disconnected(name, now)
    assert len(story.sessions) == story.sessions.away == 2
    assert story.resume(pids[0], None, 3) is None
    assert story.resume(pids[1], None, 3) == []


async def test_ended_session_cannot_be_resumed() -> None:
    story = Story()
    pid = story.open("s", TX, story.head).pid
    story.end("s")
    story.end("s")
    story.disconnected("s", 0)
    assert story.resume(pid, None) is None
    assert len(story.sessions) == 0


@pytest.mark.parametrize("bound", ["events", "bytes"])
async def test_recovery_limits_count_the_events_of_the_client(bound: str) -> None:
    size = 2 if bound == "events" else 2 * len(b"{}")
    story = Story(**{bound: size})
    pids = [story.open(name, TX, story.head).pid for name in "ab"]
    await story.tell("TX", "CA", "CA", "TX")
    assert story.resume(pids[0], None) == [1, 4]
    await story.tell("TX")
    assert story.resume(pids[1], None) is None
    assert story.sessions.outcomes == {RecoveryOutcome.RECOVERED: 1, RecoveryOutcome.TOO_MUCH: 1}


async def test_recovery_fails_if_the_log_has_dropped_entries() -> None:
    story = Story()
    story.log = MemoryEventLog(2, 900)
    pid = story.open("s", TX, story.head).pid
    await story.tell("TX", "TX", "TX")
    assert story.resume(pid, None) is None
    assert story.sessions.outcomes == {RecoveryOutcome.GONE: 1}


def test_pids_can_not_be_guessed() -> None:
    sessions = RecoverySessions(RecoveryLimits(1, 1, 1, 1))
    head = Position("e", 0)
    pids = {sessions.open(str(n), TX, head).pid for n in range(100)}
    assert len(pids) == 100
    assert min(map(len, pids)) >= 24


def test_an_acknowledged_offset_lets_older_subscriptions_go() -> None:
    session = RecoverySession("p", "s", [(Position("e", n), TX) for n in (0, 5, 9)])
    session.acknowledge(Position("e", 4))
    assert session.complete
    session.acknowledge(Position("e", 6))
    assert [at.seq for at, _ in session.subscriptions] == [5, 9]
    assert session.begin(None, lambda position: position) is None
    assert session.begin("e-4", lambda position: position) is None
    assert session.begin("e-6", lambda position: position) == Position("e", 6)


# -- rights

T, TC, ALL = Rights(("TX",), user="u"), Rights(("TX", "CA"), user="u"), Rights(user="u")
MEMBER = Rights(view="member", user="u")


@pytest.mark.parametrize(
    ("rights", "heard", "enough"),
    [
        (UNRESTRICTED, Subscription(), True),
        (ALL, Subscription(rights=ALL), True),
        (Rights(("CA", "TX"), user="u"), Subscription(rights=TC), True),  # in another order
        (ALL, Subscription(("TX",), rights=T), True),
        (T, Subscription(("TX",), rights=ALL), True),
        (T, Subscription(("TX/Austin",), rights=TC), True),
        (T, Subscription((), rights=TC), True),  # it received nothing
        (ALL, Subscription(rights=UNRESTRICTED), True),  # it authenticated later
        (T, Subscription(("CA",), rights=TC), False),
        (T, Subscription(("TX", "CA"), rights=ALL), False),
        (T, Subscription(rights=TC), False),
        (TC, Subscription(rights=T), False),  # it never received the rows of CA
        (ALL, Subscription(rights=T), False),
        (T, Subscription((), ("p1",), TC), False),
        (ALL, Subscription((), ("p1",), TC), False),
        (TC, Subscription((), ("p1",), TC), True),
        (MEMBER, Subscription(rights=ALL), False),
        (ALL, Subscription(("TX",), rights=MEMBER), False),
        (Rights(user="other"), Subscription(("TX",), rights=ALL), False),
        (UNRESTRICTED, Subscription(("TX",), rights=ALL), False),
    ],
)
def test_rights_that_are_enough_to_go_on(rights: Rights, heard: Subscription, enough: bool) -> None:
    assert may_resume(rights, heard) is enough


async def test_another_users_session_is_left_alone() -> None:
    story = Story()
    pid = story.open("s", Subscription(rights=ALL), story.head).pid
    await story.tell("TX")
    for other in (UNRESTRICTED, Rights(user="other")):
        assert story.resume(pid, None, rights=other) is None
    assert story.sessions.outcomes == {RecoveryOutcome.RIGHTS: 2}
    assert story.resume(pid, None, rights=ALL) == [1]


async def test_rights_that_are_not_enough_end_the_session() -> None:
    story = Story()
    pid = story.open("s", Subscription(rights=ALL), story.head).pid
    assert story.resume(pid, None, rights=T) is None
    assert story.sessions.outcomes == {RecoveryOutcome.RIGHTS: 1}
    assert story.resume(pid, None, rights=ALL) is None


async def test_events_before_the_offset_need_no_rights() -> None:
    story = Story()
    pid = story.open("s", Subscription(("CA",), rights=TC), story.head).pid
    await story.tell("CA")
    story.changed("s", Subscription(("TX",), rights=T), story.head)
    await story.tell("TX")
    assert story.resume(pid, story.at(1), rights=T) == [2]


async def test_every_missed_segment_needs_rights() -> None:
    story = Story()
    pid = story.open("s", Subscription(("CA",), rights=TC), story.head).pid
    await story.tell("CA", "CA")
    story.changed("s", Subscription(("TX",), rights=T), story.head)
    await story.tell("TX")
    assert story.resume(pid, story.at(1), rights=T) is None
    assert story.sessions.outcomes == {RecoveryOutcome.RIGHTS: 1}


async def test_resumed_session_has_the_rights_of_the_reconnect() -> None:
    story = Story()
    pid = story.open("s", Subscription(("TX",), rights=ALL), story.head).pid
    await story.tell("TX")
    assert story.resume(pid, None, rights=T) == [1]
    session = story.sessions.by_pid(pid)
    assert session is not None
    assert session.subscription == Subscription(("TX",), rights=T)
    # And again, from before that reconnect.
    assert story.resume(pid, None, rights=T) == [1]


def test_notification_is_replayed_within_the_present_rights() -> None:
    def concerns(seq: int, region: str) -> Entry:
        rooms = (user_room("u"), user_room("u", region))
        return Entry(Position("e", seq), Event("property-notification", "p", rooms, b"{}"), 0)

    entries = [concerns(1, "TX"), concerns(2, "CA")]
    heard = Subscription(("TX",), rights=ALL)
    assert seqs([ReplaySegment.of(heard, entries, ALL)]) == [1, 2]
    assert seqs([ReplaySegment.of(heard, entries, T)]) == [1]


def test_view_replays_its_own_events() -> None:
    entries = [
        Entry(Position("e", n), Event("property-updated", "p", rooms, b"{}"), 0)
        for n, rooms in enumerate(
            (
                rooms_of("p", ("TX",), "public"),
                rooms_of("p", ("TX",), "member"),
                rooms_of("p", ("TX",), "public", "member"),
            )
        )
    ]
    assert seqs([ReplaySegment.of(Subscription(("TX",), rights=ALL), entries, ALL)]) == [0, 2]
    assert seqs([ReplaySegment.of(Subscription(rights=MEMBER), entries, MEMBER)]) == [1, 2]
