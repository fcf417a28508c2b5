"""The replica: rows, head and published entries change together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from bridge.errors import PositionGoneError
from bridge.events import Event
from bridge.log import commit_feed
from bridge.log.base import Position
from bridge.log.memory import MemoryEventLog
from bridge.replica import Replica

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from bridge.changes import Key
    from bridge.log.base import Entry

COLUMNS = ("n",)


def event(number: int) -> Event:
    return Event("property-updated", "a", ("everything",), b"%d" % number)


class Seen:
    """What a subscriber is given, and the replica's state at that moment."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.commits: list[tuple[list[bytes], bytes | None, int]] = []
        replica.subscribe(self.publish)

    def publish(self, entries: Sequence[Entry]) -> None:
        envelopes = [entry.event.envelope for entry in entries]
        self.commits.append((envelopes, self.replica.rows.get("a"), self.replica.head.seq))


@pytest.fixture
def log() -> MemoryEventLog:
    return MemoryEventLog(100, 60)


async def test_commit_is_applied_to_rows_and_head_before_it_is_published(
    log: MemoryEventLog,
) -> None:
    replica = Replica(log, COLUMNS)
    seen = Seen(replica)
    running = asyncio.ensure_future(replica.run())
    for number in range(3):
        commit = await log.append([event(number)], [("a", b"[%d]" % number)])
        await replica.applied(commit)
        assert replica.head == log.head
    running.cancel()
    assert seen.commits == [
        ([b"0"], b"[0]", 1),
        ([b"1"], b"[1]", 2),
        ([b"2"], b"[2]", 3),
    ]


async def test_rows_and_head_agree_in_every_step_of_the_loop(log: MemoryEventLog) -> None:
    replica = Replica(log, COLUMNS)
    running = asyncio.ensure_future(replica.run())
    states: set[tuple[int, bytes | None]] = set()

    async def observe() -> None:
        while replica.head.seq < 20:
            states.add((replica.head.seq, replica.rows.get("a")))
            await asyncio.sleep(0)

    observing = asyncio.ensure_future(observe())
    for number in range(1, 21):
        await log.append([event(number)], [("a", b"[%d]" % number)])
        for _ in range(number % 3):
            await asyncio.sleep(0)
    await observing
    running.cancel()
    assert {row for seq, row in states if seq} == {b"[%d]" % seq for seq, _ in states if seq}
    assert all(row == (b"[%d]" % seq if seq else None) for seq, row in states)


async def test_commit_without_entries_is_applied_and_not_published(log: MemoryEventLog) -> None:
    replica = Replica(log, COLUMNS)
    seen = Seen(replica)
    running = asyncio.ensure_future(replica.run())
    await replica.applied(await log.append([], [("a", b"[1]")]))
    running.cancel()
    assert replica.rows.get("a") == b"[1]"
    assert seen.commits == []


async def test_entries_are_read_up_to_the_applied_head(log: MemoryEventLog) -> None:
    replica = Replica(log, COLUMNS)
    start = replica.head
    first = await log.append([event(1), event(2)], [])
    second = await log.append([event(3)], [])
    assert list(replica.after(start)) == []
    replica.apply(first)
    assert list(replica.after(start)) == list(first.entries)
    assert list(replica.after(first.entries[0].position)) == list(first.entries[1:])
    with pytest.raises(PositionGoneError):
        replica.after(second.entries[0].position)
    replica.apply(second)
    assert list(replica.after(start)) == [*first.entries, *second.entries]
    with pytest.raises(PositionGoneError):
        replica.after(Position("other", 0))


class SlowLog(MemoryEventLog):
    """Its rows are read while it is appended to, as by a process that joins later."""

    stored: tuple[tuple[Key, bytes], ...] = ()

    async def rows(self) -> AsyncIterator[Sequence[tuple[Key, bytes]]]:
        yield self.stored[:1]
        for number in (7, 8):
            await self.append([event(number)], [("a", b"[%d]" % number), ("c", None)])
        yield self.stored[1:]


async def test_load_applies_what_is_committed_while_rows_are_read() -> None:
    log = SlowLog(100, 60)
    log.stored = (("a", b"[1]"), ("b", b"[2]"), ("c", b"[3]"))
    replica = Replica(log, COLUMNS)
    await replica.load()
    assert replica.head == log.head
    assert {key: replica.rows.get(key) for key in replica.rows} == {"a": b"[8]", "b": b"[2]"}


async def test_replica_that_falls_behind_raises(
    log: MemoryEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit_feed, "MAX_KEPT_COMMITS", 2)
    replica = Replica(log, COLUMNS)
    for number in range(3):
        await log.append([event(number)], [])
    with pytest.raises(PositionGoneError, match="behind"):
        await replica.run()


async def test_two_replicas_of_one_log_have_the_same_rows(log: MemoryEventLog) -> None:
    replicas = [Replica(log, COLUMNS) for _ in range(2)]
    seen = [Seen(replica) for replica in replicas]
    running: list[Any] = [asyncio.ensure_future(replica.run()) for replica in replicas]
    for number in range(10):
        commit = await log.append([event(number)], [("a", b"[%d]" % number)])
    for replica in replicas:
        await replica.applied(commit)
    for task in running:
        task.cancel()
    assert seen[0].commits == seen[1].commits
    assert len(seen[0].commits) == 10
