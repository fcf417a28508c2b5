"""A log in Redis whose processes and servers fail. The servers are real and are killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis

from bridge.errors import LeaseLostError, PositionGoneError
from bridge.log.base import Progress
from bridge.log.redis import connection as connection_module
from bridge.log.redis import lease as lease_module
from bridge.log.redis import reader as reader_module
from bridge.sandbox.redis import RedisServer
from tests.support.redis import crash, event, numbers, opened, rows_of, until, unused_name
from tests.support.redis_proxy import RedisProxy

if TYPE_CHECKING:
    from bridge.log.base import Commit, Position
    from bridge.log.redis.build import RedisParts


class Site:
    """One server, a proxy for each process, and the processes."""

    def __init__(self, server: RedisServer, closing: AsyncExitStack) -> None:
        self.server = server
        self.name = unused_name()
        self._closing = closing

    async def process(self, **options: object) -> tuple[RedisParts, RedisProxy]:
        """Open one more process behind a proxy of its own."""
        proxy = await self._closing.enter_async_context(RedisProxy(self.server.port))
        made = await self._closing.enter_async_context(
            opened(proxy.url, self.name, **{"lease_seconds": 1.0, **options})
        )
        return made, proxy

    async def leader(self) -> tuple[RedisParts, RedisProxy]:
        made, proxy = await self.process()
        await made.lease.acquired()
        return made, proxy

    def key(self, name: str) -> str:
        return f"{{bridge:{self.name}}}:{name}"


@pytest.fixture
async def closing() -> AsyncIterator[AsyncExitStack]:
    async with asyncio.timeout(60), AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def site(redis_server: RedisServer, closing: AsyncExitStack) -> Site:
    return Site(redis_server, closing)


@pytest.fixture
async def own_site(closing: AsyncExitStack) -> Site:
    """A site whose server a test may break."""
    return Site(await closing.enter_async_context(RedisServer()), closing)


@pytest.fixture
async def redis(site: Site) -> AsyncIterator[Redis]:
    async with Redis.from_url(site.server.url) as client:
        yield client


async def append(made: RedisParts, *keys: int) -> Commit:
    return await made.log.append([event(key) for key in keys], [(key, b"[1]") for key in keys])


async def receive(commits: AsyncIterator[Commit], count: int) -> list[object]:
    """Return the keys of the next `count` events."""
    out: list[object] = []
    while len(out) < count:
        out += numbers((await anext(commits)).entries)
    return out


async def _all(commits: AsyncIterator[Commit]) -> None:
    async for _ in commits:
        pass


async def lost_by(commits: AsyncIterator[Commit]) -> None:
    """Take commits until the follower gets the error of a lost history."""
    with pytest.raises(PositionGoneError):
        await _all(commits)


# -- leaders


async def test_follower_takes_over_from_a_killed_leader_and_continues_its_entries(
    site: Site,
) -> None:
    (a, _), (b, _) = await site.leader(), await site.process()
    commits = b.log.follow(b.log.head)
    await append(a, 1, 2)
    await crash(a)
    await b.lease.acquired()
    assert b.lease.term == 2
    assert b.log.head.seq == 2
    await append(b, 3)
    assert await receive(commits, 3) == [1, 2, 3]
    assert await rows_of(b) == {1: b"[1]", 2: b"[1]", 3: b"[1]"}


async def test_released_lease_is_taken_over_before_it_would_lapse(site: Site) -> None:
    (a, _), (b, _) = await site.process(lease_seconds=30.0), await site.process(lease_seconds=30.0)
    await a.lease.acquired()
    waiting = asyncio.ensure_future(b.lease.acquired())
    await asyncio.sleep(0.1)  # it waits for the other lease
    await a.lease.release()
    async with asyncio.timeout(10):
        await waiting
    assert (a.lease.leading, b.lease.leading) == (False, True)


async def test_leader_that_was_paused_past_its_lease_is_fenced_and_follows(site: Site) -> None:
    (a, _), (b, _) = await site.leader(), await site.process()
    await append(a, 1)
    assert a.lease._renewing is not None
    a.lease._renewing.cancel()  # as if the process had been stopped
    await b.lease.acquired()
    commits = a.log.follow(a.log.head)
    await append(b, 2)
    with pytest.raises(LeaseLostError):
        await append(a, 3)
    await a.lease.lost()
    assert not a.lease.leading
    assert await receive(commits, 1) == [2]
    assert numbers(b.log.after(b.log.locate(start_of(b)) or b.log.head)) == [1, 2]


def start_of(made: RedisParts) -> Position:
    return type(made.log.head)(made.log.head.epoch, 0)


async def test_append_of_a_leader_that_was_cut_off_is_refused_after_a_takeover(site: Site) -> None:
    (a, proxy), (b, _) = await site.leader(), await site.process()
    await append(a, 1)
    proxy.cut()
    appending = asyncio.ensure_future(append(a, 2))
    await b.lease.acquired()
    await append(b, 3)
    assert a.log.error is not None
    assert not a.lease.leading
    proxy.heal()
    with pytest.raises(LeaseLostError):
        await appending
    await until(lambda: a.log.head == b.log.head)
    assert numbers(a.log.after(start_of(a))) == [1, 3]


async def test_error_of_a_leader_ends_with_its_term(site: Site) -> None:
    a, proxy = await site.leader()
    proxy.cut()
    appending = asyncio.ensure_future(append(a, 1))
    await until(lambda: "can't be written" in (a.log.error or ""))
    a.lease.end("for a test")
    with pytest.raises(LeaseLostError):
        await appending
    proxy.heal()
    await until(lambda: a.log.error is None)


async def test_leader_that_nobody_replaced_goes_on_in_its_term_after_an_outage(site: Site) -> None:
    a, proxy = await site.leader()
    await append(a, 1)
    proxy.cut()
    appending = asyncio.ensure_future(append(a, 2))
    await asyncio.sleep(1.3)  # the lease lapses
    assert not appending.done()
    proxy.heal()
    assert numbers((await appending).entries) == [2]
    assert a.lease.term == 1
    await until(lambda: a.log.error is None)
    assert a.lease.leading


async def test_append_whose_answer_was_lost_is_stored_once(site: Site) -> None:
    (a, proxy), (b, _) = await site.leader(), await site.process()
    commits = b.log.follow(b.log.head)
    await append(a, 1)
    lost = proxy.lose_answer(b'"property-updated"')
    assert numbers((await append(a, 2)).entries) == [2]
    assert lost.is_set()
    await append(a, 3)
    assert await receive(commits, 3) == [1, 2, 3]
    assert [entry.position.seq for entry in b.log.after(start_of(b))] == [1, 2, 3]


async def test_cancelled_append_is_completed_before_the_next_one(site: Site) -> None:
    a, proxy = await site.leader()
    proxy.freeze()
    cancelled = asyncio.ensure_future(append(a, 1))
    await asyncio.sleep(0.05)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    proxy.heal()
    await append(a, 2)
    assert numbers(a.log.after(start_of(a))) == [1, 2]


# -- a history that is lost


@pytest.mark.parametrize("key", ["meta", "stream", "rows"])
async def test_eviction_of_a_key_begins_another_history(site: Site, redis: Redis, key: str) -> None:
    (a, _), (b, _) = await site.leader(), await site.process()
    await append(a, 1, 2)
    before, followed = b.log.head, b.log.follow(b.log.head)
    await redis.unlink(site.key(key))
    with pytest.raises(LeaseLostError):
        await append(a, 3)
    await lost_by(followed)
    await a.lease.acquired()
    await until(lambda: a.log.head.epoch == b.log.head.epoch != before.epoch)
    assert b.log.locate(before) is None
    assert b.log.progress == Progress()
    assert await rows_of(b) == {}
    commits = b.log.follow(b.log.head)
    await append(a, 4)
    assert await receive(commits, 1) == [4]
    assert b.log.head.seq > before.seq


async def test_stream_that_was_trimmed_by_hand_begins_another_history(
    site: Site, redis: Redis
) -> None:
    a, _ = await site.leader()
    await append(a, 1)
    before = a.log.head
    await redis.xtrim(site.key("stream"), maxlen=0, approximate=False)
    with pytest.raises(LeaseLostError):
        await append(a, 2)
    await a.lease.acquired()
    assert a.log.locate(before) is None


async def test_idle_leader_notices_that_its_rows_were_evicted(site: Site, redis: Redis) -> None:
    a, _ = await site.leader()
    await append(a, 1)
    before = a.log.head
    await redis.unlink(site.key("rows"))
    async with asyncio.timeout(20):
        await a.lease.lost()
        await a.lease.acquired()
    assert a.log.locate(before) is None


async def test_note_does_not_hide_that_the_stream_was_evicted(site: Site, redis: Redis) -> None:
    (a, _), (b, _) = await site.leader(), await site.process()
    await append(a, 1)
    before = b.log.head
    await redis.unlink(site.key("stream"))
    await b.log.note("kind", b"")
    await until(lambda: b.log.head.epoch != before.epoch)


async def test_flush_begins_another_history_although_nothing_is_appended(own_site: Site) -> None:
    (a, _), (b, _) = await own_site.leader(), await own_site.process()
    await append(a, 1)
    before = b.log.head
    followed = b.log.follow(before)
    async with Redis.from_url(own_site.server.url) as client:
        await client.flushall()
    await lost_by(followed)
    await a.lease.lost()
    assert b.log.locate(before) is None


async def test_restart_without_persistence_begins_another_history(own_site: Site) -> None:
    (a, _), (b, _) = await own_site.leader(), await own_site.process()
    await append(a, 1)
    before, followed = b.log.head, b.log.follow(b.log.head)
    await own_site.server.kill()
    await until(lambda: b.log.error is not None)
    await own_site.server.start()
    await lost_by(followed)
    await a.lease.lost()
    await a.lease.acquired()
    await append(a, 2)
    await until(lambda: b.log.head == a.log.head)
    assert b.log.locate(before) is None
    assert b.log.error is None


async def test_restart_with_its_data_loses_nothing(closing: AsyncExitStack, tmp_path: Path) -> None:
    server = RedisServer("--appendfsync", "always", folder=tmp_path)
    site = Site(await closing.enter_async_context(server), closing)
    (a, _), (b, _) = await site.leader(), await site.process()
    commits = b.log.follow(b.log.head)
    await append(a, 1)
    before = a.log.head
    await server.kill()
    appending = asyncio.ensure_future(append(a, 2))
    await until(lambda: a.log.error is not None and b.log.error is not None)
    await server.start()
    assert numbers((await appending).entries) == [2]
    assert await receive(commits, 2) == [1, 2]
    assert numbers(b.log.after(before)) == [2]
    await until(lambda: a.log.error is None and b.log.error is None)


class Failover:
    """A server with a replica that lacks the last appends, and processes that used the server."""

    def __init__(self, site: Site, replica: RedisServer) -> None:
        self.site = site
        self.replica = replica

    async def detach(self) -> None:
        """Let the replica fall behind from now on."""
        async with (
            Redis.from_url(self.site.server.url) as primary,
            Redis.from_url(self.replica.url) as replica,
        ):
            await primary.wait(1, 5000)
            await replica.replicaof("NO", "ONE")

    async def promote(self, *proxies: RedisProxy) -> None:
        """Kill the server; connections through `proxies` reach the replica from now on."""
        await self.site.server.kill()
        for proxy in proxies:
            proxy.switch(self.replica.port)


@pytest.fixture
async def failover(closing: AsyncExitStack, own_site: Site) -> Failover:
    port = own_site.server.port
    async with Redis.from_url(own_site.server.url) as client:
        await client.config_set("repl-diskless-sync-delay", "0")
    replica = RedisServer("--replicaof", "127.0.0.1", str(port))
    await closing.enter_async_context(replica)
    async with Redis.from_url(replica.url) as client:
        async with asyncio.timeout(10):
            while (await client.info("replication"))["master_link_status"] != "up":
                await asyncio.sleep(0.02)
    return Failover(own_site, replica)


async def test_leader_notices_that_a_replica_took_over_that_lacks_its_appends(
    failover: Failover,
) -> None:
    (a, to_a), (b, to_b) = await failover.site.leader(), await failover.site.process()
    await append(a, 1, 2, 3)
    await failover.detach()
    await append(a, 4)
    await append(a, 5)
    await until(lambda: b.log.head == a.log.head)
    before, followed = b.log.head, b.log.follow(b.log.head)
    await failover.promote(to_a, to_b)
    with pytest.raises(LeaseLostError):
        await append(a, 6)
    await lost_by(followed)
    await a.lease.acquired()
    await until(lambda: b.log.head.epoch == a.log.head.epoch)
    assert a.log.locate(before) is None
    assert a.log.head.seq > before.seq


async def three_at_three(
    failover: Failover,
) -> tuple[RedisParts, tuple[RedisParts, RedisProxy], tuple[RedisParts, RedisProxy]]:
    """Open a leader and two followers, the latter with their proxies, which have read 3 entries."""
    a, _ = await failover.site.leader()
    b, to_b = await failover.site.process()
    c, to_c = await failover.site.process()
    await append(a, 1, 2, 3)
    await until(lambda: c.log.head.seq == 3 == b.log.head.seq)
    return a, (b, to_b), (c, to_c)


async def test_history_ends_with_a_failover_if_a_process_that_may_have_read_more_is_gone(
    failover: Failover, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A follower at 5 is killed with the leader; the replica has 3, and so has the other follower:
    a client of the killed one would take 4' and 5' for what it has.
    """
    monkeypatch.setattr(lease_module, "PATIENCE_SECONDS", 0.3)
    a, (b, _), (c, to_c) = await three_at_three(failover)
    await failover.detach()
    to_c.cut()
    await append(a, 4)
    await append(a, 5)
    await until(lambda: b.log.head.seq == 5)
    before = b.log.head
    await crash(a)
    await crash(b)
    await failover.promote(to_c)
    to_c.heal()
    await c.lease.acquired()
    assert c.log.head.epoch != before.epoch
    assert c.log.locate(before) is None


