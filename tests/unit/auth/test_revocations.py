from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING

import pytest

from bridge.auth.claims import Claims
from bridge.auth.revocations import RevocationList
from bridge.clock import ManualClock
from bridge.errors import Code, RequestRejected
from bridge.log.sqlite.database import Database
from bridge.log.sqlite.event_log import MIGRATIONS, SqliteEventLog
from bridge.log.sqlite.revocation_store import SqliteRevocationStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

KEEP = 1000.0


class WallClock(ManualClock):
    """Fails a read of the monotonic clock, which has no meaning after a restart."""

    def monotonic(self) -> float:
        raise AssertionError


class Store:
    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], float] = {}

    async def load(self) -> Sequence[tuple[str, str, float]]:
        return [(kind, name, at) for (kind, name), at in self.kept.items()]

    async def put(self, kind: str, name: str, at: float, *, oldest: float) -> None:
        self.kept = {key: then for key, then in self.kept.items() if then >= oldest}
        self.kept[kind, name] = at


@pytest.fixture
def clock() -> ManualClock:
    return WallClock(wall=5000.5)


def refused(revocations: RevocationList, claims: Claims) -> bool:
    try:
        revocations.check(claims)
    except RequestRejected as refusal:
        return refusal.code is Code.SIGNED_OUT
    return False


def of(user: str, issued_at: float, session: str | None = None) -> Claims:
    return Claims(user, issued_at, issued_at + 600, session)


def test_revoked_user_is_rejected_with_tokens_issued_before(
    clock: ManualClock,
) -> None:
    revocations = RevocationList(None, clock, keep=KEEP)
    revocations.add(user="ada")
    assert refused(revocations, of("ada", 4000))
    assert refused(revocations, of("ada", 5000))  # of the same second
    assert not refused(revocations, of("ada", 5001))
    assert not refused(revocations, of("bob", 4000))


def test_revoked_session_is_rejected_with_all_its_tokens(clock: ManualClock) -> None:
    revocations = RevocationList(None, clock, keep=KEEP)
    revocations.add(session="s1")
    assert refused(revocations, of("ada", 4000, "s1"))
    assert refused(revocations, of("ada", 6000, "s1"))
    assert not refused(revocations, of("ada", 4000, "s2"))
    assert not refused(revocations, of("ada", 4000))
    assert not refused(revocations, of("s1", 4000))


def test_later_revocation_of_a_user_replaces_the_first(clock: ManualClock) -> None:
    revocations = RevocationList(None, clock, keep=KEEP)
    revocations.add(user="ada")
    clock.advance(100)
    assert not refused(revocations, of("ada", 5050))
    revocations.add(user="ada")
    assert refused(revocations, of("ada", 5050))
    assert len(revocations) == 1


def test_revocations_are_deleted_after_the_lifetime_of_tokens(clock: ManualClock) -> None:
    revocations = RevocationList(None, clock, keep=KEEP)
    revocations.add(user="ada")
    revocations.add(session="s1")
    clock.advance(KEEP)
    revocations.add(session="s2")
    assert refused(revocations, of("ada", 4000))
    clock.advance(1)
    revocations.add(session="s3")
    assert len(revocations) == 2


async def test_stored_revocations_are_loaded(clock: ManualClock) -> None:
    store = Store()
    first = RevocationList(store, clock, keep=KEEP)
    await first.store([*first.add(user="ada"), *first.add(session="s1")])
    second = RevocationList(store, clock, keep=KEEP)
    await second.load()
    assert refused(second, of("ada", 4000))
    assert refused(second, of("bob", 4000, "s1"))
    clock.advance(KEEP + 1)
    third = RevocationList(store, clock, keep=KEEP)
    await third.load()
    assert len(third) == 0


async def test_store_returns_after_the_revocation_is_durable(clock: ManualClock) -> None:
    held = asyncio.Event()

    class Slow(Store):
        async def put(self, kind: str, name: str, at: float, *, oldest: float) -> None:
            await held.wait()
            await super().put(kind, name, at, oldest=oldest)

    store = Slow()
    revocations = RevocationList(store, clock, keep=KEEP)
    both = [
        asyncio.create_task(revocations.store(revocations.add(user=user)))
        for user in ("ada", "bob")
    ]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert refused(revocations, of("bob", 4000))
    assert not any(task.done() for task in both)
    held.set()
    await asyncio.gather(*both)
    assert set(store.kept) == {("user", "ada"), ("user", "bob")}


async def test_revocation_added_during_the_load_keeps_its_time(
    clock: ManualClock,
) -> None:
    store = Store()
    store.kept["user", "ada"] = 4500
    revocations = RevocationList(store, clock, keep=KEEP)
    revocations.add(user="ada")
    await revocations.load()
    assert refused(revocations, of("ada", 5000))


# -- in the log's file -----------------------------------------------------------------------------


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "log")
    await database.open(MIGRATIONS)
    yield database
    await database.close()


async def test_revocation_store_keeps_the_newest_of_each(database: Database) -> None:
    store = SqliteRevocationStore(database)
    await store.put("user", "ada", 10.5, oldest=0)
    await store.put("session", "ada", 11, oldest=0)
    await store.put("user", "ada", 12, oldest=0)
    assert sorted(await store.load()) == [("session", "ada", 11), ("user", "ada", 12)]


async def test_revocation_store_deletes_old_revocations(database: Database) -> None:
    store = SqliteRevocationStore(database)
    await store.put("user", "ada", 10, oldest=0)
    await store.put("user", "bob", 20, oldest=10)
    await store.put("user", "eve", 30, oldest=11)
    assert sorted(name for _, name, _ in await store.load()) == ["bob", "eve"]


async def test_new_epoch_keeps_the_revocations(tmp_path: Path) -> None:
    for shape in ("one", "another"):
        database = Database(tmp_path / "log")
        log = SqliteEventLog(database, shape=shape, events=10, seconds=60)
        await log.open()
        store = SqliteRevocationStore(database)
        if shape == "one":
            await store.put("user", "ada", 10, oldest=0)
        assert await store.load() == [("user", "ada", 10)]
        await log.close()


async def test_file_without_revocations_is_migrated(tmp_path: Path) -> None:
    before = Database(tmp_path / "log")
    await before.open(MIGRATIONS[:1])
    await before.write(
        lambda connection: connection.execute("INSERT INTO sessions VALUES ('pid', '{}')")
    )
    await before.close()
    after = Database(tmp_path / "log")
    await after.open(MIGRATIONS)
    try:
        assert await SqliteRevocationStore(after).load() == []
        [(count,)] = await after.read(
            lambda connection: connection.execute("SELECT count(*) FROM sessions").fetchall()
        )
        assert count == 1
    finally:
        await after.close()
    assert sqlite3.sqlite_version_info >= (3, 37)
