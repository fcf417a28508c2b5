"""Clients with tokens: authentication, rights, changes of rights, and expiry."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import socketio
from starlette.applications import Starlette
from starlette.routing import Mount

from bridge import create_app
from bridge.auth.authenticator import Authenticator
from bridge.clock import SystemClock, timestamp
from bridge.gateway.engineio.raw_websocket import keep_transport
from bridge.gateway.gateway import Gateway
from bridge.log.memory import MemoryEventLog
from bridge.options import authenticator
from tests import tokens
from tests.fakes import FakeSource, FakeTable, build, entry, row, settings
from tests.raw_client import Client, client
from tests.serving import served
from tests.tokens import SECRET, USER, Key, claims, jwks_server, legacy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope, Send

    from bridge import Bridge

ISSUER = "http://127.0.0.1:9/auth/v1"
"""Of the project that `fakes.settings` names."""

OTHER = "9a1f0000-0000-4000-8000-000000000002"
REGIONS: dict[str, Any] = {"regions_claim": "app_metadata.regions"}

transports = pytest.mark.parametrize("transport", ["polling", "websocket"])


def token(*regions: str, life: float = 3600, issuer: str = ISSUER, **changed: Any) -> str:
    """A user's, that opens these regions."""
    now = SystemClock().wall()
    if regions:
        changed["app_metadata"] = {"regions": list(regions)}
    return legacy(claims(issuer, exp=now + life, **{"iat": int(now - 60), **changed}))


class Site:
    """A gateway over a log, on a port."""

    def __init__(self, gateway: Gateway, log: MemoryEventLog, url: str) -> None:
        self.gateway, self.log, self.url = gateway, log, url
        self.count = 0

    async def publish(self, *regions: str) -> None:
        """Publish one event of each region, with the next numbers."""
        for region in regions:
            self.count += 1
            event = entry(self.count, region, key=f"p{self.count}").event
            self.gateway.publish((await self.log.append([event], [])).entries)

    @property
    def bearers(self) -> int:
        return len(self.gateway.token_expiry)

    async def refused(
        self,
        auth: Any,
        *,
        transport: str = "websocket",
        headers: dict[str, str] | None = None,
    ) -> Any:
        """The CONNECT_ERROR that a handshake with `auth` is answered with."""
        async with aiohttp.ClientSession(headers=headers) as http:
            it = Client(self.url, http, transport, auth)
            packet = await it.send_connect()
            assert packet is not None
            assert packet.startswith("44"), packet
            await it.close()
            return json.loads(packet[2:])

    async def code(self, auth: Any, **options: Any) -> str:
        refusal = await self.refused(auth, **options)
        assert refusal["message"] == refusal["data"]["message"]
        return str(refusal["data"]["code"])


@asynccontextmanager
async def site(access: Authenticator | None = None, **overrides: Any) -> AsyncIterator[Site]:
    configured = settings(**{"supabase_jwt_secret": SECRET, "token_leeway": 0, **overrides})
    log = MemoryEventLog(configured.log_events, configured.log_seconds)
    gateway = build(configured, log=log, authenticator=access or authenticator(configured))
    inner = Starlette(routes=[Mount("/socket.io", app=gateway)])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        keep_transport(scope, send)
        await inner(scope, receive, send)

    async with served(app, drain=gateway.close) as url:
        yield Site(gateway, log, url)


# -- authentication --------------------------------------------------------------------------------


@transports
async def test_rejected_token_is_answered_with_its_code(transport: str) -> None:
    async with site() as at:
        for given, code in (
            ("nonsense", "token_invalid"),
            ("", "token_invalid"),
            (token(life=-1), "token_expired"),
            (token(aud="other"), "token_invalid"),
            (7, "bad_request"),
        ):
            assert await at.code({"token": given}, transport=transport) == code
        assert at.gateway.hub.counts().clients == at.bearers == 0


