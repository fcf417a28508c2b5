"""The pipeline over a table that answers late and fails now and then, and a stream with holes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge import reading
from bridge.changes import Gap, GapReason, Key, Record
from bridge.errors import TableUnreadable
from bridge.log.base import Entry
from bridge.log.memory import MemoryLog
from bridge.pipeline import Pipeline
from bridge.settings import Settings
from bridge.source.inbox import Inbox
from tests.property.world import PROJECTION, Client, World, published

SETTINGS = Settings(
    supabase_url="http://127.0.0.1:1",
    supabase_secret_key="unused",
    watch_interval=0.01,
    watch_grace=0.005,
    sweep_interval=0.02,
    page_rows=2,
)


@pytest.fixture(autouse=True, scope="module")
def _quick_retries() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "FIRST_RETRY_SECONDS", 0.001)
        yield


class WorldTable:
    """`source.base.Table` over the model; `failures` reads fail, each read takes some steps."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.failures = 0
        self.reads = 0

    async def _read(self) -> list[dict[str, Any]]:
        self.reads += 1
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise TableUnreadable("made to fail")
        rows = [{"id": key, **row} for key, row in sorted(self.world.table.items())]
        await asyncio.sleep(0)
        return rows

    async def page(self, after: Key | None, limit: int) -> Sequence[Record]:
        return [r for r in await self._read() if after is None or r["id"] > after][:limit]

    async def keys(self, after: Key | None, limit: int) -> Sequence[Key]:
        return [row["id"] for row in await self.page(after, limit)]

    async def rows(self, keys: Sequence[Key]) -> Sequence[Record]:
        return [row for row in await self._read() if row["id"] in keys]

    async def recent(self, since: str, after: Key | None, limit: int) -> Sequence[Record]:
        start = (since, "" if after is None else after)
        rows = sorted(await self._read(), key=lambda row: (row["updated_at"], row["id"]))
        return [row for row in rows if (row["updated_at"], row["id"]) > start][:limit]

    async def newest(self) -> Record | None:
        return max(await self._read(), key=lambda row: row["updated_at"], default=None)


