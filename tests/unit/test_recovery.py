from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from bridge.events import Event
from bridge.gateway.hub import Subscription
from bridge.gateway.recovery import HISTORY, Offer, Outcome, Session, Sessions, offered
from bridge.log.base import Position
from bridge.log.memory import MemoryLog
from bridge.regions import EVERYTHING, region_room

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.gateway.recovery import Stretch

TX, CA = Subscription(("TX",)), Subscription(("CA",))
BOTH = Subscription(("TX", "CA"))


class Story:
    """A log to write into, and sessions over it."""

    def __init__(self, **overrides: Any) -> None:
        bounds = {"seconds": 120, "limit": 100, "max_events": 1000, "max_bytes": 10**6}
        numbers = count()
        self.log = MemoryLog(1000, 900)
        self.sessions = Sessions(**{**bounds, **overrides}, token=lambda: f"pid{next(numbers)}")

    async def tell(self, *regions: str) -> None:
        for region in regions:
            event = Event("property-updated", "p", (EVERYTHING, region_room(region)), b"{}")
            await self.log.append([event], [])

    @property
    def head(self) -> Position:
        return self.log.head

    def at(self, seq: int) -> str:
        return str(Position(self.head.epoch, seq))

    def resume(self, pid: str, offset: str | None, now: float = 0) -> list[int] | None:
        session = self.sessions.find(pid, now)
        if session is None:
            return None
        stretches = self.sessions.resume(session, offset, self.log)
        return None if stretches is None else seqs(stretches)


def seqs(stretches: Sequence[Stretch]) -> list[int]:
    return [entry.position.seq for stretch in stretches for entry in stretch.heard]


@pytest.mark.parametrize(
    ("auth", "offer", "rest"),
    [
        (None, Offer(), None),
        ("x", Offer(), "x"),
        ({"token": "t"}, Offer(), {"token": "t"}),
        ({"pid": "p", "offset": "o", "token": "t"}, Offer("p", "o"), {"token": "t"}),
        ({"pid": "p"}, Offer("p", None), {}),
        ({"pid": "p", "offset": None}, Offer("p", None), {}),
        ({"pid": "p", "offset": 7}, Offer("p", ""), {}),
        ({"pid": 7, "offset": "o"}, Offer(), {}),
        ({"offset": "o"}, Offer(), {}),
    ],
)
def test_pid_and_offset_are_taken_out_of_auth(auth: Any, offer: Offer, rest: Any) -> None:
    assert offered(auth) == (offer, rest)


async def test_what_followed_the_offset_is_owed_and_nothing_else() -> None:
    story = Story()
    await story.tell("TX")
    pid = story.sessions.open("s", TX, story.head).pid
    await story.tell("TX", "CA", "TX", "TX")
    story.sessions.left("s", 0)
    assert story.resume(pid, story.at(3)) == [4, 5]
    assert story.resume(pid, story.at(5)) == []
    assert story.sessions.outcomes == {Outcome.RECOVERED: 2}


async def test_without_an_offset_it_is_everything_since_it_connected() -> None:
    story = Story()
    await story.tell("TX")
    pid = story.sessions.open("s", TX, story.head).pid
    await story.tell("TX")
    assert story.resume(pid, None) == [2]
    assert story.resume(pid, story.at(0)) == [2]


@pytest.mark.parametrize("offset", ["", "x", "x-1", "{epoch}-3", "{epoch}--1", "{epoch}-1 "])
async def test_an_offset_that_is_none_ends_the_session(offset: str) -> None:
    story = Story()
    pid = story.sessions.open("s", TX, story.head).pid
    await story.tell("TX", "TX")
    assert story.resume(pid, offset.format(epoch=story.head.epoch)) is None
    assert story.sessions.outcomes == {Outcome.OFFSET: 1}
    assert story.resume(pid, story.at(1)) is None
    assert len(story.sessions) == 0


async def test_each_event_is_owed_by_the_subscription_of_its_time() -> None:
    story = Story()
    pid = story.sessions.open("s", TX, story.head).pid
    await story.tell("TX", "CA")
    story.sessions.changed("s", BOTH, story.head)
    await story.tell("TX", "CA")
    story.sessions.changed("s", CA, story.head)
    await story.tell("TX", "CA")
    assert story.resume(pid, None) == [1, 3, 4, 6]
    assert story.resume(pid, story.at(3)) == [4, 6]
    session = story.sessions.find(pid, 0)
    assert session is not None
    assert session.subscription == CA