@transports
async def test_valid_token_is_accepted(transport: str) -> None:
    async with site() as at, client(at.url, transport, {"token": token()}) as one:
        await at.publish("TX")
        assert await one.until_seqs(1) == [1]
        assert at.bearers == 1
    async with asyncio.timeout(20):
        while at.bearers:
            await asyncio.sleep(0.01)


async def test_of_a_client_that_was_evicted_and_did_not_recover_nothing_is_kept() -> None:
    async with site() as at, client(at.url, auth={"token": token()}) as one:
        await one.request("subscribe", {"regions": ["TX"]})
        forged = {"token": token(), "pid": one.pid, "offset": "no position"}
        async with client(at.url, auth=forged) as two:
            await two.request("subscribe", {"regions": ["CA"]})
            assert at.bearers == at.gateway.request_handlers.limited_clients == 1
            assert await at.gateway.sign_out(sub=USER) == 1


async def test_optional_auth_gives_clients_without_a_token_the_public_view() -> None:
    async with site(**REGIONS, anonymous_regions="TX") as at:
        async with client(at.url) as one, client(at.url, auth={"token": None}) as two:
            await at.publish("CA", "TX")
            assert await one.until_seqs(1) == [2]
            assert await two.until_seqs(1) == [2]
        assert await at.code({"regions": ["CA"]}) == "region_forbidden"
        assert at.bearers == 0


async def test_required_auth_rejects_clients_without_a_token() -> None:
    async with site(auth="required") as at:
        assert await at.code({}) == "token_required"
        assert await at.code(None) == "token_required"
        assert await at.code({"token": None}) == "token_required"
        async with client(at.url, auth={"token": token()}) as one:
            await at.publish("TX")
            assert await one.until_seqs(1) == [1]


async def test_where_tokens_are_off_anything_goes() -> None:
    async with site(auth="off") as at, client(at.url, auth={"token": "nonsense"}) as one:
        await at.publish("TX")
        assert await one.until_seqs(1) == [1]
        answer = await one.request("authenticate", {"token": "nonsense"})
        assert answer["error"]["code"] == "not_supported"
        assert at.bearers == 0


async def test_token_gives_rights_to_the_regions_in_its_claim_only() -> None:
    async with site(**REGIONS) as at, client(at.url, auth={"token": token("TX", "NV")}) as one:
        await at.publish("CA", "TX", "NV", "TX/Austin")
        assert await one.until_seqs(2) == [2, 3]
        refused = await one.request("subscribe", {"regions": ["CA"]})
        assert refused["error"]["code"] == "region_forbidden"
        narrowed = await one.request("subscribe", {"regions": ["TX/Austin"]})
        assert narrowed["regions"] == ["TX/Austin"]
        await at.publish("TX", "TX/Austin")
        assert await one.until_seqs(3) == [2, 3, 6]


@transports
async def test_token_is_accepted_in_the_authorization_header(transport: str) -> None:
    async with site(auth="required", **REGIONS) as at:
        headers = {"Authorization": f"Bearer {token('TX')}"}
        async with client(at.url, transport, headers=headers) as one:
            await at.publish("CA", "TX")
            assert await one.until_seqs(1) == [2]
        wrong = {"Authorization": "Bearer nonsense"}
        assert await at.code({}, transport=transport, headers=wrong) == "token_invalid"
        other = {"Authorization": "Basic dXNlcjpwYXNz"}
        assert await at.code({}, transport=transport, headers=other) == "token_required"


async def test_the_token_in_auth_goes_before_the_one_in_the_header() -> None:
    async with site(**REGIONS) as at:
        headers = {"Authorization": f"Bearer {token('CA')}"}
        async with client(at.url, auth={"token": token("TX")}, headers=headers) as one:
            await at.publish("CA", "TX")
            assert await one.until_seqs(1) == [2]
        assert await at.code({"token": "nonsense"}, headers=headers) == "token_invalid"


