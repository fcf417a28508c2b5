"""Three processes on one Redis log, any of which may lead, while everything fails in any order.

Each process serves clients what it follows. A client that reconnects, to any process, either goes
on without a gap or is told that the history is lost; so what it has seen since it was told last is
what the log has.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from redis.asyncio import Redis

from bridge.errors import LeaseLostError, PositionGoneError
from bridge.log.redis import lease as lease_module
from bridge.log.redis import reader as reader_module
from bridge.log.redis.connection import end
from bridge.log.redis.stream_entry import append_of, kind_of
from bridge.sandbox.redis import RedisServer
from tests.support.examples import examples
from tests.support.redis import crash, event, parts, unused_name
from tests.support.redis_proxy import RedisProxy

if TYPE_CHECKING:
    from bridge.log.base import Entry, Position
    from bridge.log.redis.build import RedisParts

PROCESSES = 3
SECONDS = 20.0

WHICH = st.integers(0, PROCESSES - 1)


@dataclass
class Client:
    """What one client has received since it was told last that the history is lost."""

    position: Position
    seen: dict[int, object] = field(default_factory=dict)
    """Keys of events by number."""

    def receive(self, entries: list[Entry]) -> None:
        for entry in entries:
            assert entry.position.epoch == self.position.epoch, "told of every new history"
            assert entry.position.seq == self.position.seq + 1, "no gap, no repeat"
            self.position = entry.position
            self.seen[entry.position.seq] = entry.event.key


@dataclass
class Process:
    """One process with its clients, behind a proxy."""

    parts: RedisParts
    proxy: RedisProxy
    client: Client
    serving: asyncio.Task[None] | None = None
    losses: int = 0

    async def serve(self) -> None:
        """Send the client what is followed; a lost history closes it, and it starts again."""
        log = self.parts.log
        while True:
            self.client = Client(log.head)
            with suppress(PositionGoneError):
                async for commit in log.follow(log.head):
                    self.client.receive(list(commit.entries))
                return  # the log was closed
            self.losses += 1


class RedisLogMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patches = [
            patch.object(reader_module, "SILENCE_SECONDS", 1.0),
            patch.object(reader_module, "BLOCK_SECONDS", 0.3),
            patch.object(lease_module, "BEAT_SECONDS", 0.3),
        ]
        for one in self.patches:
            one.start()
        self.runner = asyncio.Runner()
        self.name = unused_name()
        self.number = 0
        self.stored: dict[object, str] = {}
        """The epoch of each event whose append returned."""
        self.wanderers: list[tuple[int, int, Client]] = []
        """Clients of another process: which, its losses so far, and the client."""
        self.refused: set[int] = set()
        """Events whose append was refused before anything was sent."""
        self.saved: list[tuple[bytes, bytes, int]] | None = None
        self.pending: list[asyncio.Task[None]] = []
        self.processes: list[Process] = []
        self.runner.run(self._open())

    async def _open(self) -> None:
        self.server = RedisServer()
        await self.server.start()
        self.redis = Redis.from_url(self.server.url)
        for _ in range(PROCESSES):
            self.processes.append(await self._process())

    async def _process(self) -> Process:
        proxy = await RedisProxy(self.server.port).__aenter__()
        made = parts(proxy.url, self.name, lease_seconds=0.5, events=1000)
        await made.log.open()
        process = Process(made, proxy, Client(made.log.head))
        process.serving = asyncio.create_task(process.serve())
        await asyncio.sleep(0)
        return process

    def teardown(self) -> None:
        try:
            self.runner.run(self._settle())
        finally:
            self.runner.run(self._close())
            self.runner.close()
            for one in self.patches:
                one.stop()

    async def _close(self) -> None:
        await end(*self.pending)
        for process in self.processes:
            process.proxy.heal()
            await process.parts.log.close()
            if process.serving is not None:
                process.serving.cancel()
                await asyncio.wait([process.serving])
            await process.proxy.__aexit__(None, None, None)
        await self.redis.aclose()
        await self.server.stop()

    # -- what processes do

    @rule(which=WHICH)
    def lead(self, which: int) -> None:
        async def trying() -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.3):
                    await self.processes[which].parts.lease.acquired()

        self.runner.run(trying())

    @rule(which=WHICH, size=st.integers(1, 4))
    def append(self, which: int, size: int) -> None:
        numbers = range(self.number, self.number + size)
        self.number += size

        async def appending() -> None:
            made = self.processes[which].parts
            leads = made.lease.held is not None
            try:
                commit = await made.log.append(
                    [event(n) for n in numbers], [(n, b"[1]") for n in numbers]
                )
            except LeaseLostError:
                if not leads:
                    self.refused.update(numbers)
            else:
                self.stored.update({e.event.key: e.position.epoch for e in commit.entries})

        self.runner.run(self._for_a_moment(appending()))

    async def _for_a_moment(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self.pending.append(task)
        await asyncio.wait([task], timeout=0.1)

    @rule(which=WHICH)
    def note(self, which: int) -> None:
        self.runner.run(self._for_a_moment(self.processes[which].parts.log.note("k", b"")))

    @rule(which=WHICH)
    def kill(self, which: int) -> None:
        """Kill the process and start it again, if the server can be reached."""

        async def killing() -> None:
            process = self.processes[which]
            process.proxy.heal()
            await crash(process.parts)
            process.parts.log._history.close()
            assert process.serving is not None
            process.serving.cancel()
            await asyncio.wait([process.serving])
            await process.proxy.__aexit__(None, None, None)
            self.processes[which] = await self._process()

        self.runner.run(killing())

    # -- what networks do

    @rule(which=WHICH)
    def cut(self, which: int) -> None:
        self.processes[which].proxy.cut()

    @rule(which=WHICH)
    def freeze(self, which: int) -> None:
        self.processes[which].proxy.freeze()

    @rule(which=WHICH)
    def heal(self, which: int) -> None:
        self.processes[which].proxy.heal()

    @rule(which=WHICH)
    def lose_an_answer(self, which: int) -> None:
        self.processes[which].proxy.lose_answer(b'"property-updated"')

    @rule(milliseconds=st.integers(0, 60))
    def wait(self, milliseconds: int) -> None:
        self.runner.run(asyncio.sleep(milliseconds / 1000))

    # -- what servers do

    @rule()
    def let_the_lease_lapse(self) -> None:
        self.runner.run(self._command(self.redis.delete(self._key("lease"))))

    async def _command(self, command: Any) -> None:
        await command

    @rule()
    def flush(self) -> None:
        self.runner.run(self._command(self.redis.flushall()))

    @rule(key=st.sampled_from(["meta", "stream", "rows", "terms"]))
    def evict(self, key: str) -> None:
        self.runner.run(self._command(self.redis.unlink(self._key(key))))

    @rule()
    def restart_without_persistence(self) -> None:
        async def restarting() -> None:
            await self.server.kill()
            await self.server.start()
            await self.redis.connection_pool.disconnect()

        self.runner.run(restarting())

    @rule()
    def copy_to_a_replica(self) -> None:
        """A replica has all keys as of now, and falls behind."""

        async def copying() -> None:
            keys: Any = await self.redis.keys(f"{{bridge:{self.name}}}:*")
            self.saved = [
                (key, dump, max(0, await self.redis.pttl(key)))
                for key in keys
                if (dump := await self.redis.dump(key)) is not None
            ]

        self.runner.run(copying())

    @rule()
    def promote_the_replica(self) -> None:
        if self.saved is None:
            return
        saved = self.saved

        async def promoting() -> None:
            healthy = [p for p in self.processes if not p.proxy._refuses]
            for process in self.processes:
                process.proxy.cut()
            await asyncio.sleep(0.01)
            async with self.redis.pipeline(transaction=True) as pipeline:
                pipeline.flushall()
                for key, dump, milliseconds in saved:
                    pipeline.restore(key, milliseconds, dump)
                await pipeline.execute()
            for process in healthy:
                process.proxy._refuses = False

        self.runner.run(promoting())

    # -- what must hold

    @rule(which=WHICH, other=WHICH)
    def reconnect(self, which: int, other: int) -> None:
        """A client of one process reconnects to another one."""

        async def reconnecting() -> None:
            client = self.processes[which].client
            log = self.processes[other].parts.log
            moved = Client(client.position, dict(client.seen))
            if log.locate(moved.position) is None:
                return  # told
            with suppress(PositionGoneError):
                moved.receive(list(log.after(moved.position)))
                self.wanderers.append((other, self.processes[other].losses, moved))

        self.runner.run(reconnecting())

    @rule()
    def settle(self) -> None:
        self.runner.run(self._settle())

    async def _settle(self) -> None:
        """Let everything heal: then all processes have the history that is stored."""
        for process in self.processes:
            process.proxy.heal()
        async with asyncio.timeout(SECONDS):
            while not await self._agreed():
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await self.processes[0].parts.lease.acquired()
                await asyncio.sleep(0.02)
        content = await self._content()
        for process in self.processes:
            self._check(process.client, content)
        for which, losses, client in self.wanderers:
            if self.processes[which].losses == losses:
                located = self.processes[which].parts.log.locate(client.position)
                if located is not None:
                    self._check(client, content)
        self.wanderers.clear()
        epoch = self.processes[0].parts.log.head.epoch
        kept = {key for key, stored_in in self.stored.items() if stored_in == epoch}
        assert kept <= set(content.values()), "what was stored is lost with its epoch only"
        assert not self.refused & set(content.values()), "a refused append is not stored"
        keys = list(content.values())
        assert len(keys) == len(set(keys)), "each append is stored once"

    async def _agreed(self) -> bool:
        heads = {process.parts.log.head for process in self.processes}
        clients = {process.client.position for process in self.processes}
        meta: Any = await self.redis.hmget(self._key("meta"), "epoch", "head")
        if None in meta or len(heads) > 1 or clients != heads:
            return False
        [head] = heads
        errors = [process.parts.log.error for process in self.processes]
        stored = (meta[0].decode(), int(meta[1]))
        leads = any(process.parts.lease.leading for process in self.processes)
        return stored == (head.epoch, head.seq) and not any(errors) and leads

    async def _content(self) -> dict[int, object]:
        """Return the stored events: their keys by number."""
        found: dict[int, object] = {}
        entries: Any = await self.redis.xrange(self._key("stream"))
        for _, fields in entries:
            if kind_of(fields) == b"a":
                found |= {e.position.seq: e.event.key for e in append_of(fields).entries()}
        return found

    def _check(self, client: Client, content: dict[int, object]) -> None:
        assert client.seen == {n: content.get(n) for n in client.seen}

    def _key(self, name: str) -> str:
        return f"{{bridge:{self.name}}}:{name}"


RedisLogMachine.TestCase.settings = settings(
    max_examples=examples(20),
    stateful_step_count=20,
    # Time passes in it: a smaller example may take another course, and each takes a second.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
test_redis_log = RedisLogMachine.TestCase