async def test_new_leader_on_another_server_waits_for_what_the_others_have_read(
    failover: Failover, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A follower at 5; the replica has 3. The follower can't reach it as soon as the other one."""
    monkeypatch.setattr(lease_module, "PATIENCE_SECONDS", 60.0)
    a, (b, to_b), (c, to_c) = await three_at_three(failover)
    await failover.detach()
    to_c.cut()
    await append(a, 4)
    await append(a, 5)
    await until(lambda: b.log.head.seq == 5)
    followed, before = b.log.follow(b.log.head), b.log.head
    to_b.cut()
    await a.log.close()
    await failover.promote(to_c)
    to_c.heal()
    acquired = asyncio.ensure_future(c.lease.acquired())
    await until(lambda: c.log.error is None)
    await asyncio.wait({acquired}, timeout=1.0)
    assert not acquired.done()
    to_b.switch(failover.replica.port)
    to_b.heal()
    await lost_by(followed)
    await acquired
    assert b.log.head.epoch == c.log.head.epoch != before.epoch
    assert b.log.locate(before) is None


async def test_history_goes_on_after_a_failover_once_all_have_verified_what_they_have_read(
    failover: Failover, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "PATIENCE_SECONDS", 60.0)
    a, (_, to_b), (c, to_c) = await three_at_three(failover)
    await a.log.close()
    await failover.detach()
    before = c.log.head
    await failover.promote(to_b, to_c)
    await c.lease.acquired()
    await append(c, 4)
    assert c.log.head.epoch == before.epoch
    assert c.log.locate(before) == before


async def test_failover_to_a_replica_that_has_everything_loses_nothing(
    failover: Failover,
) -> None:
    (a, to_a), (b, to_b) = await failover.site.leader(), await failover.site.process()
    commits = b.log.follow(b.log.head)
    await append(a, 1)
    await failover.detach()
    await failover.promote(to_a, to_b)
    await append(a, 2)
    assert await receive(commits, 2) == [1, 2]


# -- a server that refuses writes, or is silent


async def test_append_waits_while_the_memory_is_full(own_site: Site) -> None:
    a, _ = await own_site.leader()
    await append(a, 1)
    async with Redis.from_url(own_site.server.url) as client:
        await client.config_set("maxmemory", "1")
        appending = asyncio.ensure_future(append(a, 2))
        await until(lambda: "can't be written" in (a.log.error or ""))
        assert "memory" in (a.log.error or "")
        assert a.log.head.seq == 1
        await client.config_set("maxmemory", "0")
    assert numbers((await appending).entries) == [2]
    assert a.log.error is None


async def test_append_waits_while_replicas_are_missing(own_site: Site) -> None:
    a, _ = await own_site.leader()
    async with Redis.from_url(own_site.server.url) as client:
        if (await client.info("server"))["redis_version"] < "7":
            pytest.skip("before version 7 scripts write without replicas")
        await client.config_set("min-replicas-to-write", "1")
        appending = asyncio.ensure_future(append(a, 1))
        await until(lambda: "NOREPLICAS" in (a.log.error or ""))
        await client.config_set("min-replicas-to-write", "0")
    assert numbers((await appending).entries) == [1]


async def test_append_waits_while_the_server_is_read_only(failover: Failover) -> None:
    """The server was demoted, and is promoted again."""
    a, _ = await failover.site.leader()
    await append(a, 1)
    async with Redis.from_url(failover.site.server.url) as client:
        # A replica of a server that does not answer keeps its data.
        await client.replicaof("127.0.0.1", "1")
        appending = asyncio.ensure_future(append(a, 2))
        await until(lambda: a.log.error is not None)
        assert not appending.done()
        await client.replicaof("NO", "ONE")
    assert numbers((await appending).entries) == [2]
    await until(lambda: a.log.error is None)


async def test_append_waits_while_the_server_is_stopped(
    own_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "ANSWER_SECONDS", 0.3)
    a, _ = await own_site.leader()
    own_site.server.pause()
    try:
        appending = asyncio.ensure_future(append(a, 1))
        await until(lambda: a.log.error is not None)
    finally:
        own_site.server.resume()
    assert numbers((await appending).entries) == [1]


async def test_connection_without_a_beat_is_replaced(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "BLOCK_SECONDS", 0.1)
    monkeypatch.setattr(reader_module, "SILENCE_SECONDS", 0.5)
    b, proxy = await site.process()
    before = proxy.connections
    await until(lambda: b.log.error is not None)
    assert "nothing was received from" in (b.log.error or "")
    assert "no bridge leads" in (b.log.error or "")
    await until(lambda: proxy.connections > before + 1)
    await b.lease.acquired()
    await until(lambda: b.log.error is None)


async def test_idle_leader_sends_beats(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.log.redis.lease.BEAT_SECONDS", 0.5)
    a, _ = await site.leader()
    before = a.log._history.last_id
    await until(lambda: a.log._history.last_id != before)
    assert a.log.head.seq == 0
    assert a.log._history.feed.head.seq == 0
