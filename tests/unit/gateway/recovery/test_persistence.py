"""Stored sessions are loaded by the next process unchanged."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson
import pytest

from bridge.clock import ManualClock
from bridge.errors import LogUnusableError
from bridge.gateway.recovery import persistence as module
from bridge.gateway.recovery.persistence import SessionPersistence
from bridge.gateway.recovery.sessions import RecoveryLimits, RecoverySessions
from bridge.gateway.subscription import Subscription
from bridge.log.base import Position
from bridge.rights import Rights
from tests.fakes import SessionsBySid

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

TEXAS = Subscription(("TX",), ())
LIMITED = Rights(("TX", "CA/San Diego"), "member", "u")
MORE = Subscription(("TX", "CA"), ("p1", 7))


class Store:
    """In memory. `put` waits for `gate`, and fails while `broken`."""

    shared = False

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.puts = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.broken = False
        self.taken: set[str] = set()
        """Sessions of another process."""

    async def load(self) -> Sequence[tuple[str, bytes]]:
        return list(self.kept.items())

    async def begun(self, number: int) -> None:
        """Wait until that many writes have begun."""
        async with asyncio.timeout(20):
            while self.puts < number:
                await asyncio.sleep(0)

    async def take(self, name: str, /) -> bytes | None:
        self.taken.discard(name)
        return self.kept.get(name)

    async def put(self, sessions: Mapping[str, bytes | None]) -> Collection[str]:
        self.puts += 1
        await self.gate.wait()
        if self.broken:
            raise LogUnusableError("broken")
        for name, session in sessions.items():
            if name in self.taken:
                continue
            self.kept.pop(name, None)
            if session is not None:
                self.kept[name] = session
        return self.taken & sessions.keys()


class Process(SessionsBySid):
    """The sessions of one process over the store, with its own monotonic clock."""

    def __init__(self, store: Store, *, wall: float, started: float, limit: int = 10) -> None:
        super().__init__()
        self.clock = ManualClock(wall=wall, monotonic=started)
        self.sessions = RecoverySessions(RecoveryLimits(120.0, limit, 100, 10**6))
        self.keeper = SessionPersistence(self.sessions, store, self.clock)


def at(seq: int, epoch: str = "e") -> Position:
    return Position(epoch, seq)


def in_epoch(epoch: str) -> Callable[[Position], Position | None]:
    """Return the `locate` of a log with that epoch alone."""
    return lambda position: position if position.epoch == epoch else None


async def test_next_process_loads_sessions_with_their_subscriptions() -> None:
    store = Store()
    first = Process(store, wall=1000, started=5)
    pid = first.open("s1", TEXAS, at(3)).pid
    first.changed("s1", MORE, at(8))
    await first.keeper.store()
    second = Process(store, wall=5000, started=70)
    await second.keeper.load(in_epoch("e"))
    session = second.sessions.find(pid, 70)
    assert session is not None
    assert session.sid == "s1"
    assert session.subscriptions == [(at(3), TEXAS), (at(8), MORE)]
    assert session.complete


async def test_stored_subscriptions_are_loaded_unchanged() -> None:
    store = Store()
    first = Process(store, wall=1000, started=5)
    everything = first.open("s1", Subscription(), at(0)).pid
    nothing = first.open("s2", Subscription(()), at(0)).pid
    limited = first.open("s3", Subscription((), ("p1",), LIMITED), at(0)).pid
    shut_out = first.open("s4", Subscription(rights=Rights((), user="v")), at(0)).pid
    await first.keeper.store()
    second = Process(store, wall=1000, started=5)
    await second.keeper.load(in_epoch("e"))
    for pid, subscription, user in (
        (everything, Subscription(), None),
        (nothing, Subscription(()), None),
        (limited, Subscription((), ("p1",), LIMITED), "u"),
        (shut_out, Subscription(rights=Rights((), user="v")), "v"),
    ):
        session = second.sessions.find(pid, 5, user)
        assert session is not None
        assert session.subscription == subscription


async def test_sessions_that_were_stored_before_there_were_rights_are_everybodys() -> None:
    store = Store()
    store.kept["old"] = (
        b'{"sid":"s1","heard":[["e-0",["TX"],["p1"]],["e-3",null,[]]],"complete":true,"left_at":null}'
    )
    process = Process(store, wall=1000, started=5)
    await process.keeper.load(in_epoch("e"))
    session = process.sessions.find("old", 5)
    assert session is not None
    assert session.subscriptions == [
        (at(0), Subscription(("TX",), ("p1",))),
        (at(3), Subscription()),
    ]


async def test_unrestricted_rights_are_stored_in_the_earlier_format() -> None:
    store = Store()
    process = Process(store, wall=1000, started=5)
    pid = process.open("s1", MORE, at(3)).pid
    await process.keeper.store()
    assert orjson.loads(store.kept[pid])["heard"] == [["e-3", ["TX", "CA"], ["p1", 7]]]


async def test_connected_client_counts_as_disconnected_since_the_start() -> None:
    store = Store()
    first = Process(store, wall=1000, started=5)
    pid = first.open("s1", TEXAS, at(0)).pid
    await first.keeper.store()
    second = Process(store, wall=9000, started=70)
    await second.keeper.load(in_epoch("e"))
    assert second.sessions.find(pid, 70 + 119) is not None
    assert second.sessions.find(pid, 70 + 120) is None


async def test_disconnected_client_keeps_its_time_of_disconnect() -> None:
    store = Store()
    first = Process(store, wall=1000, started=5)
    pid = first.open("s1", TEXAS, at(0)).pid
    first.disconnected("s1", 5)
    await first.keeper.store()
    second = Process(store, wall=1100, started=70)
    await second.keeper.load(in_epoch("e"))
    assert second.sessions.find(pid, 70 + 19) is not None
    assert second.sessions.find(pid, 70 + 20) is None


async def test_clock_set_back_does_not_keep_sessions_forever() -> None:
    store = Store()
    first = Process(store, wall=9000, started=5)
    pid = first.open("s1", TEXAS, at(0)).pid
    first.disconnected("s1", 5)
    await first.keeper.store()
    second = Process(store, wall=1000, started=70)
    await second.keeper.load(in_epoch("e"))
    assert second.sessions.find(pid, 70 + 119) is not None
    assert second.sessions.find(pid, 70 + 120) is None


async def test_ended_session_is_not_loaded() -> None:
    store = Store()
    first = Process(store, wall=1000, started=5)
    first.open("s1", TEXAS, at(0))
    await first.keeper.store()
    first.end("s1")
    await first.keeper.store()
    assert store.kept == {}


async def test_sessions_of_another_epoch_are_forgotten() -> None:
    store = Store()
    first = Process(store, wall=1000, started=5)
    pid = first.open("s1", TEXAS, at(0, "old")).pid
    await first.keeper.store()
    second = Process(store, wall=1000, started=5)
    await second.keeper.load(in_epoch("new"))
    assert second.sessions.find(pid, 5) is None
    await second.keeper.store()
    assert store.kept == {}


async def test_of_too_many_the_newest_stay_and_the_others_are_forgotten() -> None:
    store = Store()
    first = Process(store, wall=1000, started=5)
    pids = []
    for number in range(4):
        pids.append(first.open(f"s{number}", TEXAS, at(0)).pid)
        first.clock.advance(1)
        first.disconnected(f"s{number}", first.clock.monotonic())
    await first.keeper.store()
    second = Process(store, wall=first.clock.wall(), started=70, limit=2)
    await second.keeper.load(in_epoch("e"))
    found = [second.sessions.find(pid, 70) is not None for pid in pids]
    assert found == [False, False, True, True]
    await second.keeper.store()
    assert set(store.kept) == set(pids[2:])


async def test_nothing_is_written_where_nothing_changed() -> None:
    store = Store()
    process = Process(store, wall=1000, started=5)
    process.open("s1", TEXAS, at(0))
    await process.keeper.store()
    process.changed("s1", TEXAS, at(9))
    await process.keeper.store()
    assert store.puts == 1


async def test_changes_gather_and_are_stored_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLUSH_DELAY_SECONDS", 0.001)
    store = Store()
    process = Process(store, wall=1000, started=5)
    running = asyncio.create_task(process.keeper.run())
    for number in range(20):
        process.open(f"s{number}", TEXAS, at(0))
    async with asyncio.timeout(20):
        while len(store.kept) < 20:
            await asyncio.sleep(0.001)
    assert store.puts == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_store_returns_after_the_change_is_stored() -> None:
    store = Store()
    process = Process(store, wall=1000, started=5)
    process.open("s1", TEXAS, at(0))
    store.gate.clear()
    waiting = asyncio.create_task(process.keeper.store())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    store.gate.set()
    await waiting
    assert len(store.kept) == 1


async def test_a_store_that_is_broken_ends_the_keeper_loudly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FLUSH_DELAY_SECONDS", 0)
    store = Store()
    store.broken = True
    process = Process(store, wall=1000, started=5)
    process.open("s1", TEXAS, at(0))
    with pytest.raises(LogUnusableError):
        await process.keeper.run()


async def test_the_end_does_not_wait_for_a_store_that_takes_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.01)
    store = Store()
    process = Process(store, wall=1000, started=5)
    process.open("s1", TEXAS, at(0))
    store.gate.clear()
    async with asyncio.timeout(20):
        await process.keeper.close()
    assert "will reconnect as new ones" in caplog.text


async def test_close_warns_of_a_store_that_cannot_be_written(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Store()
    store.broken = True
    process = Process(store, wall=1000, started=5)
    process.open("s1", TEXAS, at(0))
    await process.keeper.close()
    assert store.kept == {}
    assert "sessions could not be stored" in caplog.text


async def test_sessions_that_are_claimed_at_the_same_time_are_verified_by_one_write() -> None:
    store = Store()
    process = Process(store, wall=1000, started=5, limit=100)
    pids = [process.open(f"c{n}", TEXAS, at(1)).pid for n in range(50)]
    await process.keeper.store()
    claimed = await asyncio.gather(*map(process.keeper.claim, pids))
    assert [session.pid for session in claimed if session is not None] == pids
    assert store.puts == 2


async def test_claim_waits_for_a_write_that_is_under_way() -> None:
    store = Store()
    process = Process(store, wall=1000, started=5)
    pid = process.open("c", TEXAS, at(1)).pid
    store.gate.clear()
    storing = asyncio.ensure_future(process.keeper.store())
    await asyncio.sleep(0)
    claiming = asyncio.ensure_future(process.keeper.claim(pid))
    await asyncio.sleep(0.01)
    assert not claiming.done()
    store.gate.set()
    assert (await claiming) is process.session_of["c"]
    await storing


async def test_claimed_session_that_another_process_has_changed_is_the_stored_one() -> None:
    store = Store()
    here, there = (Process(store, wall=1000, started=started) for started in (5, 500))
    refused: list[str] = []
    here.keeper.on_refused = lambda session: refused.append(session.pid)
    pid = here.open("c", TEXAS, at(1)).pid
    await here.keeper.store()
    session = await there.keeper.claim(pid)
    assert session is not None
    there.keeper.adopt(session, in_epoch("e"))
    there.sessions.change(session, MORE, at(2))
    await there.keeper.store()
    store.taken.add(pid)
    returned = await here.keeper.claim(pid)
    assert returned is not None
    assert returned.subscription == MORE
    assert here.sessions.by_pid(pid) is None, "not before it is adopted"
    assert refused == [pid]
    here.keeper.adopt(returned, in_epoch("e"))
    assert here.sessions.by_pid(pid) is returned


async def test_session_of_another_history_is_not_adopted() -> None:
    store = Store()
    here, there = (Process(store, wall=1000, started=started) for started in (5, 500))
    pid = here.open("c", TEXAS, at(1)).pid
    await here.keeper.store()
    session = await there.keeper.claim(pid)
    assert session is not None
    there.keeper.adopt(session, in_epoch("another"))
    assert there.sessions.by_pid(pid) is None
    await there.keeper.store()
    assert pid not in store.kept


async def stored(process: Process, store: Store, pid: str) -> Subscription:
    """Return the subscription that another process would find in the store."""
    other = Process(store, wall=1000, started=5)
    await other.keeper.load(in_epoch("e"))
    session = other.sessions.find(pid, 5)
    assert session is not None
    return session.subscriptions[-1][1]


async def test_changes_of_a_write_that_was_given_up_are_stored_by_the_next_one() -> None:
    store = Store()
    process = Process(store, wall=1000, started=5)
    pid = process.open("s1", TEXAS, at(3)).pid
    store.gate.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):  # as a client that waits for its session does
            await process.keeper.store()
    store.gate.set()
    await process.keeper.store()
    assert await stored(process, store, pid) == TEXAS


async def test_changes_of_a_write_that_failed_are_stored_by_the_next_one() -> None:
    store = Store()
    process = Process(store, wall=1000, started=5)
    pid = process.open("s1", TEXAS, at(3)).pid
    store.broken = True
    with pytest.raises(LogUnusableError):
        await process.keeper.store()
    store.broken = False
    await process.keeper.store()
    assert await stored(process, store, pid) == TEXAS


async def test_store_returns_only_after_a_write_that_was_under_way() -> None:
    store = Store()
    process = Process(store, wall=1000, started=5)
    process.open("s1", TEXAS, at(3))
    store.gate.clear()
    first = asyncio.create_task(process.keeper.store())
    await store.begun(1)
    second = asyncio.create_task(process.keeper.store())
    await asyncio.sleep(0)
    assert not second.done()
    store.gate.set()
    await asyncio.gather(first, second)
    assert store.puts == 1


async def test_slow_write_does_not_replace_a_later_change() -> None:
    store = Store()
    process = Process(store, wall=1000, started=5)
    pid = process.open("s1", TEXAS, at(3)).pid
    store.gate.clear()
    slow = asyncio.create_task(process.keeper.store())
    await store.begun(1)
    process.changed("s1", MORE, at(8))
    late, store.gate = store.gate, asyncio.Event()
    store.gate.set()  # a write that begins now would be done before the first one
    ack = asyncio.create_task(process.keeper.store())
    for _ in range(5):
        await asyncio.sleep(0)
    late.set()
    await asyncio.gather(slow, ack)
    assert await stored(process, store, pid) == MORE
