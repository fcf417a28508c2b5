"""The table of watches in the sandbox: its permissions, and how the bridge follows fakes."""

from __future__ import annotations

import asyncio
import json
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest

from bridge import create_app
from bridge.notifications import watch_sync
from bridge.notifications.watch_sync import WatchSyncStatus
from bridge.settings import Settings
from tests.fakes import FakeSource, FakeTable, row, settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from bridge.app import Bridge
    from bridge.log.base import Position
    from bridge.sandbox import Sandbox

ANN, BOB = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
WATCHERS = "public.property_watchers"


@pytest.fixture
async def users(sandbox: Sandbox) -> AsyncIterator[None]:
    """Ann and Bob have accounts, and no watches."""
    await sandbox.execute("insert into auth.users (id) values (%s), (%s)", (ANN, BOB))
    yield
    await sandbox.execute("delete from auth.users where id in (%s, %s)", (ANN, BOB))


async def as_user(sandbox: Sandbox, user: str, statement: str, *params: Any) -> list[Any]:
    """Run a statement as PostgREST does for a token of that user."""
    async with await psycopg.AsyncConnection.connect(sandbox.database_url) as connection:
        await connection.execute("set local role authenticated")
        await connection.execute(
            "select set_config('request.jwt.claims', %s, true)", (json.dumps({"sub": user}),)
        )
        cursor = await connection.execute(statement, params)
        return await cursor.fetchall() if cursor.description else [cursor.rowcount]


async def listings(sandbox: Sandbox, number: int = 1, state: str = "TX") -> list[dict[str, Any]]:
    return await sandbox.execute(
        "select id::text, price::bigint, name from properties where state = %s"
        " and price > 1000000 and status = 'available' order by id limit %s",
        (state, number),
    )


# -- the table -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("users")
async def test_user_writes_and_reads_own_watches(sandbox: Sandbox) -> None:
    [listing] = await listings(sandbox)
    insert = "insert into property_watchers (property_id, region) values (%s, %s)"
    await as_user(sandbox, ANN, insert, listing["id"], None)
    await as_user(sandbox, ANN, insert, None, "TX")
    seen = await as_user(sandbox, ANN, "select user_id::text from property_watchers")
    assert seen == [(ANN,), (ANN,)]


@pytest.mark.usefixtures("users")
async def test_user_can_neither_read_nor_delete_watches_of_others(sandbox: Sandbox) -> None:
    await as_user(sandbox, ANN, "insert into property_watchers (region) values ('TX')")
    assert await as_user(sandbox, BOB, "select id from property_watchers") == []
    assert await as_user(sandbox, BOB, "delete from property_watchers") == [0]
    assert await as_user(sandbox, ANN, "delete from property_watchers") == [1]


@pytest.mark.usefixtures("users")
async def test_user_can_not_insert_a_watch_for_another(sandbox: Sandbox) -> None:
    statement = "insert into property_watchers (user_id, region) values (%s, 'TX')"
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await as_user(sandbox, BOB, statement, ANN)


async def test_anonymous_role_has_no_access_to_watches(sandbox: Sandbox) -> None:
    async with await psycopg.AsyncConnection.connect(sandbox.database_url) as connection:
        await connection.execute("set local role anon")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("select 1 from property_watchers")


@pytest.mark.usefixtures("users")
@pytest.mark.parametrize("region", [None, "TX"])
async def test_watch_has_one_target(sandbox: Sandbox, region: str | None) -> None:
    [listing] = await listings(sandbox)
    property_id = None if region is None else listing["id"]
    with pytest.raises(psycopg.errors.CheckViolation):
        await sandbox.execute(
            "insert into property_watchers (user_id, property_id, region) values (%s, %s, %s)",
            (ANN, property_id, region),
        )


@pytest.mark.usefixtures("users")
async def test_user_has_one_watch_per_target(sandbox: Sandbox) -> None:
    insert = "insert into property_watchers (user_id, region) values (%s, 'TX')"
    await sandbox.execute(insert, (ANN,))
    await sandbox.execute(insert, (BOB,))
    with pytest.raises(psycopg.errors.UniqueViolation):
        await sandbox.execute(insert, (ANN,))


@pytest.mark.usefixtures("users")
async def test_number_of_watches_of_a_user_is_limited(sandbox: Sandbox) -> None:
    insert = (
        "insert into property_watchers (user_id, region)"
        " select %s, 'r' || n from generate_series(%s::int, %s::int) n"
    )
    await sandbox.execute(insert, (ANN, 1, 1000))
    with pytest.raises(psycopg.errors.CheckViolation, match="at most 1000 watches"):
        await sandbox.execute(insert, (ANN, 1001, 1001))
    await sandbox.execute(insert, (BOB, 1, 1))


# -- synchronisation -------------------------------------------------------------------------------