async def test_api_key_is_rejected_as_an_api_key() -> None:
    async with site() as at:
        key = legacy({"iss": "supabase", "role": "anon", "iat": 1, "exp": 4102444800})
        refusal = await at.refused({"token": key})
        assert refusal["data"]["code"] == "token_invalid"
        assert "this is an API key of the project (anon)" in refusal["message"]


# -- while keys are fetched ------------------------------------------------------------------------


@asynccontextmanager
async def with_keys(**overrides: Any) -> AsyncIterator[tuple[Site, tokens.JwksServer, Key]]:
    key = Key("ES256", "es")
    async with jwks_server() as server:
        server.keys = [key.jwk()]
        configured = settings(**overrides)
        async with site(authenticator(configured, server.base), **overrides) as at:
            yield at, server, key


async def test_unverifiable_token_closes_the_connection_without_an_error() -> None:
    async with with_keys() as (at, server, key):
        server.answer = tokens.plain(b"no", 503)
        auth = {"token": key.sign(claims(server.issuer))}
        async with aiohttp.ClientSession() as http:
            one = Client(at.url, http, "websocket", auth)
            assert await one.send_connect() is None
            assert at.gateway.hub.counts().clients == 0
        async with socketio.AsyncSimpleClient() as other:
            # As every client's library does: the connection ends, so it reconnects.
            connecting = asyncio.create_task(
                other.connect(at.url, auth=auth, transports=["websocket"], wait_timeout=20)
            )
            await asyncio.sleep(0.2)
            server.answer = None
            async with asyncio.timeout(20):
                try:
                    await connecting
                except socketio.exceptions.ConnectionError:
                    await other.connect(at.url, auth=auth, transports=["websocket"])


async def test_a_second_handshake_on_a_connection_waits_for_nothing() -> None:
    async with with_keys() as (at, server, key):
        asked, released = asyncio.Event(), asyncio.Event()

        async def slow(request: Any) -> Any:
            asked.set()
            await released.wait()
            return await tokens.plain(json.dumps({"keys": server.keys}).encode())(request)

        server.answer = slow
        auth = json.dumps({"token": key.sign(claims(server.issuer))})
        async with aiohttp.ClientSession() as http:
            url = f"{at.url}/socket.io/?EIO=4&transport=polling"
            async with http.get(url) as response:
                url += f"&sid={json.loads((await response.text())[1:])['sid']}"
            first = asyncio.create_task(http.post(url, data=f"40{auth}"))
            await asked.wait()
            async with http.post(url, data="40{}") as response:
                assert response.status == 200
            async with http.get(url) as response:
                assert json.loads((await response.text())[2:]) == {"message": "Already connected"}
            released.set()
            (await first).close()
            async with http.get(url) as response:
                assert (await response.text()).startswith('40{"sid"')
            assert at.gateway.hub.counts().clients == at.bearers == 1


async def test_client_that_disconnects_during_authentication_leaves_nothing() -> None:
    async with with_keys() as (at, server, key):
        asked, released = asyncio.Event(), asyncio.Event()

        async def slow(request: Any) -> Any:
            asked.set()
            await released.wait()
            return await tokens.plain(json.dumps({"keys": server.keys}).encode())(request)

        server.answer = slow
        async with aiohttp.ClientSession() as http:
            ws = await http.ws_connect(f"{at.url}/socket.io/?EIO=4&transport=websocket")
            await ws.receive_str()
            await ws.send_str("40" + json.dumps({"token": key.sign(claims(server.issuer))}))
            await asked.wait()
            [connection] = at.gateway.clients.connections
            await ws.close()
        async with asyncio.timeout(20):
            while at.gateway.server.eio.websockets:
                await asyncio.sleep(0.01)
        released.set()
        async with asyncio.timeout(20):
            while connection.connecting:
                await asyncio.sleep(0.01)
        assert at.gateway.hub.counts().clients == at.bearers == 0
        assert at.gateway.sessions.away == len(at.gateway.sessions)


