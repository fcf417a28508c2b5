"""The pipeline over a table with slow and failing reads, a stream with losses, and a slow log."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.changes import Gap, GapReason, Key, Record
from bridge.errors import TableUnreadableError
from bridge.events import Event
from bridge.log.base import Commit, Entry, Position, Progress
from bridge.log.memory import MemoryEventLog
from bridge.options import reconcile_options
from bridge.pipeline import backoff, pending_rows, reconciler, row_comparison, watermark
from bridge.pipeline.event_sink import EventSink
from bridge.pipeline.pipeline import Pipeline
from bridge.replica import Replica
from bridge.rows import RowStore
from bridge.settings import Settings
from bridge.source.base import ReadRights
from bridge.source.change_queue import ChangeQueue
from tests.property.world import PROJECTION, Client, World, published
from tests.support.examples import examples

SETTINGS = Settings(
    supabase_url="http://127.0.0.1:1",
    supabase_secret_key="unused",
    watch_interval=0.01,
    watch_grace=0.005,
    sweep_interval=0.02,
    compare_interval=0.03,
    page_rows=2,
)
LARGE = SETTINGS.model_copy(update={"pass_rows": 0})
"""As for a large table: after a gap a recent scan, a key scan, then a full one."""


@pytest.fixture(autouse=True, scope="module")
def _small_scale() -> Iterator[None]:
    """Set limits that a table of five rows can reach. A commit is visible at once here, so the
    watermark needs no overlap, and one that is too far is found out.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backoff, "FIRST_RETRY_SECONDS", 0.001)
        patch.setattr(backoff, "LONGEST_RETRY_SECONDS", 0.01)
        patch.setattr(watermark, "OVERLAP_SECONDS", 0.0)
        patch.setattr(reconciler, "STORE_WATERMARK_SECONDS", 0.0)
        patch.setattr(row_comparison, "MAX_KEYS_PER_READ", 2)
        patch.setattr(row_comparison, "ROWS_PER_STEP", 1)
        patch.setattr(row_comparison, "MAX_MISSED_ROWS", 2)
        patch.setattr(pending_rows, "MAX_PENDING_ROWS", 3)
        yield