async def test_a_subscription_that_changes_twice_at_one_position_counts_once() -> None:
    story = Story()
    session = story.sessions.open("s", TX, story.head)
    story.sessions.changed("s", CA, story.head)
    story.sessions.changed("s", BOTH, story.head)
    story.sessions.changed("s", BOTH, story.head)
    story.sessions.changed("nobody", BOTH, story.head)
    assert session.subscriptions == [(story.head, BOTH)]
    assert session.complete


async def test_offsets_from_before_what_is_remembered_are_not_served() -> None:
    story = Story()
    pids = [story.sessions.open(name, TX, story.head).pid for name in "ab"]
    for turn in range(HISTORY + 1):
        await story.tell("TX")
        for name in "ab":
            story.sessions.changed(name, (CA, TX)[turn % 2], story.head)
    assert story.resume(pids[0], story.at(1)) is None
    assert story.resume(pids[1], story.at(2)) is not None


async def test_without_an_offset_what_is_not_remembered_is_not_served_either() -> None:
    story = Story()
    pid = story.sessions.open("s", TX, story.head).pid
    for turn in range(HISTORY):
        await story.tell("TX")
        story.sessions.changed("s", (CA, TX)[turn % 2], story.head)
    assert story.resume(pid, None) is None


async def test_the_window_is_counted_from_when_it_left() -> None:
    story = Story(seconds=10)
    pids = [story.sessions.open(name, TX, story.head).pid for name in "abc"]
    story.sessions.left("a", 100)
    story.sessions.left("b", 105)
    story.sessions.left("b", 200)  # a second word of the same end
    assert story.resume(pids[0], None, 110) is None
    assert story.resume(pids[1], None, 114.9) == []
    assert story.resume(pids[2], None, 10_000) == []  # never left
    assert story.sessions.outcomes == {Outcome.UNKNOWN: 1, Outcome.RECOVERED: 2}


async def test_who_came_back_is_not_away() -> None:
    story = Story(seconds=10)
    pid = story.sessions.open("s", TX, story.head).pid
    story.sessions.left("s", 0)
    assert story.resume(pid, None, 5) == []
    assert story.sessions.away == 0
    story.sessions.left("s", 100)
    assert story.resume(pid, None, 109) == []


async def test_the_newest_of_those_who_left_are_kept() -> None:
    story = Story(limit=2)
    pids = [story.sessions.open(name, TX, story.head).pid for name in "abc"]
    for now, name in enumerate("abc"):
        story.sessions.left(name, now)
    assert len(story.sessions) == story.sessions.away == 2
    assert story.resume(pids[0], None, 3) is None
    assert story.resume(pids[1], None, 3) == []


async def test_a_goodbye_ends_the_session() -> None:
    story = Story()
    pid = story.sessions.open("s", TX, story.head).pid
    story.sessions.end("s")
    story.sessions.end("s")
    story.sessions.left("s", 0)
    assert story.resume(pid, None) is None
    assert len(story.sessions) == 0


@pytest.mark.parametrize("bound", ["max_events", "max_bytes"])
async def test_one_recovery_is_bounded_by_what_the_client_itself_missed(bound: str) -> None:
    size = 2 if bound == "max_events" else 2 * len(b"{}")
    story = Story(**{bound: size})
    pids = [story.sessions.open(name, TX, story.head).pid for name in "ab"]
    await story.tell("TX", "CA", "CA", "TX")
    assert story.resume(pids[0], None) == [1, 4]
    await story.tell("TX")
    assert story.resume(pids[1], None) is None
    assert story.sessions.outcomes == {Outcome.RECOVERED: 1, Outcome.TOO_MUCH: 1}


async def test_what_the_log_no_longer_holds_is_gone() -> None:
    story = Story()
    story.log = MemoryLog(2, 900)
    pid = story.sessions.open("s", TX, story.head).pid
    await story.tell("TX", "TX", "TX")
    assert story.resume(pid, None) is None
    assert story.sessions.outcomes == {Outcome.GONE: 1}


def test_pids_can_not_be_guessed() -> None:
    sessions = Sessions(1, 1, 1, 1)
    head = Position("e", 0)
    pids = {sessions.open(str(n), TX, head).pid for n in range(100)}
    assert len(pids) == 100
    assert min(map(len, pids)) >= 24


def test_an_acknowledged_offset_lets_older_subscriptions_go() -> None:
    session = Session("p", "s", [(Position("e", n), TX) for n in (0, 5, 9)])
    session.acknowledge(Position("e", 4))
    assert session.complete
    session.acknowledge(Position("e", 6))
    assert [at.seq for at, _ in session.subscriptions] == [5, 9]
    assert session.begin(None, Position("e", 20)) is None
    assert session.begin("e-4", Position("e", 20)) is None
    assert session.begin("e-6", Position("e", 20)) == Position("e", 6)
