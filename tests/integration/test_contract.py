"""Recorded events and answers of a running bridge are valid by its documents."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from bridge import create_app
from bridge.clock import timestamp
from bridge.events import Event
from bridge.log.base import Entry
from bridge.notifications.rules import NotificationRules, of_update
from bridge.options import document_options
from bridge.rooms import user_room
from bridge.schema import asyncapi, json_schema
from bridge.schema.catalog import EMITTED
from tests.fakes import FakeSource, FakeTable, row, settings
from tests.raw_client import Client
from tests.serving import served
from tests.tokens import SECRET, USER, claims, legacy

if TYPE_CHECKING:
    from bridge import Bridge

SETTINGS = settings(
    region="state,city",
    columns="name,state,city,price,status,features",
    supabase_jwt_secret=SECRET,
    regions_claim="app_metadata.regions",
)
DOCUMENT = asyncapi.document(document_options(SETTINGS))


class Recorder(Client):
    """Records all events with their arguments."""

    def __init__(self, url: str, http: aiohttp.ClientSession, **auth: Any) -> None:
        super().__init__(url, http, "websocket", auth)
        self.everything: list[list[Any]] = []

    def receive_packet(self, packet: str) -> None:
        self.everything.append(json.loads(packet[2:]))
        super().receive_packet(packet)

    async def until_events(self, count: int) -> None:
        """Wait for so many events other than those of the bridge's status."""
        async with asyncio.timeout(10):
            while len(self.events) < count:
                self.receive_packet(await self.next_packet())

    async def until_named(self, *names: str) -> None:
        async with asyncio.timeout(10):
            while not set(names) <= {name for name, *_ in self.everything}:
                self.receive_packet(await self.next_packet())


class Record:
    def __init__(self) -> None:
        self.events: list[list[Any]] = []
        self.replies: list[tuple[str, Any]] = []
        """With the name of their message in the document."""

    def named(self, name: str) -> list[Any]:
        return [envelope for event, envelope, *_ in self.events if event == name]


def listing(key: str, **columns: Any) -> dict[str, Any]:
    whole = row(key, features={"pool": [True, None, 1.5]}, **columns)
    return {name: whole[name] for name in ("id", *SETTINGS.projection.known)}


@pytest.fixture(scope="module")
async def record() -> Record:
    """Record at least one of each event and each answer."""
    source, table = FakeSource(), FakeTable(listing("p1"), listing("p2", state="CA", city="Fresno"))
    bridge = create_app(SETTINGS, source=source, table=table)
    out = Record()
    async with (
        served(bridge, drain=bridge.drain) as url,
        aiohttp.ClientSession() as http,
    ):
        await _ready(http, url)
        single = Recorder(url, http, token=_token("*"))
        batched = Recorder(url, http, token=_token("*"), batch=True)
        await single.connect()
        await batched.connect()
        writes = (
            partial(table.write, listing("p3", price=None)),
            partial(table.write, listing("p1", price=1, status="pending")),
            partial(table.write, listing("p2", city="Austin", state="TX")),
            partial(table.remove, "p3"),
        )
        for count, write in enumerate(writes, start=1):
            # One after the other, since the bridge may re-read a row before its next change.
            source.put(write())
            await single.until_events(count)
        await batched.until_named("properties-batch", "bridge-status")
        _notify(bridge, single.everything)
        await single.until_named("property-notification", "bridge-status")
        requests = [
            ("subscribed", "subscribe", {"regions": ["TX"], "properties": ["p2"]}),
            ("subscribed", "subscribe", {"regions": ["TX/Austin"], "snapshot": True}),
            ("unsubscribed", "unsubscribe", {"regions": ["TX"]}),
            ("subscribed", "subscribe", {}),
            ("refused", "subscribe", {"regions": "TX"}),
            ("refused", "subscribe", {"snapshot": True, "after": "?"}),
            ("refused", "authenticate", {"token": "?"}),
            ("authenticated", "authenticate", {"token": _token("TX")}),
            ("refused", "subscribe", {"regions": ["CA"]}),
        ]
        for message, name, argument in requests:
            out.replies.append((message, await single.request(name, argument)))
        out.events = [*single.everything, *batched.everything]
        out.replies.append(("connect-error", await _rejection(url, http)))
        async with http.get(f"{url}/properties?region=TX") as answer:
            out.replies.append(("rows", await answer.json()))
        await single.close()
        await batched.close()
    return out


async def _ready(http: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(10):
        while True:
            async with http.get(f"{url}/readyz") as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(0.01)


def _token(*regions: str) -> str:
    """Return a token of the user with these regions."""
    issuer = f"{SETTINGS.supabase_url}/auth/v1"
    return legacy(claims(issuer, app_metadata={"regions": list(regions)}))


def _notify(bridge: Bridge, events: list[list[Any]]) -> None:
    """Notify the user of a recorded update."""
    assert bridge._running is not None
    log = bridge._running.log
    update = next(envelope for name, envelope, *_ in events if name == "property-updated")
    notice = of_update(NotificationRules(), update["data"]["changes"], listing("p1"))
    assert notice is not None
    envelope = notice.envelope("p1", timestamp(0.0))
    event = Event("property-notification", "p1", (user_room(USER),), envelope)
    bridge._running.gateway.publish([Entry(log.head, event, 0.0)])


async def _rejection(url: str, http: aiohttp.ClientSession) -> Any:
    async with http.ws_connect(f"{url}/socket.io/?EIO=4&transport=websocket") as ws:
        await ws.receive_str()
        await ws.send_str('40{"regions":[7]}')
        answer = await ws.receive_str()
        assert answer.startswith("44")
        return json.loads(answer[2:])


def _errors(message: str, payload: Any) -> list[str]:
    schema = DOCUMENT["components"]["messages"][message]["payload"]
    validator = Draft7Validator({"allOf": [schema], "components": DOCUMENT["components"]})
    return [error.message for error in validator.iter_errors(payload)]


@pytest.mark.parametrize("name", [each.name for each in EMITTED])
async def test_events_are_valid_by_the_documents(name: str, record: Record) -> None:
    envelopes = record.named(name)
    assert envelopes, "no such event was recorded"
    ours = Draft202012Validator(json_schema.document(SETTINGS.projection))
    for envelope in envelopes:
        ours.validate(envelope)
        assert _errors(name, envelope) == []


async def test_events_have_their_position_and_name(record: Record) -> None:
    for name, envelope, *rest in record.events:
        assert envelope["event"] == name
        assert [type(each) for each in rest] == [str]


async def test_recorded_events_cover_moves_and_unpublished_columns(record: Record) -> None:
    updates = [each["data"] for each in record.named("property-updated")]
    assert any("moved" in data for data in updates)
    assert any("moved" not in data for data in updates)
    [created] = record.named("property-created")
    assert created["data"]["features"] == {"pool": [True, None, 1.5]}
    assert "units" not in created["data"]


async def test_answers_are_valid_by_the_documents(record: Record) -> None:
    for message, payload in record.replies:
        assert _errors(message, payload) == [], payload
    snapshots = [
        p["snapshot"] for _, p in record.replies if isinstance(p, dict) and "snapshot" in p
    ]
    assert [len(rows) for rows in snapshots] == [2]
    [rows] = [payload for message, payload in record.replies if message == "rows"]
    assert len(rows) == 2


async def test_answers_are_not_valid_as_other_messages(record: Record) -> None:
    for message, payload in record.replies:
        other = "subscribed" if message in ("refused", "connect-error", "rows") else "refused"
        assert _errors(other, payload) != []
