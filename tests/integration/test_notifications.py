"""Notifications that clients with tokens and watches receive."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from bridge import create_app
from bridge.clock import SystemClock
from tests.fakes import FakeSource, FakeTable, row, settings
from tests.raw_client import Client, client
from tests.serving import served
from tests.tokens import SECRET, claims, legacy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ANN = "5b0d6f3c-54a5-4f0a-9f0e-0d2c4f9f0a11"
BOB = "9a1f0000-0000-4000-8000-000000000002"
REGIONS: dict[str, Any] = {"regions_claim": "app_metadata.regions", "region": "state,city"}

transports = pytest.mark.parametrize("transport", ["polling", "websocket"])


def token(user: str, *regions: str) -> dict[str, str]:
    """Return the `auth` of a user, with rights to these regions only if any are given."""
    now = SystemClock().wall()
    about: dict[str, Any] = {"app_metadata": {"regions": list(regions)}} if regions else {}
    payload = claims("http://127.0.0.1:9/auth/v1", sub=user, exp=now + 3600, iat=int(now), **about)
    return {"token": legacy(payload)}


def a_watch(key: str, user: str, **target: str) -> dict[str, Any]:
    return {
        "id": key,
        "user_id": user,
        "property_id": target.get("property"),
        "region": target.get("region"),
        "updated_at": "2026-01-05T09:00:00Z",
    }


class Site:
    """A bridge on a port, over fake sources and tables."""

    def __init__(self, *watches: dict[str, Any], **overrides: Any) -> None:
        self.source, self.table = FakeSource(), FakeTable(row("p1"), row("p2", state="CA"))
        self.watch_source, self.watch_table = FakeSource(), FakeTable(*watches)
        self.bridge = create_app(
            settings(supabase_jwt_secret=SECRET, watchers="watches", **overrides),
            source=self.source,
            table=self.table,
            watching=(self.watch_source, self.watch_table),
        )
        self.bridge.on_failure = lambda _error: None
        self.url = ""

    def write(self, key: str, **columns: Any) -> None:
        self.source.put(self.table.write(row(key, **columns)))

    def mark(self) -> None:
        """Make a change that all clients receive and that is not notified."""
        before = self.table.contents["p2"]
        self.write("p2", **{**before, "units": before["units"] + 1})

    async def change_each_row_once(self) -> None:
        """Change each row once: its first change after the initial load may be older than it, so
        the bridge re-reads the row. Later changes are emitted from the stream.
        """
        assert self.bridge._running is not None
        for key, columns in list(self.table.contents.items()):
            self.write(key, **{**columns, "name": "At first"})
        async with asyncio.timeout(20):
            while self.bridge._running.log.head.seq < len(self.table.contents):
                await asyncio.sleep(0.005)

    async def watches(self, count: int) -> None:
        async with asyncio.timeout(20):
            while self.status().watches != count:
                await asyncio.sleep(0.005)

    def status(self) -> Any:
        assert self.bridge._running is not None
        assert self.bridge._running.ingest is not None
        assert self.bridge._running.ingest.watchers is not None
        return self.bridge._running.ingest.watchers.status()


@asynccontextmanager
async def site(*watches: dict[str, Any], **overrides: Any) -> AsyncIterator[Site]:
    it = Site(*watches, **overrides)
    async with served(it.bridge, drain=it.bridge.drain) as it.url:
        async with asyncio.timeout(20):
            while not it.bridge.operations.readiness().ready:
                await asyncio.sleep(0.005)
        await it.watches(len(watches))
        await it.change_each_row_once()
        yield it


async def until(it: Client, events: int) -> list[dict[str, Any]]:
    """Wait for so many events, batches unpacked; return the notifications among them."""
    async with asyncio.timeout(10):
        while len(received(it)) < events:
            it.receive_packet(await it.next_packet())
    return [event["data"] for event in received(it) if event["event"] == "property-notification"]


def received(it: Client) -> list[dict[str, Any]]:
    """Return all events of properties that it received, batches unpacked."""
    return [
        event
        for name, envelope, *_ in it.events
        if name.startswith("propert")
        for event in envelope["data"].get("events", [envelope])
    ]


@transports
async def test_clients_of_a_user_are_notified_once_each_and_others_are_not(transport: str) -> None:
    async with (
        site(a_watch("w1", ANN, property="p1"), a_watch("w2", ANN, region="TX")) as at,
        client(at.url, transport, token(ANN)) as tab,
        client(at.url, transport, {**token(ANN), "properties": ["nothing"]}) as other_tab,
        client(at.url, transport, token(BOB)) as bob,
        client(at.url, transport) as anonymous,
    ):
        at.write("p1", status="sold")
        at.mark()
        [notification] = await until(tab, 3)
        assert notification["title"] == "Listing p1 is now sold"
        assert [event["event"] for event in received(tab)] == [
            "property-updated",
            "property-notification",
            "property-updated",
        ]
        assert await until(other_tab, 1) == [notification]
        assert await until(bob, 2) == []
        assert await until(anonymous, 2) == []


async def test_notifications_are_part_of_batches() -> None:
    async with (
        site(a_watch("w1", ANN, property="p1")) as at,
        client(at.url, auth={**token(ANN), "batch": True}) as ann,
        client(at.url, auth={**token(BOB), "batch": True}) as bob,
    ):
        at.write("p1", status="pending")
        at.write("p1", status="sold")
        at.mark()
        notification = await until(ann, 4)
        assert [data["changes"]["status"]["new"] for data in notification] == ["pending", "sold"]
        assert await until(bob, 2) == []
        assert {args[0] for args in ann.events} == {"properties-batch"}


@pytest.mark.parametrize("batch", [False, True])
async def test_missed_notification_is_replayed_once_on_recovery(*, batch: bool) -> None:
    async with (
        site(a_watch("w1", ANN, property="p1")) as at,
        client(at.url, auth={**token(ANN), "batch": batch, "properties": ["p1"]}) as ann,
    ):
        at.write("p1", status="pending")
        assert len(await until(ann, 2)) == 1
        await ann.close()
        at.write("p1", status="sold")
        at.write("p1", status="sold", price=5)
        await ann.connect()
        assert ann.recovered
        at.write("p1", status="available", price=5)
        notification = await until(ann, 7 if batch else 8)
        assert [data["kind"] for data in notification] == [
            "status-changed",
            "status-changed",
            "price-dropped",
            "status-changed",
        ]


async def test_deleted_watch_is_not_notified() -> None:
    async with (
        site(a_watch("w1", ANN, property="p1"), a_watch("w2", BOB, property="p1")) as at,
        client(at.url, auth=token(ANN)) as ann,
        client(at.url, auth=token(BOB)) as bob,
    ):
        at.watch_source.put(at.watch_table.remove("w1"))
        await at.watches(1)
        at.write("p1", status="sold")
        at.mark()
        assert await until(ann, 2) == []
        assert len(await until(bob, 3)) == 1


async def test_user_without_rights_to_a_region_is_not_notified_of_its_changes() -> None:
    watches = [a_watch("w1", ANN, property="p1"), a_watch("w2", ANN, region="TX/Austin")]
    async with (
        site(*watches, **REGIONS) as at,
        client(at.url, auth=token(ANN, "TX")) as texas,
        client(at.url, auth=token(ANN, "CA")) as elsewhere,
        client(at.url, auth=token(ANN, "*")) as everywhere,
    ):
        at.write("p1", status="sold")
        at.mark()
        assert len(await until(texas, 2)) == 1
        assert len(await until(everywhere, 3)) == 1
        assert await until(elsewhere, 1) == []


async def test_move_is_notified_by_the_rights_of_each_user() -> None:
    watches = [a_watch("w1", ANN, property="p1"), a_watch("w2", ANN, region="CA")]
    async with (
        site(*watches, **REGIONS) as at,
        client(at.url, auth=token(ANN, "TX")) as left,
        client(at.url, auth=token(ANN, "CA")) as entered,
        client(at.url, auth=token(ANN, "*")) as everywhere,
    ):
        at.write("p1", state="CA")
        at.write("p1", state="CA", status="sold")
        at.mark()
        kinds = [data["kind"] for data in await until(everywhere, 5)]
        assert kinds == ["new-listing", "status-changed"]
        kinds = [data["kind"] for data in await until(entered, 5)]
        assert kinds == ["new-listing", "status-changed"]
        assert received(entered)[0]["event"] == "property-created"
        assert await until(left, 1) == []
        assert [event["event"] for event in received(left)] == ["property-deleted"]


async def test_member_column_is_notified_to_no_user() -> None:
    columns = {"columns": "name,state,price", "member_columns": "status", "member_roles": "agent"}
    async with (
        site(a_watch("w1", ANN, property="p1"), **columns) as at,
        client(at.url, auth=token(ANN)) as ann,
    ):
        at.write("p1", status="sold")
        at.write("p1", status="sold", price=5)
        [notification] = await until(ann, 3)
        assert notification["kind"] == "price-dropped"
        assert "sold" not in str(notification)


async def test_client_that_authenticates_later_is_notified_from_then_on() -> None:
    async with (
        site(a_watch("w1", ANN, property="p1")) as at,
        client(at.url) as one,
    ):
        at.write("p1", status="pending")
        assert await until(one, 1) == []
        answer = await one.request("authenticate", token(ANN))
        assert answer["ok"] is True
        at.write("p1", status="sold")
        [notification] = await until(one, 3)
        assert notification["changes"]["status"] == {"old": "pending", "new": "sold"}


async def test_client_that_connects_later_is_not_notified() -> None:
    async with (
        site(a_watch("w1", ANN, property="p1")) as at,
        client(at.url, auth=token(BOB)) as bob,
    ):
        at.write("p1", status="sold")
        assert await until(bob, 1) == []
        async with client(at.url, auth=token(ANN)) as ann:
            at.write("p1", status="sold", price=5)
            [notification] = await until(ann, 2)
            assert notification["kind"] == "price-dropped"
