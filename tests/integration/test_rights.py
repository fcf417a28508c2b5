"""Views and limited rights, from the source to real sockets and over HTTP. Clients state their own
rights here; tokens are tested elsewhere.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from bridge import create_app
from bridge.errors import Code, RequestRejected
from bridge.gateway.build import build_gateway
from bridge.gateway.http_snapshot import SnapshotEndpoint
from bridge.rights import UNRESTRICTED, Rights
from bridge.security.client_ip import ClientAddress
from bridge.security.origins import Origins
from tests.fakes import FakeSource, FakeTable, row, settings
from tests.integration.test_snapshot import Site, View, shown
from tests.raw_client import Client, client
from tests.serving import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from bridge.gateway.client import ClientSession, Connection
    from bridge.gateway.gateway import Gateway

MEMBERS = ("owner_contact", "internal_notes")
SECRET = "owner@example.org"
MEMBER = {"view": "member", "user": "m"}
TEXAS = {"regions": ["TX"], "user": "t"}


def given(rights: dict[str, Any] | None) -> Rights:
    rights = rights or {}
    regions = rights.get("regions")
    return Rights(
        None if regions is None else tuple(regions),
        rights.get("view", "public"),
        rights.get("user"),
    )


class Trusting:
    """Accepts the rights that a client states, at connect and in `grant`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        gateway.request_handlers.by_name["grant"] = self._grant
        self.on_event = gateway.on_event
        self.on_disconnect = gateway.on_disconnect

    async def on_connect(self, connection: Connection, auth: Any) -> None:
        rights = given((auth or {}).get("rights"))
        gateway = self._gateway
        gateway.connect_handler.accept(connection, auth, gateway.effective_rights(rights))

    async def _grant(self, client: ClientSession, argument: Any) -> bytes:
        gateway = self._gateway
        rights = gateway.effective_rights(given(argument))
        return gateway.request_handlers.subscription_changed(
            client, gateway.hub.set_rights(client, rights)
        )


def build_trusting(*args: Any, **options: Any) -> Gateway:
    gateway = build_gateway(*args, **options)
    gateway.server.handler = Trusting(gateway)
    return gateway


async def _rights_of(request: Request) -> Rights:
    """`Authorization: Bearer {"view": ...}`."""
    said = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if said == "old":
        raise RequestRejected(Code.TOKEN_EXPIRED, "get a fresh one")
    return given(json.loads(said)) if said else UNRESTRICTED


@asynccontextmanager
async def site(
    monkeypatch: pytest.MonkeyPatch, *rows: dict[str, Any], **overrides: Any
) -> AsyncIterator[Site]:
    monkeypatch.setattr("bridge.roles.build_gateway", build_trusting)
    source, table = FakeSource(), FakeTable(*rows)
    quiet = {"watch_interval": 600, "settle": 600, "sweep_interval": 600}
    bridge = create_app(
        settings(**quiet, **{"member_columns": MEMBERS, **overrides}), source=source, table=table
    )
    properties = SnapshotEndpoint(
        bridge._gateway,
        origins=Origins(["http://a.example"]),
        max_rooms=10,
        proxies=ClientAddress(),
        rights=_rights_of,
    )
    app = Starlette(routes=[properties.route, Mount("/", app=bridge)], lifespan=bridge.lifespan)
    async with served(app, drain=bridge.drain) as url:
        yield Site(bridge, source, table, url)


def listing(key: str, **columns: Any) -> dict[str, Any]:
    return row(key, **{"owner_contact": SECRET, "internal_notes": None, **columns})


async def listen(one: Client, until: str) -> list[list[Any]]:
    """Return the events up to the one that contains the text `until`."""
    before = len(one.events)
    async with asyncio.timeout(20):
        while not one.events[before:] or until not in json.dumps(one.events[-1]):
            one.receive_packet(await one.next_packet())
    return one.events[before:]


def names(heard: list[list[Any]]) -> list[str]:
    return [event["event"] for args in heard for event in args[1]["data"].get("events", [args[1]])]