async def test_client_signed_out_during_authentication_is_rejected() -> None:
    async with with_keys() as (at, server, key):
        asked, released = asyncio.Event(), asyncio.Event()

        async def slow(request: Any) -> Any:
            asked.set()
            await released.wait()
            return await tokens.plain(json.dumps({"keys": server.keys}).encode())(request)

        server.answer = slow
        auth = {"token": key.sign(claims(server.issuer))}
        arriving = asyncio.create_task(at.code(auth))
        await asked.wait()
        assert await at.gateway.sign_out(sub=USER) == 0
        released.set()
        assert await arriving == "signed_out"


# -- authenticate ----------------------------------------------------------------------------------


def auth_status(args: list[Any]) -> Any:
    name, envelope, position = args
    assert name == envelope["event"] == "auth-status"
    assert isinstance(position, str)
    return envelope["data"]


async def test_ack_of_authenticate_has_the_expiry() -> None:
    async with site() as at, client(at.url, auth={"token": token()}) as one:
        now = int(SystemClock().wall())
        fresh = legacy(claims(ISSUER, exp=now + 7200))
        answer = await one.request("authenticate", {"token": fresh})
        assert answer == {"ok": True, "expires_at": timestamp(now + 7200)}
        # Its effective rights are the same as before, so no auth-status is sent.
        assert one.events == []
        assert at.bearers == 1


async def test_client_without_a_token_may_authenticate_later() -> None:
    async with site(**REGIONS, anonymous_regions="TX") as at, client(at.url) as one:
        answer = await one.request("authenticate", {"token": token("TX", "CA")})
        assert answer["ok"]
        [told] = one.events
        data = auth_status(told)
        assert (data["state"], data["regions"], data["properties"]) == ("changed", None, [])
        assert data["expires_at"] == answer["expires_at"]
        await at.publish("CA", "NV", "TX")
        assert await one.until_seqs(2) == [1, 3]
        assert at.bearers == 1


async def test_reduced_rights_apply_from_the_next_event_on() -> None:
    async with site(**REGIONS) as at:
        auth = {"token": token("TX", "CA"), "regions": ["TX", "CA"]}
        async with client(at.url, auth=auth) as one:
            await at.publish("TX", "CA")
            answer = await one.request("authenticate", {"token": token("TX")})
            assert answer["ok"]
            assert one.seqs == [1, 2]
            data = auth_status(one.events[-1])
            assert (data["state"], data["regions"]) == ("changed", ["TX"])
            assert one.events[-1][2] == str(at.log.head)
            await at.publish("CA", "TX")
            assert await one.until_seqs(3) == [1, 2, 4]
            refused = await one.request("subscribe", {"regions": ["CA"]})
            assert refused["error"]["code"] == "region_forbidden"


async def test_rights_that_grow_open_more_without_a_new_connection() -> None:
    async with site(**REGIONS) as at, client(at.url, auth={"token": token("TX")}) as one:
        await at.publish("CA")
        assert (await one.request("authenticate", {"token": token("TX", "CA")}))["ok"]
        await at.publish("CA")
        assert await one.until_seqs(1) == [2]


async def test_waiting_batch_is_sent_under_the_rights_of_its_time() -> None:
    async with site(**REGIONS, batch_seconds=600) as at:
        auth = {"token": token("TX", "CA"), "batch": True}
        async with client(at.url, auth=auth) as one:
            await at.publish("CA", "TX")
            before = str(at.log.head)
            assert (await one.request("authenticate", {"token": token("TX")}))["ok"]
            names = [args[0] for args in one.events]
            assert names == ["properties-batch", "auth-status"]
            assert one.events[0][2] == one.events[1][2] == before
            assert one.seqs == [1, 2]
            await at.publish("CA")
            assert (await one.request("subscribe", {"regions": ["TX"]}))["ok"]
            assert len(one.events) == 2