class RunningBridge:
    """A running bridge and its log."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge
        assert bridge._running is not None
        self.log = bridge._running.log
        for user in (ANN, BOB):
            # As if they had clients; delivery is tested with real ones in `test_notifications`.
            bridge._running.gateway.hub._presence.add(user)
        self._from: Position = self.log.head

    @property
    def status(self) -> WatchSyncStatus:
        running = self.bridge._running
        assert running is not None
        assert running.ingest is not None
        assert running.ingest.watchers is not None
        return running.ingest.watchers.status()

    async def until(self, reached: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not reached():
                await asyncio.sleep(0.01)

    def entries(self) -> list[tuple[str, Any, tuple[str, ...]]]:
        """Return name, data and rooms of all entries since the start."""
        return [
            (
                entry.event.name,
                json.loads(entry.event.envelope)["data"],
                entry.event.rooms,
            )
            for entry in self.log.after(self._from)
        ]

    def notified(self, user: str) -> list[dict[str, Any]]:
        """Return the data of the notifications of that user."""
        return [
            data
            for name, data, rooms in self.entries()
            if name == "property-notification" and f"user:{user}" in rooms
        ]


@asynccontextmanager
async def running(bridge: Bridge) -> AsyncIterator[RunningBridge]:
    """Run the bridge; it has loaded the listings and the watches."""
    async with bridge.lifespan():
        here = RunningBridge(bridge)
        await here.until(lambda: bridge.operations.readiness().ready)
        await here.until(
            lambda: here.status.pipeline is not None and here.status.pipeline.reconciled
        )
        yield here


def of(sandbox: Sandbox, **overrides: Any) -> Bridge:
    overrides = {"log": "memory:", "watchers": WATCHERS, **overrides}
    return create_app(
        Settings(
            supabase_url=sandbox.supabase_url,
            supabase_secret_key=sandbox.supabase_key,
            **overrides,
        )
    )


async def watch(sandbox: Sandbox, user: str, **target: str) -> None:
    await sandbox.execute(
        "insert into property_watchers (user_id, property_id, region) values (%s, %s, %s)",
        (user, target.get("property"), target.get("region")),
    )


async def set_status(sandbox: Sandbox, key: str, status: str) -> None:
    await sandbox.execute("update properties set status = %s where id = %s", (status, key))


@pytest.mark.usefixtures("users")
async def test_watch_applies_from_its_insert_until_its_delete(
    sandbox: Sandbox,
) -> None:
    first, second = await listings(sandbox, 2)
    await watch(sandbox, ANN, property=first["id"])
    async with running(of(sandbox)) as here:
        assert here.status.watches == 1
        await set_status(sandbox, first["id"], "pending")
        await here.until(lambda: here.notified(ANN))
        await watch(sandbox, BOB, property=second["id"])
        await here.until(lambda: here.status.watches == 2)
        await set_status(sandbox, second["id"], "sold")
        await here.until(lambda: here.notified(BOB))
        await sandbox.execute("delete from property_watchers where user_id = %s", (ANN,))
        await here.until(lambda: here.status.watches == 1)
        await set_status(sandbox, first["id"], "sold")
        await set_status(sandbox, second["id"], "available")
        await here.until(lambda: len(here.notified(BOB)) == 2)
        [notification] = here.notified(ANN)
        names = [name for name, _, _ in here.entries()]
    assert notification["property_id"] == first["id"]
    assert notification["title"] == f"{first['name']} is now pending"
    assert names.count("property-updated") == 4
    assert names.count("property-notification") == 3


@pytest.mark.usefixtures("users")
async def test_watch_applies_to_a_listing_that_is_deleted_and_inserted_again(
    sandbox: Sandbox,
) -> None:
    [listing] = await listings(sandbox)
    await watch(sandbox, ANN, property=listing["id"])
    async with running(of(sandbox)) as here:
        [kept] = await sandbox.execute(
            "delete from properties where id = %s returning id, name, state, status",
            (listing["id"],),
        )
        await here.until(here.entries)
        await sandbox.execute(
            "insert into properties (id, name, state, status)"
            " values (%(id)s, %(name)s, %(state)s, %(status)s)",
            kept,
        )
        await here.until(lambda: len(here.entries()) == 2)
        await set_status(sandbox, listing["id"], "sold")
        await here.until(lambda: here.notified(ANN))
        assert [name for name, _, _ in here.entries()] == [
            "property-deleted",
            "property-created",
            "property-updated",
            "property-notification",
        ]


@pytest.mark.usefixtures("users")
async def test_change_missed_by_the_stream_is_notified_once(sandbox: Sandbox) -> None:
    [listing] = await listings(sandbox)
    await watch(sandbox, ANN, property=listing["id"])
    settings = {"watch_interval": 0.1, "watch_grace": 0.2, "sweep_interval": 0.2}
    async with running(of(sandbox, **settings)) as here:
        sandbox.faults.mute()
        try:
            await set_status(sandbox, listing["id"], "pending")
            await here.until(lambda: here.notified(ANN))
        finally:
            sandbox.faults.lift()
        await set_status(sandbox, listing["id"], "sold")
        await here.until(lambda: len(here.notified(ANN)) == 2)
        assert [data["changes"]["status"] for data in here.notified(ANN)] == [
            {"old": "available", "new": "pending"},
            {"old": "pending", "new": "sold"},
        ]


@pytest.mark.usefixtures("users")
async def test_watches_missed_by_their_stream_are_repaired(sandbox: Sandbox) -> None:
    first, second = await listings(sandbox, 2)
    await watch(sandbox, BOB, property=first["id"])
    settings = {"watch_interval": 0.1, "watch_grace": 0.2, "sweep_interval": 0.2}
    async with running(of(sandbox, **settings)) as here:
        sandbox.faults.mute(new=True)
        try:
            await watch(sandbox, ANN, property=second["id"])
            await sandbox.execute("delete from property_watchers where user_id = %s", (BOB,))
            await here.until(lambda: watched(here) == {ANN})
        finally:
            sandbox.faults.lift()
        await set_status(sandbox, first["id"], "pending")
        await set_status(sandbox, second["id"], "pending")
        await here.until(lambda: here.notified(ANN))
        assert here.notified(BOB) == []


def watched(here: RunningBridge) -> set[str]:
    """Return the users that have a watch in the index."""
    running = here.bridge._running
    assert running is not None
    assert running.ingest is not None
    assert running.ingest.watchers is not None
    return {watch.user for watch in running.ingest.watchers._watches._all.values()}


@pytest.mark.usefixtures("users")
async def test_restart_notifies_missed_changes_once_by_the_stored_watches(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    [listing] = await listings(sandbox)
    await watch(sandbox, ANN, property=listing["id"])
    log = f"sqlite:///{tmp_path}/log.sqlite3"
    async with running(of(sandbox, log=log)) as here:
        await set_status(sandbox, listing["id"], "pending")
        await here.until(lambda: here.notified(ANN))
        before = here.log.head
    await set_status(sandbox, listing["id"], "sold")
    async with running(of(sandbox, log=log)) as here:
        here._from = before
        await here.until(lambda: here.notified(ANN))
        await set_status(sandbox, listing["id"], "available")
        await here.until(lambda: len(here.notified(ANN)) == 2)
        assert [data["changes"]["status"]["new"] for data in here.notified(ANN)] == [
            "sold",
            "available",
        ]
    assert (tmp_path / "log-watchers.sqlite3").stat().st_mode & 0o777 == 0o600


async def test_missing_table_of_watches_does_not_affect_the_listings(
    sandbox: Sandbox,
) -> None:
    [listing] = await listings(sandbox)
    bridge = of(sandbox, watchers="public.no_such_table")
    async with bridge.lifespan():
        here = RunningBridge(bridge)
        await here.until(lambda: bridge.operations.readiness().ready)
        await here.until(lambda: here.status.error)
        await set_status(sandbox, listing["id"], "pending")
        await here.until(here.entries)
        assert [name for name, _, _ in here.entries()] == ["property-updated"]
        assert bridge.operations.readiness().ready
        assert bridge.failure is None


# -- over fakes -----------------------------------------------------------------------------------


def a_watch(key: str, user: str = ANN, **target: str) -> dict[str, Any]:
    return {
        "id": key,
        "user_id": user,
        "property_id": target.get("property"),
        "region": target.get("region"),
        "updated_at": "2026-01-05T09:00:00Z",
    }


@dataclass
class Fakes:
    """A bridge over fake sources and tables."""

    source: FakeSource
    table: FakeTable
    watch_source: FakeSource
    watch_table: FakeTable
    bridge: Bridge


def faked(*watches: dict[str, Any], **overrides: Any) -> Fakes:
    source, table = FakeSource(), FakeTable(row("p1"), row("p2"))
    watch_source, watch_table = FakeSource(), FakeTable(*watches)
    bridge = create_app(
        settings(watchers=WATCHERS, **overrides),
        source=source,
        table=table,
        watching=(watch_source, watch_table),
    )
    bridge.on_failure = lambda _error: None
    return Fakes(source, table, watch_source, watch_table, bridge)


async def test_duplicate_change_is_notified_once() -> None:
    fakes = faked(a_watch("w1", property="p1"))
    async with running(fakes.bridge) as here:
        change = fakes.table.write(row("p1", status="sold"))
        fakes.source.put(change)
        fakes.source.put(change)
        fakes.source.put(fakes.table.write(row("p2", status="sold")))
        await here.until(lambda: len(here.entries()) >= 3)
        assert len(here.notified(ANN)) == 1


async def test_column_that_is_not_public_neither_triggers_nor_appears() -> None:
    columns = ("name", "state", "price")
    fakes = faked(a_watch("w1", property="p1"), columns=columns, region=("state", "city"))
    async with running(fakes.bridge) as here:
        fakes.source.put(fakes.table.write(row("p1", status="sold", city="Dallas")))
        fakes.source.put(fakes.table.write(row("p1", status="sold", city="Dallas", price=5)))
        await here.until(lambda: here.notified(ANN))
        [notification] = here.notified(ANN)
        assert notification["kind"] == "price-dropped"
        assert "Dallas" not in json.dumps(notification)
        assert "sold" not in json.dumps(notification)


async def test_bridge_without_authentication_warns_that_no_user_is_notified(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running(faked(auth="off").bridge):
        assert "no user will be notified" in caplog.text
    caplog.clear()
    async with running(faked(auth="required").bridge):
        assert "no user will be notified" not in caplog.text


async def test_table_of_watches_is_not_followed_without_notifications() -> None:
    bridge = create_app(settings(), source=FakeSource(), table=FakeTable(row("p1")))
    async with bridge.lifespan():
        here = RunningBridge(bridge)
        await here.until(lambda: bridge.operations.readiness().ready)
        assert bridge._running is not None
        assert bridge._running.ingest is not None
        assert bridge._running.ingest.watchers is None


async def test_failed_source_of_watches_is_rebuilt_while_the_listings_go_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watch_sync, "FIRST_RETRY_SECONDS", 0.01)
    fakes = faked(a_watch("w1", property="p1"))
    async with running(fakes.bridge) as here:
        fakes.watch_source.fail(RuntimeError("made to fail"))
        await here.until(lambda: fakes.watch_table.closed == 1)
        fakes.source.put(fakes.table.write(row("p1", status="sold")))
        await here.until(lambda: here.notified(ANN))
        await here.until(lambda: fakes.watch_table.opened == 2)
        assert fakes.bridge.failure is None
        fakes.watch_source.put(fakes.watch_table.write(a_watch("w2", BOB, property="p2")))
        await here.until(lambda: here.status.watches == 2)
        fakes.source.put(fakes.table.write(row("p2", status="sold")))
        await here.until(lambda: here.notified(BOB))
        assert here.status.error is None
    assert "made to fail" in caplog.text


async def test_watch_deleted_between_two_attempts_is_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch_sync, "FIRST_RETRY_SECONDS", 0.01)
    fakes = faked(a_watch("w1", property="p1"), a_watch("w2", BOB, property="p1"))
    async with running(fakes.bridge) as here:
        del fakes.watch_table.contents["w1"]
        fakes.watch_source.fail(RuntimeError("made to fail"))
        await here.until(lambda: watched(here) == {BOB})
        fakes.source.put(fakes.table.write(row("p1", status="sold")))
        await here.until(lambda: here.notified(BOB))
        assert here.notified(ANN) == []


async def test_damaged_log_of_watches_does_not_affect_the_listings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_sync, "FIRST_RETRY_SECONDS", 0.01)
    file = tmp_path / "log-watchers.sqlite3"
    file.write_bytes(b"no database at all" * 100)
    fakes = faked(a_watch("w1", property="p1"), log=f"sqlite:///{tmp_path}/log.sqlite3")
    async with fakes.bridge.lifespan():
        here = RunningBridge(fakes.bridge)
        await here.until(lambda: fakes.bridge.operations.readiness().ready)
        error = here.status.error
        assert error is not None
        assert "damaged" in error
        fakes.source.put(fakes.table.write(row("p1", status="sold")))
        await here.until(here.entries)
        assert here.notified(ANN) == []
        file.unlink()
        await here.until(lambda: here.status.watches == 1)
        fakes.source.put(fakes.table.write(row("p1", status="pending")))
        await here.until(lambda: here.notified(ANN))


async def test_status_reports_the_watches() -> None:
    fakes = faked(a_watch("w1", property="p1"), a_watch("w2", BOB, region="TX"))
    async with running(fakes.bridge) as here:
        fakes.source.put(fakes.table.write(row("p1", status="sold")))
        await here.until(lambda: here.notified(ANN))
        transport = httpx.ASGITransport(fakes.bridge)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            status = (await http.get("/status")).json()
    watchers = status["watchers"]
    assert (
        watchers["watches"],
        watchers["notified"],
        watchers["cut_short"],
        watchers["failed"],
    ) == (2, 2, 0, 0)
    assert watchers["source"]["state"] == "live"
    assert watchers["pipeline"]["reconciled"] is True
    assert watchers["error"] is None
    assert status["pipeline"]["counts"]["property-notification"] == 1