async def test_view_receives_its_columns_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        site(monkeypatch, listing("a")) as here,
        client(here.url) as public,
        client(here.url, auth={"rights": MEMBER}) as member,
    ):
        for one in (public, member):
            answer = await one.request("subscribe", {"snapshot": True})
            assert (MEMBERS[0] in answer["snapshot"][0]) == (one is member)
        here.write(listing("a", owner_contact="b@example.org"))
        await here.settled()
        here.write(listing("a", owner_contact="b@example.org", price=5))
        here.write(listing("b", owner_contact="c@example.org", name="the end"))
        heard = await listen(public, "the end")
        assert names(heard) == ["property-updated", "property-created"]
        for hidden in ("example.org", *MEMBERS):
            assert hidden not in json.dumps(heard)
        heard = await listen(member, "the end")
        assert names(heard) == ["property-updated", "property-updated", "property-created"]
        assert heard[0][1]["data"]["changes"] == {
            "owner_contact": {"old": SECRET, "new": "b@example.org"}
        }
        assert heard[-1][1]["data"]["owner_contact"] == "c@example.org"


@pytest.mark.parametrize("batch", [False, True])
async def test_property_appears_and_vanishes_at_the_border_of_rights(
    monkeypatch: pytest.MonkeyPatch, batch: bool
) -> None:
    auth = {"rights": TEXAS, "batch": batch}
    async with (
        site(monkeypatch, listing("a"), listing("c", state="CA")) as here,
        client(here.url, auth=auth) as one,
    ):
        answer = await one.request("subscribe", {"snapshot": True})
        assert answer["regions"] is None
        assert list(shown(answer["snapshot"])) == ["a"]
        here.write(listing("c", state="CA", name="unheard"))
        here.write(listing("a", state="CA", name="unheard"))
        await here.settled()
        here.write(listing("a", state="TX", name="back"))
        heard = await listen(one, "back")
        assert names(heard) == ["property-deleted", "property-created"]
        assert "unheard" not in json.dumps(heard)
        assert "CA" not in json.dumps(heard)


async def test_subscription_beyond_rights_is_rejected_at_connect_and_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with site(monkeypatch, listing("a"), listing("c", state="CA")) as here:
        async with client(here.url, auth={"rights": TEXAS, "regions": ["TX"]}) as one:
            for argument in ({"regions": ["CA"]}, {"properties": ["c"]}):
                for snapshot in (False, True):
                    answer = await one.request("subscribe", {**argument, "snapshot": snapshot})
                    assert answer["error"]["code"] == "region_forbidden"
                    assert "snapshot" not in answer
            answer = await one.request("unsubscribe", {"regions": ["none"]})
            assert (answer["regions"], answer["properties"]) == (["TX"], [])
            assert (await one.request("subscribe", {"properties": ["a", "unknown"]}))["ok"]
        async with aiohttp.ClientSession() as http:
            other = Client(here.url, http, "websocket", {"rights": TEXAS, "regions": ["CA"]})
            with pytest.raises(AssertionError, match="region_forbidden"):
                await other.connect()
            await other.close()


async def test_other_rights_hold_at_once_and_the_session_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with (
        site(monkeypatch, listing("a"), listing("c", state="CA")) as here,
        client(here.url, auth={"regions": ["TX", "CA"]}) as one,
    ):
        answer = await one.request("grant", TEXAS)
        assert answer == {"ok": True, "regions": ["TX"], "properties": []}
        here.write(listing("c", state="CA", name="unheard"))
        here.write(listing("a", name="heard"))
        assert names(await listen(one, "heard")) == ["property-updated"]
        answer = await one.request("grant", {**TEXAS, "view": "member"})
        here.write(listing("a", name="heard", owner_contact="new"))
        assert names(await listen(one, "new")) == ["property-updated"]
        assert (await one.request("subscribe", {"regions": ["CA"]}))["ok"] is False


# -- recovery