@pytest.mark.parametrize(
    ("argument", "code"),
    [
        (None, "bad_request"),
        ({}, "bad_request"),
        ({"token": None}, "bad_request"),
        ({"token": 7}, "bad_request"),
        ("token", "bad_request"),
        ({"token": ""}, "token_invalid"),
        ({"token": "nonsense"}, "token_invalid"),
        ({"token": token(life=-1)}, "token_expired"),
        ({"token": token("CA", sub=OTHER)}, "token_invalid"),
    ],
)
async def test_a_refused_token_changes_nothing(argument: Any, code: str) -> None:
    async with site(**REGIONS) as at, client(at.url, auth={"token": token("TX")}) as one:
        answer = await one.request("authenticate", argument)
        assert (answer["ok"], answer["error"]["code"]) == (False, code)
        await at.publish("CA", "TX")
        assert await one.until_seqs(1) == [2]
        assert len(one.events) == 1
        assert list(at.gateway.token_expiry._of_user) == [USER]


# -- the end of a token ----------------------------------------------------------------------------


@transports
async def test_token_expiry_is_announced_and_then_closes_the_connection(
    transport: str,
) -> None:
    async with site(token_warning_seconds=1) as at:
        auth = {"token": token(life=3, iat=int(SystemClock().wall()))}
        async with client(at.url, transport, auth) as one:
            await at.publish("TX")
            expiring = auth_status(await one.next_event("auth-status"))
            assert expiring["state"] == "expiring"
            assert expiring["expires_at"].endswith("Z")
            expired = auth_status(await one.next_event("auth-status"))
            assert expired["state"] == "token_expired"
            assert one.events[-1][2] == str(at.log.head)
            await one.until_closed()
            assert at.gateway.hub.counts().clients == at.bearers == 0
            assert at.gateway.sessions.away == 1
            # It reconnects by itself; with the stale token it is rejected.
            assert await at.code(one.auth) == "token_expired"
            await at.publish("TX", "TX")
            one.auth = {"token": token()}
            await one.connect()
            assert one.recovered
            assert await one.until_seqs(3) == [1, 2, 3]


@transports
async def test_token_ends_when_its_signing_key_is_removed(transport: str) -> None:
    async with with_keys() as (at, server, key):
        other = Key("ES256", "other")
        server.keys.append(other.jwk())
        of_key = {"token": key.sign(claims(server.issuer))}
        of_other = {"token": other.sign(claims(server.issuer))}
        async with (
            client(at.url, transport, of_key) as one,
            client(at.url, transport, of_other) as two,
            client(at.url, transport) as nobody,
        ):
            await at.publish("TX")
            server.keys = [other.jwk()]
            at.gateway.authenticator._keys._pause = 0.01
            # An unknown key makes the bridge fetch the keys again.
            assert await at.code({"token": Key("ES256", "made up").sign(claims(server.issuer))})
            assert auth_status(await one.next_event("auth-status"))["state"] == "token_expired"
            await one.until_closed()
            assert at.bearers == 1
            assert await at.code(one.auth) == "token_invalid"
            await at.publish("TX")
            one.auth = of_other
            await one.connect()
            assert one.recovered
            for each in (one, two, nobody):
                assert await each.until_seqs(2) == [1, 2]


async def test_a_fresh_token_by_another_key_outlives_the_first_ones() -> None:
    async with with_keys() as (at, server, key):
        other = Key("ES256", "other")
        server.keys.append(other.jwk())
        async with client(at.url, auth={"token": key.sign(claims(server.issuer))}) as one:
            fresh = {"token": other.sign(claims(server.issuer))}
            assert (await one.request("authenticate", fresh))["ok"]
            server.keys = [other.jwk()]
            at.gateway.authenticator._keys._pause = 0.01
            assert await at.code({"token": Key("ES256", "made up").sign(claims(server.issuer))})
            await asyncio.sleep(1.1)  # by then the connections that have to end have ended
            await at.publish("TX")
            assert await one.until_seqs(1) == [1]
            assert len(one.events) == 1


