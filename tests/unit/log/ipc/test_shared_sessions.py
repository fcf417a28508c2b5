"""A session belongs to the process that took it last, whatever else happens."""

from __future__ import annotations

import pytest

from bridge.clock import ManualClock
from bridge.log.ipc.shared_sessions import SharedSessions

SECONDS = 60.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def sessions(clock: ManualClock) -> SharedSessions:
    return SharedSessions(None, seconds=SECONDS, clock=clock)


async def test_session_is_taken_with_what_was_put_last(sessions: SharedSessions) -> None:
    assert await sessions.put("a", {"s": b"1"}) == []
    assert await sessions.put("a", {"s": b"2"}) == []
    assert sessions.take("b", "s") == b"2"


async def test_unknown_session_is_not_taken(sessions: SharedSessions) -> None:
    assert sessions.take("a", "s") is None


async def test_put_after_another_process_took_the_session_is_refused(
    sessions: SharedSessions,
) -> None:
    await sessions.put("a", {"s": b"1", "t": b"1"})
    sessions.take("b", "s")
    assert await sessions.put("a", {"s": b"2", "t": b"2"}) == ["s"]
    assert sessions.take("b", "s") == b"1"
    assert sessions.take("b", "t") == b"2"


async def test_delete_after_another_process_took_the_session_is_refused(
    sessions: SharedSessions,
) -> None:
    await sessions.put("a", {"s": b"1"})
    sessions.take("b", "s")
    assert await sessions.put("a", {"s": None}) == ["s"]
    assert sessions.take("b", "s") == b"1"


async def test_session_that_was_taken_and_ended_does_not_come_back(
    sessions: SharedSessions,
) -> None:
    await sessions.put("a", {"s": b"1"})
    sessions.take("b", "s")
    assert await sessions.put("b", {"s": None}) == []
    assert await sessions.put("a", {"s": b"2"}) == ["s"]
    assert sessions.take("b", "s") is None


async def test_session_that_returns_to_its_first_process_is_its_own(
    sessions: SharedSessions,
) -> None:
    await sessions.put("a", {"s": b"1"})
    sessions.take("b", "s")
    sessions.take("a", "s")
    assert await sessions.put("a", {"s": b"2"}) == []
    assert await sessions.put("b", {"s": b"3"}) == ["s"]


async def test_sessions_of_a_process_that_stays_away_are_dropped(
    sessions: SharedSessions, clock: ManualClock
) -> None:
    await sessions.put("a", {"s": b"1"})
    await sessions.put("b", {"t": b"1"})
    sessions.left("a")
    clock.advance(SECONDS)
    await sessions.sweep()
    assert len(sessions) == 2
    clock.advance(0.1)
    await sessions.sweep()
    assert (sessions.take("c", "s"), sessions.take("c", "t")) == (None, b"1")


async def test_sessions_of_a_process_that_returns_are_kept(
    sessions: SharedSessions, clock: ManualClock
) -> None:
    await sessions.put("a", {"s": b"1"})
    sessions.left("a")
    sessions.joined("a", {"s": 0.0})
    clock.advance(SECONDS + 1)
    await sessions.sweep()
    assert await sessions.put("a", {"s": b"2"}) == []


class Store:
    """A store that a new leader process finds."""

    shared = False

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}

    async def load(self) -> list[tuple[str, bytes]]:
        return list(self.stored.items())

    async def put(self, sessions: dict[str, bytes | None]) -> tuple[()]:
        for name, session in sessions.items():
            if session is None:
                self.stored.pop(name, None)
            else:
                self.stored[name] = session
        return ()

    async def take(self, _name: str) -> None:
        return None


async def test_sessions_are_claimed_from_a_new_leader_process_by_their_last_owner(
    clock: ManualClock,
) -> None:
    store = Store()
    former = SharedSessions(store, seconds=SECONDS, clock=clock)  # type: ignore[arg-type]
    await former.put("a", {"s": b"1"})
    former.take("b", "s")
    for order in (("a", 1.0), ("b", 2.0)), (("b", 2.0), ("a", 1.0)):
        sessions = SharedSessions(store, seconds=SECONDS, clock=clock)  # type: ignore[arg-type]
        await sessions.load()
        for process, since in order:
            sessions.joined(process, {"s": since})
        assert await sessions.put("a", {"s": b"2"}) == ["s"]
        assert await sessions.put("b", {"s": b"1"}) == []


async def test_stored_sessions_that_no_process_claims_are_dropped_from_the_store(
    clock: ManualClock,
) -> None:
    store = Store()
    store.stored = {"s": b"1", "t": b"1"}
    sessions = SharedSessions(store, seconds=SECONDS, clock=clock)  # type: ignore[arg-type]
    await sessions.load()
    assert sessions.take("a", "t") == b"1"
    clock.advance(SECONDS + 1)
    await sessions.sweep()
    assert store.stored == {"t": b"1"}