async def comeback(one: Client, rights: dict[str, Any] | None) -> bool:
    one.auth["rights"] = rights
    one.events.clear()
    await one.connect()
    return one.recovered


@pytest.mark.parametrize("batch", [False, True])
async def test_reconnect_with_the_same_rights_recovers(
    monkeypatch: pytest.MonkeyPatch, batch: bool
) -> None:
    rights = {"regions": ["TX"], "view": "member", "user": "m"}
    async with (
        site(monkeypatch, listing("a"), listing("b")) as here,
        client(here.url, auth={"rights": rights, "batch": batch}) as one,
    ):
        view = View()
        view.page((await one.request("subscribe", {"snapshot": True}))["snapshot"])
        await one.close()
        here.write(listing("a", owner_contact="away@example.org"))
        here.write(listing("b", state="CA", name="unheard"))
        here.write(listing("n", state="CA", name="unheard"))
        await here.settled()
        assert await comeback(one, rights)
        here.write(listing("a", owner_contact="the end"))
        for args in await listen(one, "the end"):
            view.hear(args)
        assert "unheard" not in json.dumps(one.events)
        assert list(view.known) == ["a"]
        assert view.known["a"]["owner_contact"] == "the end"


@pytest.mark.parametrize(
    ("then", "now"),
    [
        (MEMBER, {"view": "public", "user": "m"}),
        ({"view": "public", "user": "m"}, MEMBER),
        (MEMBER, {"view": "member", "user": "other"}),
        (MEMBER, None),
        (None, MEMBER),
        ({"user": "t"}, TEXAS),
        (TEXAS, {"user": "t"}),
        ({"regions": ["TX", "CA"], "user": "t"}, TEXAS),
    ],
)
async def test_reconnect_with_other_rights_is_a_new_client_without_events(
    monkeypatch: pytest.MonkeyPatch, then: dict[str, Any] | None, now: dict[str, Any] | None
) -> None:
    async with (
        site(monkeypatch, listing("a"), listing("c", state="CA")) as here,
        client(here.url, auth={"rights": then}) as one,
    ):
        await one.request("subscribe", {"snapshot": True})
        former = (one.pid, one.sid)
        await one.close()
        here.write(listing("a", name="missed", owner_contact="missed"))
        here.write(listing("c", state="CA", name="missed"))
        await here.settled()
        assert not await comeback(one, now)
        assert {one.pid, one.sid}.isdisjoint(former)
        here.write(listing("a", name="the end", owner_contact="missed"))
        [(name, envelope, _)] = await listen(one, "the end")
        assert name == "property-updated"
        assert list(envelope["data"]["changes"]) == ["name"]
        running = here.bridge._running
        assert running is not None
        assert running.gateway.recoveries()["rights"] == 1


async def test_pid_is_useless_to_another_user_and_valid_for_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with (
        site(monkeypatch, listing("a")) as here,
        client(here.url, auth={"rights": MEMBER}) as one,
        client(here.url, auth={"rights": {"user": "thief"}}) as thief,
    ):
        await one.request("subscribe", {"snapshot": True})
        thief.pid, thief.offset = one.pid, one.offset
        await thief.close()
        assert not await comeback(thief, {"view": "member", "user": "thief"})
        # The client that owns it is still connected, and can reconnect.
        here.write(listing("a", name="first"))
        assert names(await listen(one, "first")) == ["property-updated"]
        await one.close()
        here.write(listing("a", name="second"))
        await here.settled()
        assert await comeback(one, MEMBER)
        assert names(await listen(one, "second")) == ["property-updated"]


async def test_a_region_that_is_still_allowed_is_recovered_as_the_new_rights_allow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    auth = {"rights": {"user": "t"}, "regions": ["TX"]}
    async with site(monkeypatch, listing("a")) as here, client(here.url, auth=auth) as one:
        await one.request("subscribe", {"regions": ["TX"], "snapshot": True})
        await one.close()
        here.write(listing("a", state="CA", name="unheard"))
        await here.settled()
        assert await comeback(one, TEXAS)
        [(name, envelope, _)] = await listen(one, "deleted")
        assert (name, envelope["data"]["property_id"]) == ("property-deleted", "a")
        assert (await one.request("subscribe", {"regions": ["CA"]}))["ok"] is False


