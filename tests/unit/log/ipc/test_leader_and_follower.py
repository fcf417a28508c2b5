"""A follower has the leader's log: all of it, in order, over every break of the connection."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from bridge.errors import LeaseLostError, PositionGoneError
from bridge.events import Event
from bridge.log.backends import LogOptions
from bridge.log.base import Note, Position, Progress
from bridge.log.process_backends import create_follower_backend, create_leader_backend

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bridge.log.backends import LogBackend
    from bridge.log.base import Commit
    from bridge.log.ipc.leader import FollowerServer
    from bridge.log.ipc.link import LeaderLink

SECONDS = 20


def event(number: int) -> Event:
    return Event("property-created", number, ("all",), b'{"n":%d}' % number)


class Machine:
    """The processes of a machine, in one."""

    def __init__(self, directory: Path, url: str) -> None:
        self.socket = directory / "leader.sock"
        self.options = LogOptions(url, "shape", events=10, seconds=900)

    @asynccontextmanager
    async def leader(
        self, *, continues: bool = False
    ) -> AsyncIterator[tuple[LogBackend, FollowerServer]]:
        backend, server = create_leader_backend(
            self.options, self.socket, session_seconds=60, continues=continues
        )
        await backend.log.open()
        try:
            yield backend, server
        finally:
            await backend.log.close()

    @asynccontextmanager
    async def follower(self, name: str = "f") -> AsyncIterator[tuple[LogBackend, LeaderLink]]:
        backend, link = create_follower_backend(self.options, self.socket, name)
        async with asyncio.timeout(SECONDS):
            await backend.log.open()
        try:
            yield backend, link
        finally:
            await backend.log.close()


@pytest.fixture(params=["memory", "sqlite"])
def machine(request: Any, tmp_path: Path) -> Machine:
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/log.sqlite3"
    return Machine(tmp_path, url)


@pytest.fixture
def durable(tmp_path: Path) -> Machine:
    return Machine(tmp_path, f"sqlite:///{tmp_path}/log.sqlite3")


async def append(leader: LogBackend, *numbers: int) -> Commit:
    rows = [(f"k{number}", b"[%d]" % number) for number in numbers]
    return await leader.log.append([event(number) for number in numbers], rows)


async def put(process: LogBackend, sessions: dict[str, bytes | None]) -> list[str]:
    assert process.sessions is not None
    return list(await process.sessions.put(sessions))


async def received(commits: AsyncIterator[Commit], count: int) -> list[Commit]:
    async with asyncio.timeout(SECONDS):
        return [await anext(commits) for _ in range(count)]


async def until(condition: Any) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


async def test_follower_receives_each_commit(machine: Machine) -> None:
    async with machine.leader() as (leader, _), machine.follower() as (follower, _):
        commits = follower.log.follow(follower.log.head)
        first = await append(leader, 1, 2)
        second = await leader.log.append([], [("k1", None)], Progress(True, "2026"))
        got = await received(commits, 2)
        assert [list(each.entries) for each in got] == [list(first.entries), []]
        assert [list(each.rows) for each in got] == [list(first.rows), list(second.rows)]
        assert follower.log.progress == Progress(True, "2026")
        assert follower.log.head == leader.log.head


async def test_follower_has_the_entries_from_before_it(machine: Machine) -> None:
    async with machine.leader() as (leader, _):
        for number in range(1, 15):
            await append(leader, number)
        start = Position(leader.log.head.epoch, 4)
        async with machine.follower() as (follower, _):
            assert list(follower.log.after(start)) == list(leader.log.after(start))
            with pytest.raises(PositionGoneError):
                follower.log.after(Position(start.epoch, 3))


async def test_follower_loads_the_rows(machine: Machine) -> None:
    async with machine.leader() as (leader, _):
        await append(leader, 1, 2, 3)
        await leader.log.append([], [("k2", None)])
        async with machine.follower() as (follower, _):
            rows = dict([row async for rows in follower.log.rows() for row in rows])
    assert rows == {"k1": b"[1]", "k3": b"[3]"}


async def test_notes_of_a_follower_reach_all_processes(machine: Machine) -> None:
    async with (
        machine.leader() as (leader, _),
        machine.follower("f") as (first, _),
        machine.follower("g") as (second, _),
    ):
        following = [each.log.follow(each.log.head) for each in (leader, first, second)]
        await first.log.note("kind", b'{"a": 1}')
        for commits in following:
            [commit] = await received(commits, 1)
            assert list(commit.notes) == [Note("kind", "f", b'{"a": 1}')]


async def test_follower_does_not_append(machine: Machine) -> None:
    async with machine.leader(), machine.follower() as (follower, _):
        assert not follower.lease.leading
        with pytest.raises(LeaseLostError):
            await append(follower, 1)


async def test_follower_misses_nothing_over_a_lost_connection(machine: Machine) -> None:
    async with machine.leader() as (leader, server), machine.follower() as (follower, link):
        commits = follower.log.follow(follower.log.head)
        await append(leader, 1)
        await received(commits, 1)
        for task in list(server._connections):
            task.cancel()
        await until(lambda: not link.connected)
        assert [link.error] == ["the leader process is away"]
        await append(leader, 2)
        await append(leader, 3)
        await until(lambda: link.connected)
        assert [link.error] == [None]
        got = await received(commits, 2)
        assert [each.entries[0].event for each in got] == [event(2), event(3)]


@pytest.mark.parametrize("beat", [0.02, 60])
async def test_follower_connects_again_to_a_leader_process_that_sends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, beat: float
) -> None:
    monkeypatch.setattr("bridge.log.ipc.leader.BEAT_SECONDS", beat)
    monkeypatch.setattr("bridge.log.ipc.link.SILENCE_SECONDS", 0.2)
    machine = Machine(tmp_path, "memory:")
    stuck = "the leader process has sent nothing for 0.2 s"
    async with machine.leader() as (leader, _), machine.follower() as (follower, _):
        commits = follower.log.follow(follower.log.head)
        if beat == 60:
            await until(lambda: stuck in caplog.text)
        else:
            await asyncio.sleep(0.5)
            assert stuck not in caplog.text
        await append(leader, 1)
        [commit] = await received(commits, 1)
        assert commit.entries[0].event == event(1)


async def test_follower_of_a_lost_log_in_memory_is_told(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "memory:")
    async with machine.leader() as (leader, _):
        await append(leader, 1)
        context = machine.follower()
        follower, link = await context.__aenter__()
    try:
        commits = follower.log.follow(follower.log.head)
        before = follower.log.head
        async with machine.leader(continues=True) as (leader, _):
            await until(lambda: link.connected and follower.log.head.epoch != before.epoch)
            with pytest.raises(PositionGoneError):
                await received(commits, 1)
            assert follower.log.locate(before) is None
            commits = follower.log.follow(follower.log.head)
            await append(leader, 5)
            [commit] = await received(commits, 1)
            assert commit.entries[0].event == event(5)
    finally:
        await follower.log.close()


async def test_follower_continues_with_the_next_leader_process_of_a_file(durable: Machine) -> None:
    async with durable.leader() as (leader, _):
        context = durable.follower()
        follower, _ = await context.__aenter__()
        try:
            commits = follower.log.follow(follower.log.head)
            await append(leader, 1)
            await received(commits, 1)
            epoch = leader.log.head.epoch
        finally:
            await leader.log.close()
    try:
        async with durable.leader(continues=True) as (leader, _):
            assert leader.log.head == Position(epoch, 1)
            await append(leader, 2)
            [commit] = await received(commits, 1)
            assert commit.entries[0].position == Position(epoch, 2)
    finally:
        await follower.log.close()


async def test_leader_process_does_not_go_on_with_a_file_that_went_back(durable: Machine) -> None:
    async with durable.leader() as (leader, _):
        await append(leader, 1)
        file = durable.options.url.removeprefix("sqlite:///")
    async with durable.leader(continues=True) as (leader, server):
        context = durable.follower()
        follower, _ = await context.__aenter__()
        try:
            # As if the follower had received entries that the file has lost.
            ahead = Position(leader.log.head.epoch, 99)
            follower.log._recent.head = ahead  # type: ignore[attr-defined]
            lost = asyncio.Event()
            server.on_history_lost = lost.set
            for task in list(server._connections):
                task.cancel()
            async with asyncio.timeout(SECONDS):
                await lost.wait()
        finally:
            await follower.log.close()
    assert file


async def test_follower_that_reads_too_slowly_is_told(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.log.commit_feed.MAX_KEPT_COMMITS", 3)
    async with machine.leader() as (leader, server), machine.follower() as (follower, link):
        await append(leader, 1)
        await until(lambda: follower.log.head.seq == 1)
        commits = follower.log.follow(follower.log.head)
        for task in list(server._connections):
            task.cancel()
        await until(lambda: not link.connected)
        for number in range(2, 10):
            await append(leader, number)
        with pytest.raises(PositionGoneError):
            await received(commits, 8)
        await until(lambda: follower.log.head.seq == 9)


async def test_sessions_move_between_processes(machine: Machine) -> None:
    async with (
        machine.leader() as (leader, _),
        machine.follower("f") as (first, _),
        machine.follower("g") as (second, _),
    ):
        assert first.sessions and second.sessions and leader.sessions  # noqa: PT018
        assert first.shared
        assert list(await first.sessions.put({"s": b'{"a": 1}'})) == []
        assert await second.sessions.take("s") == b'{"a": 1}'
        assert list(await first.sessions.put({"s": b'{"a": 2}'})) == ["s"]
        assert await leader.sessions.take("unknown") is None


async def test_sessions_outlive_the_leader_process_of_a_file(durable: Machine) -> None:
    async with durable.leader():
        context = durable.follower()
        follower, _ = await context.__aenter__()
        assert follower.sessions is not None
        await follower.sessions.put({"s": b'{"a": 1}'})
    try:
        putting = asyncio.create_task(put(follower, {"t": b'{"b": 2}'}))
        async with durable.leader(continues=True), durable.follower("g") as (other, _):
            async with asyncio.timeout(SECONDS):
                assert await putting == []
            assert other.sessions is not None
            assert await other.sessions.take("s") == b'{"a": 1}'
            assert await put(follower, {"s": None, "t": None}) == ["s"]
    finally:
        await follower.log.close()


async def test_revocations_reach_a_process_that_starts_later(machine: Machine) -> None:
    async with machine.leader() as (_, _), machine.follower("f") as (first, _):
        assert first.revocations is not None
        await first.revocations.put("user", "u", 100.0, oldest=50.0)
        async with machine.follower("g") as (second, _):
            assert second.revocations is not None
            assert list(await second.revocations.load()) == [("user", "u", 100.0)]


async def test_leader_asks_all_followers(machine: Machine) -> None:
    async with (
        machine.leader() as (_, server),
        machine.follower("f") as (_, first),
        machine.follower("g") as (_, second),
    ):
        for link, text in ((first, b"one"), (second, b"two")):

            async def answer(_process: str, argument: bytes, text: bytes = text) -> bytes:
                return text + argument

            link.handlers["question"] = answer
        assert await server.ask("question", b"!", seconds=SECONDS) == {"f": b"one!", "g": b"two!"}


async def test_follower_without_an_answer_is_left_out(machine: Machine) -> None:
    async with machine.leader() as (_, server), machine.follower("f") as (_, link):

        async def answer(_process: str, _argument: bytes) -> bytes:
            await asyncio.get_running_loop().create_future()
            return b""

        link.handlers["question"] = answer
        assert await server.ask("question", seconds=0.05) == {}