async def test_a_token_that_is_renewed_in_time_ends_nothing() -> None:
    async with site(token_warning_seconds=1) as at:
        auth = {"token": token(life=3, iat=int(SystemClock().wall()))}
        async with client(at.url, auth=auth) as one:
            assert auth_status(await one.next_event("auth-status"))["state"] == "expiring"
            assert (await one.request("authenticate", {"token": token(life=3600)}))["ok"]
            await asyncio.sleep(3.5)  # past the first one's end
            await at.publish("TX")
            assert await one.until_seqs(1) == [1]
            assert len(one.events) == 2


async def test_a_refused_renewal_extends_nothing() -> None:
    async with site(token_warning_seconds=0) as at:
        auth = {"token": token(life=3, iat=int(SystemClock().wall()))}
        async with client(at.url, auth=auth) as one:
            answer = await one.request("authenticate", {"token": token(sub=OTHER)})
            assert not answer["ok"]
            assert auth_status(await one.next_event("auth-status"))["state"] == "token_expired"
            await one.until_closed()


async def test_waiting_batch_is_sent_before_the_connection_is_closed() -> None:
    async with site(token_warning_seconds=0, batch_seconds=600) as at:
        auth = {"token": token(life=3, iat=int(SystemClock().wall())), "batch": True}
        async with client(at.url, auth=auth) as one:
            await at.publish("TX", "TX")
            await one.next_event("auth-status")
            assert [args[0] for args in one.events] == ["properties-batch", "auth-status"]
            await one.until_closed()


@transports
async def test_python_client_reconnects_after_token_expiry(transport: str) -> None:
    async with site(token_warning_seconds=0) as at, aiohttp.ClientSession() as http:
        lives = iter([3.0, 3600.0])
        told: asyncio.Queue[str] = asyncio.Queue()
        one = socketio.AsyncClient(reconnection_delay=0.1, http_session=http)
        one.on("auth-status", lambda envelope: told.put_nowait(envelope["data"]["state"]))
        one.on("property-updated", lambda _envelope: told.put_nowait("event"))
        one.on("connect", lambda: told.put_nowait("connect"))

        def auth() -> Any:
            return {"token": token(life=next(lives), iat=int(SystemClock().wall()))}

        await one.connect(at.url, auth=auth, transports=[transport])
        try:
            async with asyncio.timeout(20):
                assert [await told.get() for _ in range(3)] == [
                    "connect",
                    "token_expired",
                    "connect",
                ]
                await at.publish("TX")
                assert await told.get() == "event"
        finally:
            await one.disconnect()


async def test_the_end_of_one_token_is_no_matter_to_others() -> None:
    async with site(token_warning_seconds=0) as at:
        short = {"token": token(life=3, iat=int(SystemClock().wall()))}
        async with (
            client(at.url, auth=short) as one,
            client(at.url, auth={"token": token()}) as two,
            client(at.url) as three,
        ):
            await one.until_closed()
            await at.publish("TX")
            assert await two.until_seqs(1) == await three.until_seqs(1) == [1]
            assert len(two.events) == len(three.events) == 1


# -- sign-out --------------------------------------------------------------------------------------


@transports
async def test_sign_out_of_a_session_closes_its_clients_and_rejects_its_tokens(
    transport: str,
) -> None:
    async with site() as at:
        mine, others = token(session_id="s1"), token(session_id="s2")
        async with (
            client(at.url, transport, {"token": mine}) as one,
            client(at.url, transport, {"token": mine}) as two,
            client(at.url, transport, {"token": others}) as three,
        ):
            await at.publish("TX")
            assert await at.gateway.sign_out(session_id="s1") == 2
            # Without an open poll the next one is answered with the end.
            for it in (one, two):
                assert auth_status(await it.next_event("auth-status"))["state"] == "signed_out"
                assert it.seqs == [1]
            for it in (one, two):
                await it.until_closed()
            await at.publish("TX")
            assert await three.until_seqs(2) == [1, 2]
            assert await at.code({"token": mine}) == "signed_out"
            # Nor can it recover.
            assert await at.code({"token": mine, "pid": one.pid}) == "signed_out"
            # A fresh token of the same session is as good as the old one.
            assert await at.code({"token": token(session_id="s1", life=60)}) == "signed_out"
            refused = await three.request("authenticate", {"token": mine})
            assert refused["error"]["code"] == "signed_out"
            assert at.gateway.hub.counts().clients == at.bearers == 1