# -- over HTTP


async def get(
    here: Site, query: str = "", rights: dict[str, Any] | str | None = None, **headers: str
) -> tuple[int, Any, Any]:
    if rights is not None:
        said = rights if isinstance(rights, str) else json.dumps(rights)
        headers["Authorization"] = f"Bearer {said}"
    async with (
        aiohttp.ClientSession() as http,
        http.get(here.url + "/properties" + query, headers=headers) as response,
    ):
        text = await response.text()
        return response.status, response.headers, json.loads(text) if text else None


async def test_rows_over_http_are_those_of_the_bearer(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [listing("a"), listing("c", state="CA"), listing("n", state=None)]
    async with site(monkeypatch, *rows) as here:
        _, headers, body = await get(here)
        assert sorted(shown(body)) == ["a", "c", "n"]
        assert SECRET not in json.dumps(body)
        assert headers["Cache-Control"] == "no-cache"
        assert "Authorization" in headers["Vary"]
        _, headers, body = await get(here, rights=MEMBER)
        assert all(data["owner_contact"] == SECRET for data in body)
        assert headers["Cache-Control"] == "private, no-cache"
        _, _, body = await get(here, rights=TEXAS)
        assert list(shown(body)) == ["a"]
        _, _, body = await get(here, "?region=TX", rights=TEXAS)
        assert list(shown(body)) == ["a"]


async def test_an_etag_is_of_no_use_to_another_bearer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with site(monkeypatch, listing("a")) as here:
        everybody: list[dict[str, Any] | None] = [
            None, MEMBER, TEXAS, {**TEXAS, "view": "member"}, {"regions": ["TX", "CA"]},
        ]  # fmt: skip
        tags = [(await get(here, rights=rights))[1]["ETag"] for rights in everybody]
        assert len(set(tags)) == len(tags)
        for rights in everybody:
            for tag in tags:
                status, headers, _ = await get(here, rights=rights, **{"If-None-Match": tag})
                mine = tags[everybody.index(rights)]
                assert (status == 304) == (tag == mine)
                assert headers["ETag"] == mine
                assert "Authorization" in headers["Vary"]
        _, headers, _ = await get(here, rights={"regions": ["CA", "TX"], "user": "x"})
        assert headers["ETag"] == tags[-1]  # the same rows


async def test_refusals_over_http_have_their_status(monkeypatch: pytest.MonkeyPatch) -> None:
    async with site(monkeypatch, listing("a")) as here:
        status, headers, body = await get(here, rights="old", Origin="http://a.example")
        assert (status, body["error"]["code"]) == (401, "token_expired")
        assert headers["WWW-Authenticate"] == "Bearer"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Access-Control-Allow-Origin"] == "http://a.example"
        assert {"Authorization", "Origin"} <= set(headers["Vary"].split(", "))
        status, headers, body = await get(here, "?region=TX&region=CA", rights=TEXAS)
        assert (status, body["error"]["code"]) == (403, "region_forbidden")
        assert "WWW-Authenticate" not in headers


async def test_members_have_the_public_view_without_member_columns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with (
        site(monkeypatch, listing("a"), member_columns=()) as here,
        client(here.url, auth={"rights": MEMBER}) as member,
    ):
        answer = await member.request("subscribe", {"snapshot": True})
        assert SECRET not in json.dumps(answer)
        here.write(listing("a", owner_contact="unheard"))
        here.write(listing("a", owner_contact="unheard", name="heard"))
        [(_, envelope, _)] = await listen(member, "heard")
        assert list(envelope["data"]["changes"]) == ["name"]
        assert (await get(here, rights=MEMBER))[1]["ETag"] == (await get(here))[1]["ETag"]
