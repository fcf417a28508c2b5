"""Snapshots, batches and the bridge's state, from the source to real sockets."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from bridge import create_app
from bridge.changes import Gap, GapReason
from bridge.gateway import upstream_status as status
from bridge.gateway.request_handlers import RequestHandlers
from bridge.gateway.snapshot import Snapshots
from bridge.source.base import SourceState
from tests.fakes import FakeSource, FakeTable, row, settings
from tests.raw_client import Client, client
from tests.serving import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge import Bridge


class Site:
    """A bridge on a port, and the table behind it."""

    def __init__(self, bridge: Bridge, source: FakeSource, table: FakeTable, url: str) -> None:
        self.bridge, self.source, self.table, self.url = bridge, source, table, url

    def write(self, new: dict[str, Any]) -> None:
        self.source.put(self.table.write(new))

    @property
    def head(self) -> str:
        running = self.bridge._running
        assert running is not None
        return str(running.log.head)

    async def settled(self) -> None:
        """Wait until every change has been published."""
        head = ""
        while head != self.head:
            head = self.head
            await asyncio.sleep(0.1)


@asynccontextmanager
async def site(*rows: dict[str, Any], **overrides: Any) -> AsyncIterator[Site]:
    source, table = FakeSource(), FakeTable(*rows)
    bridge = create_app(
        settings(**{"watch_interval": 600, "settle": 600, "sweep_interval": 600, **overrides}),
        source=source,
        table=table,
    )
    async with served(bridge, drain=bridge.drain) as url:
        async with asyncio.timeout(10):
            await source.begun.wait()
        yield Site(bridge, source, table, url)


def shown(rows: Any) -> dict[Any, Any]:
    return {data["property_id"]: data for data in rows}


class View:
    """What a client of some regions shows: it follows the rule of `bridge.gateway.snapshot`."""

    def __init__(self, *regions: str) -> None:
        self.regions = set(regions)
        self.known: dict[Any, dict[str, Any]] = {}
        self.positions: list[int] = []

    def page(self, rows: Any) -> None:
        self.known.update(shown(rows))

    def hear(self, args: list[Any]) -> None:
        name, envelope, position = args
        self.positions.append(int(position.rpartition("-")[2]))
        if name == "properties-batch":
            for event in envelope["data"]["events"]:
                self.apply(event)
        else:
            self.apply(envelope)

    def apply(self, event: dict[str, Any]) -> None:
        data = event["data"]
        key = data["property_id"]
        if event["event"] == "property-created":
            self.known[key] = data
        elif event["event"] == "property-deleted":
            self.known.pop(key, None)
        elif "moved" in data:
            self.known.pop(key, None)
            if not self.regions or self.regions & set(data["moved"]["to"]):
                self.known[key] = data["property"]
        elif key in self.known:
            for column, change in data["changes"].items():
                assert self.known[key][column] == change["old"]
                self.known[key][column] = change["new"]


def published(table: FakeTable, *states: str) -> dict[Any, dict[str, Any]]:
    return {
        key: {
            "property_id": key,
            **{name: new[name] for name in new if name not in ("id", "updated_at")},
        }
        for key, new in table.contents.items()
        if not states or new["state"] in states
    }


async def test_snapshot_is_in_the_ack_with_its_position() -> None:
    async with site(row("a"), row("b", state="CA")) as here, client(here.url) as one:
        answer = await one.request("subscribe", {"regions": ["TX"], "snapshot": True})
        assert answer["ok"] is True
        assert answer["regions"] == ["TX"]
        assert answer["offset"] == here.head
        assert shown(answer["snapshot"]) == published(here.table, "TX")
        assert "more" not in answer
        here.write(row("a", price=5))
        packet = json.loads((await one.next_packet())[2:])
        assert packet[1]["data"]["changes"] == {"price": {"old": 1_000_000, "new": 5}}


async def test_a_refused_snapshot_changes_nothing() -> None:
    async with (
        site(row("a"), max_rooms=2) as here,
        client(here.url, auth={"regions": ["TX"]}) as one,
    ):
        for argument, code in (
            ({"regions": ["CA", "NV"], "snapshot": True}, "too_many_rooms"),
            ({"regions": ["CA"], "snapshot": True, "after": 1}, "bad_request"),
            ({"regions": ["CA"], "snapshot": True, "after": "0.0.0"}, "cursor_gone"),
        ):
            answer = await one.request("subscribe", argument)
            assert answer["error"]["code"] == code
        answer = await one.request("unsubscribe", {"regions": ["CA"]})
        assert answer["regions"] == ["TX"]


async def test_request_that_fails_is_answered_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with site(row("a")) as here, client(here.url, auth={"regions": ["TX"]}) as one:
        with monkeypatch.context() as broken:
            broken.setattr(Snapshots, "page", failing)
            answer = await one.request("subscribe", {"regions": ["CA"], "snapshot": True})
        assert answer["error"]["code"] == "internal_error"
        answer = await one.request("unsubscribe", {"regions": ["CA"]})
        assert answer["regions"] == ["TX"]


async def test_request_that_fails_half_way_is_answered_before_the_connection_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with site(row("a")) as here, client(here.url, auth={"regions": ["TX"]}) as one:
        monkeypatch.setattr(RequestHandlers, "subscription_changed", failing)
        answer = await one.request("subscribe", {"regions": ["CA"]})
        assert answer["error"]["code"] == "internal_error"
        await one.until_closed()


@pytest.mark.parametrize("method", ["collect", "encode"])
async def test_rows_over_http_that_fail_are_answered(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site(row("a")) as here:
        monkeypatch.setattr(Snapshots, method, failing)
        for _ in range(5):  # more than the responses of one address: none is held
            async with got(here) as (response, body):
                assert (response.status, body["error"]["code"]) == (500, "internal_error")


def failing(*_: object) -> None:
    raise RuntimeError("a defect")


async def trade(here: Site) -> None:
    """500 changes a second, of every kind."""
    rng = random.Random(5)
    for fresh in count(1000):
        key = f"p{rng.randrange(500):03}"
        known = here.table.contents.get(key)
        chance = rng.random()
        if known is None or chance < 0.1:
            here.write(row(key if known is None else f"n{fresh}", price=fresh))
        elif chance < 0.2:
            here.source.put(here.table.remove(key))
        elif chance < 0.5:
            here.write({**known, "state": rng.choice(["TX", "CA"])})
        else:
            here.write({**known, "price": rng.random()})
        if fresh % 10 == 0:
            await asyncio.sleep(0.02)


class Watcher:
    """A client that fetches a snapshot in pages, and receives events across a drop."""

    def __init__(self, one: Client, *regions: str) -> None:
        self.one = one
        self.view = View(*regions)
        self.pages = 0
        self.enough = asyncio.Event()

    async def hear(self) -> str:
        """Receive one packet; return it if it is no event."""
        packet = await self.one.next_packet()
        if not packet.startswith("42"):
            return packet
        before = len(self.one.events)
        self.one.receive_packet(packet)
        for args in self.one.events[before:]:
            self.view.hear(args)
        return ""

    async def watch(self) -> None:
        argument: dict[str, Any] = {"regions": list(self.view.regions), "snapshot": True}
        while True:
            await self.one.send("420" + json.dumps(["subscribe", argument]))
            while not (packet := await self.hear()):
                pass
            answer = json.loads(packet[3:])[0]
            assert answer["ok"], answer
            self.view.page(answer["snapshot"])
            self.pages += 1
            await asyncio.sleep(0.02)
            if "more" not in answer:
                break
            argument["after"] = answer["more"]
        for turn in range(20):
            await self.hear()
            if turn == 10:
                await self.one.close()
                await asyncio.sleep(0.05)
                await self.one.connect()
                assert self.one.recovered
        self.enough.set()
        while "end" not in self.view.known:
            await self.hear()


@pytest.mark.parametrize("transport", ["websocket", "polling"])
@pytest.mark.parametrize("batch", [False, True])
async def test_snapshot_and_events_equal_the_table_at_500_changes_a_second(
    transport: str, batch: bool
) -> None:
    rows = [row(f"p{n:03}", state=("TX", "CA", "NV")[n % 3], price=n) for n in range(400)]
    auth = {"regions": ["nowhere"], "batch": batch}
    async with (
        site(*rows, snapshot_bytes=8192) as here,
        client(here.url, transport, auth) as one,
        client(here.url, transport, auth) as two,
    ):
        watchers = [Watcher(one, "TX"), Watcher(two, "CA", "TX")]
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            trading = tasks.create_task(trade(here))
            for watcher in watchers:
                tasks.create_task(watcher.watch())
            for watcher in watchers:
                await watcher.enough.wait()
            trading.cancel()
            here.write(row("end"))
        for watcher in watchers:
            view = watcher.view
            assert watcher.pages > 2
            assert view.known == published(here.table, *view.regions)
            assert view.positions == sorted(set(view.positions))


async def test_batch_is_sent_at_most_once_per_window() -> None:
    async with (
        site(row("a"), batch_seconds=0.1) as here,
        client(here.url, auth={"batch": True}) as one,
        client(here.url) as other,
    ):
        await asyncio.sleep(0.1)
        for price in range(50):
            here.write(row("a", price=price))
            here.write(row(f"new{price}"))
            await asyncio.sleep(0.01)
        here.write(row("end"))
        while not any("new49" in str(args) for args in one.events):
            one.receive_packet(await one.next_packet())
        assert len(one.events) < 10
        for args in one.events:
            assert args[0] == args[1]["event"] == "properties-batch"
            keys = [event["data"]["property_id"] for event in args[1]["data"]["events"]]
            assert len(keys) == len(set(keys))
        first = other.events
        while len(first) < 2:
            other.receive_packet(await other.next_packet())
        assert first[0][0] == "property-updated"


async def test_bridge_status_is_sent_at_connect_and_on_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(status, "GRACE_SECONDS", 0.1)
    async with site(row("a")) as here, client(here.url) as one:
        await one.request("subscribe", {"snapshot": True})

        async def hears(state: str) -> None:
            async with asyncio.timeout(20):
                while not one.bridge_states or one.bridge_states[-1] != state:
                    one.receive_packet(await one.next_packet())

        await hears("live")
        here.source.become(SourceState.DOWN)
        await hears("stale")
        here.write(row("a", price=1))
        here.source.become(SourceState.LIVE)
        await hears("live")
        assert one.offset == here.head
        assert len(one.events) == 1
        async with client(here.url, auth={"batch": True}) as two:
            two.receive_packet(await two.next_packet())
            assert two.bridge_states == ["live"]
            assert two.offset == here.head
            await two.close()
            await two.connect()
            assert two.recovered


async def test_scan_for_missed_changes_is_catching_up() -> None:
    async with site(row("a")) as here, client(here.url) as one:
        await one.request("subscribe", {"snapshot": True})
        gate = asyncio.Event()
        page = here.table.page

        async def slow(after: Any, limit: int) -> Any:
            await gate.wait()
            return await page(after, limit)

        here.table.page = slow  # type: ignore[method-assign,assignment]
        assert here.source.inbox is not None
        here.source.inbox.put_nowait(Gap(GapReason.OVERFLOW))
        async with asyncio.timeout(20):
            while one.bridge_states[-1:] != ["catching-up"]:
                one.receive_packet(await one.next_packet())
            gate.set()
            while one.bridge_states[-1] != "live":
                one.receive_packet(await one.next_packet())


async def test_too_many_requests_are_refused_and_change_nothing() -> None:
    async with (
        site(requests_burst=3, requests_per_second=1) as here,
        client(here.url, auth={"regions": ["TX"]}) as one,
        client(here.url) as other,
    ):
        for n in range(3):
            assert (await one.request("subscribe", {"regions": [f"r{n}"]}))["ok"]
        refused = await one.request("subscribe", {"regions": ["CA"]})
        assert refused["error"]["code"] == "rate_limited"
        assert (await other.request("subscribe", {"regions": ["CA"]}))["ok"]
        await asyncio.sleep(1.05)
        answer = await one.request("unsubscribe", {"regions": ["r1", "r2"]})
        assert answer["regions"] == ["TX", "r0"]


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_too_long_a_message_ends_the_connection(transport: str) -> None:
    async with site(message_bytes=2048) as here, client(here.url, transport) as one:
        await one.request("subscribe", {"regions": ["x" * 100] * 15})
        long = "421" + json.dumps(["subscribe", {"regions": ["x" * 100] * 30}])
        if transport == "polling":
            async with one.http.post(one._poll, data=long) as response:
                assert response.status == 400
        else:
            assert one._ws is not None
            await one._ws.send_str(long)
            async with asyncio.timeout(20):
                while not one._ws.closed:
                    await one._ws.receive()


# -- over HTTP


@asynccontextmanager
async def got(
    here: Site, query: str = "", **headers: str
) -> AsyncIterator[tuple[aiohttp.ClientResponse, Any]]:
    async with (
        aiohttp.ClientSession() as http,
        http.get(here.url + "/properties" + query, headers=headers) as response,
    ):
        yield response, await response.json(content_type=None) if response.status != 304 else None


async def test_the_same_rows_over_http() -> None:
    rows = [row(f"p{n}", state=("TX", "CA", "NV")[n % 3]) for n in range(2000)]
    async with site(*rows) as here:
        async with got(here) as (response, body):
            assert response.status == 200
            assert response.headers["Content-Type"] == "application/json"
            assert response.headers["Content-Encoding"] == "gzip"
            assert response.headers["Bridge-Position"] == here.head
            assert shown(body) == published(here.table)
        async with got(here, "?region=TX&region=CA") as (_, body):
            assert shown(body) == published(here.table, "TX", "CA")
        async with got(here, "?region=nowhere") as (response, body):
            assert (response.status, body) == (200, [])


async def test_an_etag_holds_until_something_happens() -> None:
    async with site(row("a")) as here:
        async with got(here) as (response, _):
            etag = response.headers["ETag"]
        for tag in (etag, f'"x", {etag}', etag.removeprefix("W/"), "*"):
            async with got(here, **{"If-None-Match": tag}) as (response, _):
                assert response.status == 304
                assert response.headers["ETag"] == etag
                assert response.headers["Bridge-Position"] == here.head
        here.write(row("a", price=5))
        await here.settled()
        async with got(here, **{"If-None-Match": etag}) as (response, body):
            assert response.status == 200
            assert response.headers["ETag"] != etag
            assert body[0]["price"] == 5


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("?region=", "bad_request"),
        ("?regions=TX", "bad_request"),
        ("?region=" + "x" * 201, "bad_request"),
        ("?region=a&region=b&region=c", "too_many_rooms"),
    ],
)
async def test_unknown_parameter_is_named_in_the_error(query: str, code: str) -> None:
    async with site(row("a"), max_rooms=2) as here, got(here, query) as (response, body):
        assert response.status == 400
        assert body["ok"] is False
        assert body["error"]["code"] == code
        assert body["error"]["message"]


async def test_configured_origins_may_read_the_response() -> None:
    async with site(row("a"), cors_origins="http://a.example") as here:
        async with got(here, Origin="http://a.example") as (response, _):
            assert response.headers["Access-Control-Allow-Origin"] == "http://a.example"
            assert "Bridge-Position" in response.headers["Access-Control-Expose-Headers"]
        async with got(here, Origin="http://b.example") as (response, _):
            assert "Access-Control-Allow-Origin" not in response.headers


async def test_preflight_request_allows_a_token() -> None:
    asked = {
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization, if-none-match",
    }
    async with site(row("a")) as here, aiohttp.ClientSession() as http:
        url = here.url + "/properties"
        for origin, status in (("http://localhost:3000", 200), ("https://evil.test", 400)):
            async with http.options(url, headers={"Origin": origin, **asked}) as answer:
                assert answer.status == status
                allowed = answer.headers.get("Access-Control-Allow-Origin")
                assert allowed == (origin if status == 200 else None)
                headers = answer.headers["Access-Control-Allow-Headers"].lower()
                assert {"authorization", "if-none-match"} <= set(headers.split(", "))
        async with http.options(url) as answer:
            assert (answer.status, await answer.text()) == (204, "")


async def test_before_the_table_is_read_there_are_no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.gateway.snapshot.WAIT_SECONDS", 0.05)
    gate = asyncio.Event()

    async def late(table: FakeTable, after: Any, limit: int) -> Any:
        await gate.wait()
        return [table.contents[key] for key in await table.keys(after, limit)]

    monkeypatch.setattr(FakeTable, "page", late)
    async with site(row("a")) as here, client(here.url) as one:
        async with got(here) as (response, body):
            assert response.status == 503
            assert body["error"]["code"] == "not_ready"
        answer = await one.request("subscribe", {"snapshot": True})
        assert answer["error"]["code"] == "not_ready"
        monkeypatch.setattr("bridge.gateway.snapshot.WAIT_SECONDS", 5)
        asking = asyncio.create_task(one.request("subscribe", {"snapshot": True}))
        await asyncio.sleep(0.05)
        gate.set()  # a request waits for the first snapshot
        assert len((await asking)["snapshot"]) == 1