async def test_sign_out_of_a_user_closes_its_clients_and_allows_a_new_sign_in() -> None:
    async with site(token_leeway=10) as at:
        async with (
            client(at.url, auth={"token": token(session_id="s1")}) as one,
            client(at.url, auth={"token": token(session_id="s2")}) as two,
            client(at.url, auth={"token": token(sub=OTHER)}) as three,
            client(at.url) as four,
        ):
            assert await at.gateway.sign_out(sub=USER) == 2
            await one.until_closed()
            await two.until_closed()
            await at.publish("TX")
            assert await three.until_seqs(1) == await four.until_seqs(1) == [1]
        assert await at.code({"token": token()}) == "signed_out"
        now = int(SystemClock().wall())
        assert await at.code({"token": token(iat=now)}) == "signed_out"
        async with client(at.url, auth={"token": token(iat=now + 1)}) as one:
            await at.publish("TX")
            assert await one.until_seqs(1) == [2]


async def test_sign_out_without_clients_is_stored() -> None:
    async with site() as at:
        assert await at.gateway.sign_out(session_id="s1") == 0
        assert await at.code({"token": token(session_id="s1")}) == "signed_out"


@pytest.mark.parametrize(
    "what", [{}, {"sub": ""}, {"session_id": ""}, {"sub": "a", "session_id": "b"}]
)
async def test_sign_out_needs_a_session_or_a_user(what: dict[str, str]) -> None:
    async with site() as at:
        with pytest.raises(ValueError, match="expected either a session_id or a sub"):
            await at.gateway.sign_out(**what)


# -- recovery --------------------------------------------------------------------------------------


async def test_reconnect_as_another_user_is_a_new_client() -> None:
    async with site() as at, client(at.url, auth={"token": token()}) as one:
        await at.publish("TX")
        await one.until_seqs(1)
        await one.close()
        await at.publish("TX")
        for auth in ({"token": token(sub=OTHER)}, {}):
            async with aiohttp.ClientSession() as http:
                thief = Client(at.url, http, "websocket", auth)
                thief.pid, thief.offset = one.pid, one.offset
                await thief.connect()
                assert not thief.recovered
                assert thief.sid != one.sid
                await thief.close()
        # The session still exists for its owner.
        await one.connect()
        assert one.recovered
        assert await one.until_seqs(2) == [1, 2]


async def test_client_that_authenticated_later_reconnects_as_that_user() -> None:
    async with site() as at, client(at.url) as one:
        assert (await one.request("authenticate", {"token": token()}))["ok"]
        await one.close()
        await at.publish("TX")
        await one.connect()  # without the token
        assert not one.recovered
        await one.close()
        one.auth = {"token": token()}
        await one.connect()
        assert not one.recovered  # the pid is that of the one before by now


async def test_client_that_authenticated_later_recovers_with_its_token() -> None:
    async with site() as at, client(at.url) as one:
        assert (await one.request("authenticate", {"token": token()}))["ok"]
        await one.close()
        await at.publish("TX")
        one.auth = {"token": token()}
        await one.connect()
        assert one.recovered
        assert await one.until_seqs(1) == [1]


# -- the whole bridge ------------------------------------------------------------------------------