class Running:
    """A pipeline at work on a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.table = WorldTable(world)
        self.inbox = Inbox(100)
        self.client = Client()
        self.heard = asyncio.Event()
        self.log = MemoryLog(1000, 60)
        self.pipeline = Pipeline(
            projection=PROJECTION,
            table=self.table,
            log=self.log,
            inbox=self.inbox,
            publish=self.publish,
            settings=SETTINGS,
        )

    def publish(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self.client.hear(entry.event)
        self.heard.set()

    def deliver(self, count: int) -> None:
        for _ in range(min(count, len(self.world.stream))):
            self.inbox.put(self.world.stream.popleft())

    async def start(self) -> None:
        self.inbox.put(Gap(GapReason.SUBSCRIBED))
        self.task = asyncio.ensure_future(self.pipeline.run())
        while not self.pipeline.status().reconciled:
            assert not self.task.done(), self.task.exception()
            await asyncio.sleep(0.001)
        # What was there at the start is not told: a browser reads it.
        self.client.rows = published(
            {str(k): self.pipeline.rows.decode(self.pipeline.rows.get(k) or b"")
             for k in self.pipeline.rows}
        )  # fmt: skip

    async def stop(self) -> None:
        died = self.task.done()
        self.task.cancel()
        [outcome] = await asyncio.gather(self.task, return_exceptions=True)
        assert not died, outcome

    async def converged(self) -> None:
        async with asyncio.timeout(5):
            while self.client.rows != published(self.world.table):
                self.heard.clear()
                if self.client.rows != published(self.world.table):
                    await self.heard.wait()


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from("abcde"), st.integers(0, 3)),
        st.tuples(st.just("move"), st.sampled_from("abcde"), st.sampled_from(["TX", "CA", None])),
        st.tuples(st.just("large"), st.sampled_from("abcde"), st.sampled_from(["x", "y"])),
        st.tuples(st.just("delete"), st.sampled_from("abcde"), st.booleans()),
        st.tuples(st.just("deliver"), st.integers(1, 3), st.just(0)),
        st.tuples(st.just("lose"), st.integers(1, 3), st.just(0)),
        st.tuples(st.just("gap"), st.just(0), st.just(0)),
        st.tuples(st.just("fail"), st.integers(1, 2), st.just(0)),
        st.tuples(st.just("pause"), st.integers(0, 8), st.just(0)),
    ),
    max_size=40,
)


async def play(running: Running, actions: list[tuple[str, Any, Any]]) -> None:
    world = running.world
    for action, a, b in actions:
        if action == "write":
            world.put(a, price=b)
        elif action == "move":
            world.put(a, state=b)
        elif action == "large":
            world.put(a, notes=b)
        elif action == "delete" and a in world.table:
            world.remove(a, silently=b)
        elif action == "deliver":
            running.deliver(a)
        elif action == "lose":
            for _ in range(min(a, len(world.stream))):
                world.stream.popleft()
        elif action == "gap":
            running.inbox.put(Gap(GapReason.RESUBSCRIBED))
        elif action == "fail":
            running.table.failures = a
        elif action == "pause":
            for _ in range(a):
                await asyncio.sleep(0)


async def simulate(
    *, full: bool, rows: str, actions: list[tuple[str, Any, Any]], end_with_gap: bool
) -> None:
    world = World(full_identity=full)
    for key in rows:
        world.put(key, name=key, state="TX", price=0, notes="x")
    world.stream.clear()
    running = Running(world)
    try:
        await running.start()
        await play(running, actions)
        running.deliver(len(world.stream))
        running.table.failures = 0
        if end_with_gap:
            running.inbox.put(Gap(GapReason.RESUBSCRIBED))
        await running.converged()
    finally:
        await running.stop()


@settings(max_examples=400, deadline=None)
@given(full=st.booleans(), rows=st.sampled_from(["", "ab", "abcde"]), actions=ACTIONS)
def test_after_a_gap_the_client_holds_what_the_table_holds(
    full: bool, rows: str, actions: list[tuple[str, Any, Any]]
) -> None:
    asyncio.run(simulate(full=full, rows=rows, actions=actions, end_with_gap=True))


@settings(max_examples=150, deadline=None)
@given(full=st.booleans(), rows=st.sampled_from(["", "ab", "abcde"]), actions=ACTIONS)
def test_what_the_stream_lost_without_a_word_is_found_all_the_same(
    full: bool, rows: str, actions: list[tuple[str, Any, Any]]
) -> None:
    asyncio.run(simulate(full=full, rows=rows, actions=actions, end_with_gap=False))


async def test_the_first_pass_tells_nothing() -> None:
    world = World(full_identity=True)
    for key in "abc":
        world.put(key, state="TX")
    running = Running(world)
    await running.start()
    assert running.log.head.seq == 0
    assert len(running.pipeline.rows) == 3
    await running.stop()


async def test_a_pipeline_whose_log_fails_stops_instead_of_telling() -> None:
    class BrokenLog(MemoryLog):
        async def append(self, events: Any, rows: Any, progress: Any = None) -> Any:
            raise OSError("disk full")

    world = World(full_identity=True)
    world.put("a", state="TX")
    told: list[Entry] = []
    inbox = Inbox(10)
    inbox.put(Gap(GapReason.SUBSCRIBED))
    pipeline = Pipeline(
        projection=PROJECTION,
        table=WorldTable(world),
        log=BrokenLog(10, 60),
        inbox=inbox,
        publish=told.extend,
        settings=SETTINGS,
    )
    with pytest.raises(ExceptionGroup, match="unhandled"):
        await pipeline.run()
    assert told == []
    assert len(pipeline.rows) == 0