class WorldTable:
    """`source.base.Table` over the model. A read takes some steps. `failures`: reads that fail;
    `broken`: the kind of read that fails always.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.failures = 0
        self.broken: str | None = None
        self.reads = 0

    async def _read(self, kind: str) -> list[dict[str, Any]]:
        self.reads += 1
        await asyncio.sleep(0)
        if kind == self.broken:
            raise TableUnreadableError("broken")
        if self.failures:
            self.failures -= 1
            raise TableUnreadableError("made to fail")
        rows = [{"id": key, **row} for key, row in sorted(self.world.table.items())]
        await asyncio.sleep(0)
        return rows

    async def page(
        self, after: Key | None, limit: int, up_to: Key | None = None
    ) -> Sequence[Record]:
        rows = await self._page("page", after, limit)
        return [row for row in rows if up_to is None or row["id"] <= up_to]

    async def count(self) -> int:
        return len(await self._read("count"))

    async def rights(self) -> ReadRights:
        await self._read("rights")
        return ReadRights("service_role", filtered=False)

    async def digest(self, after: Key | None, up_to: Key | None) -> str | None:
        rows = await self._page("digest", after, len(self.world.table))
        return repr([row for row in rows if up_to is None or row["id"] <= up_to])

    async def keys(self, after: Key | None, limit: int) -> Sequence[Key]:
        return [row["id"] for row in await self._page("keys", after, limit)]

    async def _page(self, kind: str, after: Key | None, limit: int) -> list[dict[str, Any]]:
        return [r for r in await self._read(kind) if after is None or r["id"] > after][:limit]

    async def rows(self, keys: Sequence[Key]) -> Sequence[Record]:
        return [row for row in await self._read("rows") if row["id"] in keys]

    async def recent(self, since: str, after: Key | None, limit: int) -> Sequence[Record]:
        start = (_time(since), "" if after is None else after)
        rows = sorted(await self._read("recent"), key=_place)
        return [row for row in rows if _place(row) > start][:limit]

    async def newest(self) -> Record | None:
        return max(await self._read("newest"), key=_place, default=None)


def _time(updated_at: str) -> str:
    """Return equal text for equal times with and without a fraction."""
    return updated_at.removesuffix("Z").removesuffix(".000")


def _place(row: dict[str, Any]) -> tuple[str, str]:
    return _time(row["updated_at"]), row["id"]


class StoringLog(MemoryEventLog):
    """Stores the rows too, as a durable log does. An append lets other tasks run a random number of
    times. Fails if a watermark is stored before the rows that it covers.
    """

    def __init__(self, world: World, seed: int) -> None:
        super().__init__(1000, 60)
        self._world = world
        self._dice = random.Random(seed)
        self._pause = 0 if seed == 0 else 12
        self.stored: dict[Key, bytes] = {}

    async def rows(self) -> AsyncIterator[Sequence[tuple[Key, bytes]]]:
        yield list(self.stored.items())

    async def append(self, events: Any, rows: Any, progress: Progress | None = None) -> Commit:
        events, rows = list(events), list(rows)
        for _ in range(self._dice.randint(0, self._pause)):
            await asyncio.sleep(0)
        for key, row in rows:
            if row is None:
                self.stored.pop(key, None)
            else:
                self.stored[key] = row
        commit = await super().append(events, rows, progress)
        if progress is not None and progress.watermark is not None:
            self._check(progress.watermark)
        return commit

    def _check(self, before: str) -> None:
        known = RowStore(PROJECTION.known)
        for key, row in self._world.table.items():
            if not self._world.backdates and _time(row["updated_at"]) < _time(before):
                assert self.stored.get(key) == known.encode(row), f"{key} is before {before}"


class Running:
    """A running pipeline and replica over a world, with one client."""

    def __init__(
        self,
        world: World,
        settings: Settings = SETTINGS,
        log: StoringLog | None = None,
        add_notifications: Any = None,
    ) -> None:
        self.world = world
        self.table = WorldTable(world)
        self.queue = ChangeQueue(100)
        self.client = Client()
        self.published_any = asyncio.Event()
        self.log = log or StoringLog(world, 0)
        self.replica = Replica(self.log, PROJECTION.known)
        self.replica.subscribe(self.publish)
        self.pipeline = Pipeline(
            projection=PROJECTION,
            table=self.table,
            queue=self.queue,
            sink=EventSink(PROJECTION, self.log, self.replica, add_notifications=add_notifications),
            options=reconcile_options(settings),
        )

    def publish(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.event.name != "property-notification":
                self.client.receive_event(entry.event)
        self.published_any.set()

    def deliver(self, count: int) -> None:
        for _ in range(min(count, len(self.world.stream))):
            self.queue.put_nowait(self.world.stream.popleft())

    async def start(self) -> None:
        await self.run()
        # The initial load emits no event: a browser loads a snapshot.
        rows = self.pipeline.rows
        self.client.load(published({str(k): rows.decode(rows.get(k) or b"") for k in rows}))

    async def run(self) -> None:
        await self.replica.load()
        self.queue.put_nowait(Gap(GapReason.SUBSCRIBED))
        self.following = asyncio.ensure_future(self.replica.run())
        self.task = asyncio.ensure_future(self.pipeline.run())
        while not self.pipeline.status().reconciled:
            assert not self.task.done(), self.task.exception()
            await asyncio.sleep(0.001)

    async def stop(self) -> None:
        died = self.task.done()
        self.task.cancel()
        [outcome] = await asyncio.gather(self.task, return_exceptions=True)
        while self.replica.head != self.log.head and not self.following.done():
            await asyncio.sleep(0)
        lost = self.following.done()
        self.following.cancel()
        [following] = await asyncio.gather(self.following, return_exceptions=True)
        assert not died, outcome
        assert not lost, following

    async def converged(self) -> None:
        async with asyncio.timeout(20):
            while self.client.rows != published(self.world.table):
                self.published_any.clear()
                if self.client.rows != published(self.world.table):
                    await self.published_any.wait()


Action: TypeAlias = tuple[str, Any, Any]

KINDS = ["page", "keys", "rows", "recent", "newest"]
REPLACEABLE = ["page", "keys", "recent", "newest"]
"""Kinds of reads that others stand in for."""

STEPS = [
    st.tuples(st.just("write"), st.sampled_from("abcde"), st.integers(0, 3)),
    st.tuples(st.just("move"), st.sampled_from("abcde"), st.sampled_from(["TX", "CA", None])),
    st.tuples(st.just("large"), st.sampled_from("abcde"), st.sampled_from(["x", "y"])),
    st.tuples(st.just("delete"), st.sampled_from("abcde"), st.booleans()),
    st.tuples(st.just("deliver"), st.integers(1, 3), st.just(0)),
    st.tuples(st.just("lose"), st.integers(1, 3), st.just(0)),
    st.tuples(st.just("gap"), st.just(0), st.just(0)),
    st.tuples(st.just("fail"), st.integers(1, 2), st.just(0)),
    st.tuples(st.just("break"), st.sampled_from([*KINDS, None]), st.just(0)),
    st.tuples(st.just("pause"), st.integers(0, 8), st.just(0)),
]
BACKDATED = st.tuples(st.just("backdate"), st.sampled_from("abcde"), st.integers(4, 9))
ACTIONS = st.lists(st.one_of(STEPS), max_size=40)
WITH_BACKDATED = st.lists(st.one_of([*STEPS, BACKDATED]), max_size=40)
SIZES = st.sampled_from([SETTINGS, LARGE])
SEEDS = st.integers(0, 20)
"""Seeds of slow logs; 0: a log without delay."""


async def play(running: Running, actions: list[Action]) -> None:
    world = running.world
    for action, a, b in actions:
        if action == "write":
            world.put(a, price=b)
        elif action == "backdate":
            world.put(a, price=b, backdated=True)
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
            running.queue.put_nowait(Gap(GapReason.RESUBSCRIBED))
        elif action == "fail":
            running.table.failures = a
        elif action == "break":
            running.table.broken = a
        elif action == "pause":
            for _ in range(a):
                await asyncio.sleep(0)


async def simulate(
    world: World,
    size: Settings,
    seed: int,
    actions: list[Action],
    *,
    end_with_gap: bool,
    broken: str | None = None,
) -> None:
    running = Running(world, size, StoringLog(world, seed))
    try:
        await running.start()
        await play(running, actions)
        running.deliver(len(world.stream))
        running.table.failures = 0
        running.table.broken = broken
        if end_with_gap:
            running.queue.put_nowait(Gap(GapReason.RESUBSCRIBED))
        await running.converged()
    finally:
        await running.stop()


async def simulate_restart(
    world: World, size: Settings, seed: int, before: list[Action], after: list[Action]
) -> None:
    """Stop at any moment; the stream has no changes from before the restart."""
    log = StoringLog(world, seed)
    running = Running(world, size, log, notify)
    try:
        await running.start()
        await play(running, before)
    finally:
        await running.stop()
    await play(running, [action for action in after if action[0] != "deliver"])
    world.stream.clear()
    again = Running(world, size, log, notify)
    again.client = running.client
    try:
        await again.run()
        await again.converged()
    finally:
        await again.stop()
    stored = [entry.event for entry in log.after(Position(log.head.epoch, 0))]
    assert stored == notify([event for event in stored if event.name != "property-notification"])


def notify(events: Sequence[Event], _row_of: Any = None) -> list[Event]:
    """Return each event with a notification after it: both are stored, or neither."""
    return [
        stored
        for event in events
        for stored in (event, replace(event, name="property-notification", rooms=("user:ann",)))
    ]


def a_world(*, full: bool, rows: str) -> World:
    world = World(full_identity=full)
    for key in rows:
        world.put(key, name=key, state="TX", price=0, notes="x")
    world.stream.clear()
    return world


WORLDS = st.builds(a_world, full=st.booleans(), rows=st.sampled_from(["", "ab", "abcde"]))


@settings(max_examples=examples(400))
@given(world=WORLDS, size=SIZES, seed=SEEDS, actions=WITH_BACKDATED)
def test_client_equals_the_table_after_a_gap(
    world: World, size: Settings, seed: int, actions: list[Action]
) -> None:
    asyncio.run(simulate(world, size, seed, actions, end_with_gap=True))


@settings(max_examples=examples(200))
@given(world=WORLDS, size=SIZES, seed=SEEDS, actions=WITH_BACKDATED)
def test_client_equals_the_table_without_a_gap_being_reported(
    world: World, size: Settings, seed: int, actions: list[Action]
) -> None:
    asyncio.run(simulate(world, size, seed, actions, end_with_gap=False))


@settings(max_examples=examples(400))
@given(
    world=WORLDS,
    size=SIZES,
    seed=SEEDS,
    actions=ACTIONS,
    broken=st.sampled_from(REPLACEABLE),
    gap=st.booleans(),
)
def test_client_equals_the_table_while_only_one_kind_of_read_fails(
    world: World, size: Settings, seed: int, actions: list[Action], broken: str, *, gap: bool
) -> None:
    asyncio.run(simulate(world, size, seed, actions, end_with_gap=gap, broken=broken))


@settings(max_examples=examples(200))
@given(world=WORLDS, size=SIZES, seed=SEEDS, before=ACTIONS, after=WITH_BACKDATED)
def test_client_equals_the_table_after_a_restart(
    world: World, size: Settings, seed: int, before: list[Action], after: list[Action]
) -> None:
    asyncio.run(simulate_restart(world, size, seed, before, after))


async def test_initial_load_emits_no_event() -> None:
    world = World(full_identity=True)
    for key in "abc":
        world.put(key, state="TX")
    running = Running(world)
    await running.start()
    assert running.log.head.seq == 0
    assert len(running.pipeline.rows) == 3
    await running.stop()


async def test_pipeline_stops_without_publishing_if_the_log_fails() -> None:
    class BrokenLog(MemoryEventLog):
        async def append(self, events: Any, rows: Any, progress: Any = None) -> Any:
            raise OSError("disk full")

    world = World(full_identity=True)
    world.put("a", state="TX")
    stored: list[Entry] = []
    log = BrokenLog(10, 60)
    replica = Replica(log, PROJECTION.known)
    replica.subscribe(stored.extend)
    queue = ChangeQueue(10)
    queue.put_nowait(Gap(GapReason.SUBSCRIBED))
    pipeline = Pipeline(
        projection=PROJECTION,
        table=WorldTable(world),
        queue=queue,
        sink=EventSink(PROJECTION, log, replica),
        options=reconcile_options(SETTINGS),
    )
    with pytest.raises(ExceptionGroup, match="unhandled"):
        await pipeline.run()
    assert stored == []
    assert len(pipeline.rows) == 0