@asynccontextmanager
async def whole(*rows: dict[str, Any], **overrides: Any) -> AsyncIterator[tuple[Bridge, str]]:
    source = FakeSource()
    quiet = {"watch_interval": 600, "settle": 600, "sweep_interval": 600}
    configured = settings(**{"supabase_jwt_secret": SECRET, **REGIONS, **quiet, **overrides})
    bridge = create_app(configured, source=source, table=FakeTable(*rows))
    async with served(bridge, drain=bridge.drain) as url, aiohttp.ClientSession() as http:
        async with asyncio.timeout(10):
            while (await http.get(f"{url}/properties")).status == 503:
                await asyncio.sleep(0.02)
        yield bridge, url


async def asked(url: str, bearer: str | None) -> tuple[int, Any, Any]:
    headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.get(f"{url}/properties") as response,
    ):
        return response.status, await response.json(), response.headers


ROWS = (row("p1", state="TX"), row("p2", state="CA"), row("p3", state="NV"))


async def test_rows_over_http_are_those_that_the_token_opens() -> None:
    async with whole(*ROWS, anonymous_regions="NV") as (bridge, url):
        status, rows, headers = await asked(url, token("TX", "CA"))
        assert status == 200
        assert {each["property_id"] for each in rows} == {"p1", "p2"}
        assert headers["Cache-Control"] == "private, no-cache"
        assert [each["property_id"] for each in (await asked(url, None))[1]] == ["p3"]
        for bearer, code in (
            ("nonsense", "token_invalid"),
            (token(life=-60), "token_expired"),
        ):
            status, answer, headers = await asked(url, bearer)
            assert (status, answer["error"]["code"]) == (401, code)
            assert headers["WWW-Authenticate"] == "Bearer"
        gateway = bridge._gateway()
        assert gateway is not None
        await gateway.sign_out(sub=USER)
        status, answer, _ = await asked(url, token("TX"))
        assert (status, answer["error"]["code"]) == (401, "signed_out")


async def test_required_auth_applies_to_http() -> None:
    async with whole(*ROWS, auth="off") as (_, url):
        assert len((await asked(url, "nonsense"))[1]) == 3
    source = FakeSource()
    configured = settings(supabase_jwt_secret=SECRET, auth="required")
    bridge = create_app(configured, source=source, table=FakeTable(*ROWS))
    async with served(bridge, drain=bridge.drain) as url:
        status, answer, _ = await asked(url, None)
        assert (status, answer["error"]["code"]) == (401, "token_required")


async def test_operators_sign_out_over_http() -> None:
    secret = "the-secret-of-operators-in-the-tests"
    async with whole(*ROWS, admin_secret=secret) as (_, url), aiohttp.ClientSession() as http:
        mine = token(session_id="s1")
        async with client(url, auth={"token": mine}) as one:
            async with http.post(
                f"{url}/admin/sign-out",
                json={"session_id": "s1"},
                headers={"Authorization": f"Bearer {secret}"},
            ) as response:
                assert await response.json() == {"ok": True, "closed": 1}
            await one.until_closed()
        assert (await asked(url, mine))[0] == 401


async def test_a_restart_forgets_no_sign_out(tmp_path: Any) -> None:
    log = f"sqlite:///{tmp_path / 'log'}"
    signed_out = token(session_id="s1")
    async with whole(*ROWS, log=log) as (bridge, url):
        gateway = bridge._gateway()
        assert gateway is not None
        async with client(url, auth={"token": signed_out}) as one:
            assert await gateway.sign_out(session_id="s1") == 1
            await one.until_closed()
        assert await gateway.sign_out(sub=OTHER) == 0
    # Revocations survive a new epoch of the log.
    async with whole(*ROWS, log=log, columns="id,name") as (_, url):
        for bearer in (signed_out, token(sub=OTHER)):
            status, answer, _ = await asked(url, bearer)
            assert (status, answer["error"]["code"]) == (401, "signed_out")
        assert (await asked(url, token(session_id="s2")))[0] == 200
