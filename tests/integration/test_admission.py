"""Admission over real sockets: accepted and rejected connections, and the responses."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from bridge import create_app
from bridge.security.admission import MAX_WARNED_ORIGINS
from bridge.security.concurrency import Slot
from tests.fakes import FakeSource, FakeTable, row, settings
from tests.raw_client import Client
from tests.serving import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge import Bridge

POLLING = "/socket.io/?EIO=4&transport=polling"
WEBSOCKET = "/socket.io/?EIO=4&transport=websocket"
UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


class Answer:
    def __init__(self, head: str, body: str) -> None:
        self.status = int(head.split(" ", 2)[1])
        self.headers = {
            name.lower(): value
            for name, _, value in (line.partition(": ") for line in head.split("\r\n")[1:])
        }
        self.body = body

    @property
    def code(self) -> str:
        answer = json.loads(self.body)
        assert answer["ok"] is False
        assert answer["error"]["message"]
        return str(answer["error"]["code"])


class Site:
    def __init__(self, bridge: Bridge, url: str, http: aiohttp.ClientSession) -> None:
        self.bridge = bridge
        self.url = url
        self.http = http

    async def raw(self, path: str, headers: str = "", host: str = "bridge.test") -> Answer:
        """Send a request over a new connection. The connection is closed after the head of the
        response, and after the body if it has a length.
        """
        address, port = self.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(address, int(port))
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n".encode())
            async with asyncio.timeout(20):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                answer = Answer(head.strip(), "")
                length = int(answer.headers.get("content-length", 0))
                answer.body = (await reader.readexactly(length)).decode()
            return answer
        finally:
            writer.close()
            await writer.wait_closed()

    async def websocket(self, headers: str = "") -> Answer:
        return await self.raw(WEBSOCKET, UPGRADE + headers)

    async def connected(self, transport: str = "websocket") -> Client:
        client = Client(self.url, self.http, transport, None)
        await client.connect()
        return client

    async def places(self, number: int) -> None:
        """Wait until so many slots are acquired."""
        async with asyncio.timeout(10):
            while self.bridge.admission.connections.total != number:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def admitting(**overrides: Any) -> AsyncIterator[Site]:
    bridge = create_app(settings(**overrides), source=FakeSource(), table=FakeTable(row("a")))
    async with (
        served(bridge, drain=bridge.drain, proxy_headers=False) as url,
        aiohttp.ClientSession() as http,
    ):
        site = Site(bridge, url, http)
        async with asyncio.timeout(20):
            while (await site.raw("/readyz")).status != 200:
                await asyncio.sleep(0.01)
        yield site


@pytest.mark.parametrize("origin", ["https://www.example.org", "https://a.example.org:443"])
async def test_listed_origin_connects_over_both_transports(origin: str) -> None:
    async with admitting(cors_origins="https://*.example.org") as site:
        answer = await site.raw(POLLING, f"Origin: {origin}\r\n")
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == origin
        assert (await site.websocket(f"Origin: {origin}\r\n")).status == 101
        answer = await site.raw("/properties", f"Origin: {origin}\r\n")
        assert answer.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize(
    "headers",
    [
        "Origin: https://www.example.net\r\n",
        "Origin: https://a.b.example.org\r\n",
        "Origin: null\r\n",
        "Origin: \r\n",
        "Origin: https://bridge.test.evil.net\r\n",
        "Origin: https://bridge.test:81\r\n",
        "Origin: https://public.test\r\nX-Forwarded-Host: public.test\r\n",
    ],
)
async def test_other_origin_is_rejected_over_both_transports(headers: str) -> None:
    async with admitting(cors_origins="https://*.example.org") as site:
        for answer in (await site.raw(POLLING, headers), await site.websocket(headers)):
            assert (answer.status, answer.code) == (403, "origin_forbidden")
            # A page may read that it is rejected, to show why. It has nothing else.
            assert answer.headers["access-control-allow-origin"] == "*"
            assert "access-control-allow-credentials" not in answer.headers
        answer = await site.raw("/properties", headers)
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("proxies", "headers"),
    [
        ("", "Origin: http://bridge.test\r\n"),
        ("", "Origin: https://Bridge.test:443\r\n"),
        ("127.0.0.1", "Origin: https://public.test\r\nX-Forwarded-Host: public.test\r\n"),
    ],
    ids=["own", "behind TLS", "behind a trusted proxy"],
)
async def test_bridges_own_origin_connects_over_both_transports(proxies: str, headers: str) -> None:
    async with admitting(cors_origins="https://*.example.org", trusted_proxies=proxies) as site:
        assert (await site.raw(POLLING, headers)).status == 200
        assert (await site.websocket(headers)).status == 101


async def test_rejected_origin_is_logged_once_with_the_setting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with admitting(cors_origins="https://*.example.org") as site:
        for origin in ("https://one.net", "https://one.net", "https://two.net"):
            await site.raw(POLLING, f"Origin: {origin}\r\n")
            await site.websocket(f"Origin: {origin}\r\n")
    lines = [line for line in caplog.messages if "BRIDGE_CORS_ORIGINS" in line]
    assert len(lines) == 2
    assert "'https://one.net'" in lines[0]
    assert "'bridge.test'" in lines[0]


async def test_number_of_logged_origins_is_limited(caplog: pytest.LogCaptureFixture) -> None:
    async with admitting(cors_origins="https://*.example.org") as site:
        for number in range(MAX_WARNED_ORIGINS + 5):
            await site.raw(POLLING, f"Origin: https://{number}.net\r\n")
    lines = [line for line in caplog.messages if "BRIDGE_CORS_ORIGINS" in line]
    assert len(lines) == MAX_WARNED_ORIGINS


async def test_request_with_two_origins_is_rejected() -> None:
    async with admitting(cors_origins="https://*.example.org") as site:
        headers = "Origin: https://www.example.org\r\nOrigin: https://evil.net\r\n"
        assert (await site.raw(POLLING, headers)).status == 403
        assert (await site.websocket(headers)).status == 400


async def test_other_origin_cannot_continue_a_session() -> None:
    async with admitting(cors_origins="https://*.example.org") as site:
        async with site.http.get(site.url + POLLING) as response:
            sid = json.loads((await response.text())[1:])["sid"]
        foreign = "Origin: https://evil.net\r\n"
        assert (await site.raw(f"{POLLING}&sid={sid}", foreign)).status == 403
        assert (await site.raw(f"{WEBSOCKET}&sid={sid}", UPGRADE + foreign)).status == 403


async def test_request_without_an_origin_connects_over_both_transports() -> None:
    async with admitting() as site:
        assert (await site.raw(POLLING)).status == 200
        assert (await site.websocket()).status == 101


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_connections_are_limited_per_address(transport: str) -> None:
    async with admitting(connections_per_address=2) as site:
        one, two = await site.connected(transport), await site.connected(transport)
        for answer in (await site.raw(POLLING), await site.websocket()):
            assert (answer.status, answer.code) == (429, "too_many_connections")
            assert int(answer.headers["retry-after"]) > 0
        await one.send("41")  # DISCONNECT, and then the end of the connection
        await one.send("1") if transport == "polling" else await one.close()
        await site.places(1)
        three = await site.connected(transport)
        await site.places(2)
        for client in (two, three):
            await client.close()


async def test_connections_are_limited_in_total() -> None:
    async with admitting(connections=1, trusted_proxies="127.0.0.1") as site:
        client = await site.connected()
        for answer in (
            await site.raw(POLLING, "X-Forwarded-For: 203.0.113.9\r\n"),
            await site.websocket("X-Forwarded-For: 203.0.113.9\r\n"),
        ):
            assert (answer.status, answer.code) == (503, "too_many_connections")
            assert int(answer.headers["retry-after"]) > 0
        await client.close()
        await site.places(0)


async def test_upgrade_keeps_the_slot_of_the_connection() -> None:
    async with admitting(connections_per_address=1) as site:
        client = await site.connected("polling")
        async with site.http.ws_connect(
            client._poll.replace("transport=polling", "transport=websocket")
        ) as websocket:
            await websocket.send_str("2probe")
            assert await websocket.receive_str(timeout=20) == "3probe"
            await websocket.send_str("5")
            await site.places(1)
            assert (await site.raw(POLLING)).status == 429
        await site.places(0)
        assert (await site.raw(POLLING)).status == 200


async def test_request_without_a_session_releases_its_slot() -> None:
    async with admitting(connections_per_address=2) as site:
        for path in (
            "/socket.io/?EIO=3&transport=polling",
            "/socket.io/?EIO=4&transport=pigeon",
            WEBSOCKET,  # without an upgrade
            f"{POLLING}&j=x",
            "/socket.io/",
        ):
            for _ in range(3):
                assert (await site.raw(path)).status == 400
        assert site.bridge.admission.connections.total == 0
        for _ in range(3):
            answer = await site.raw(WEBSOCKET, UPGRADE.replace("dGhlIHNhbXBsZSBub25jZQ==", "x"))
            assert answer.status == 400
        await site.places(0)


async def test_handshakes_are_limited_per_address() -> None:
    async with admitting(
        handshakes_per_second_per_address=0.01,
        handshakes_burst_per_address=3,
        trusted_proxies="127.0.0.1",
    ) as site:
        answers = [await site.raw(POLLING) for _ in range(5)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
        assert answers[-1].code == "rate_limited"
        assert 90 < int(answers[-1].headers["retry-after"]) <= 100
        assert (await site.websocket()).status == 429
        # Other addresses are not limited; addresses of one IPv6 network are one.
        for n, status in ((1, 200), (2, 200), (3, 200), (4, 429)):
            answer = await site.raw(POLLING, f"X-Forwarded-For: 2001:db8::{n}\r\n")
            assert answer.status == status
        assert (await site.raw(POLLING, "X-Forwarded-For: 2001:db8:0:1::1\r\n")).status == 200


async def test_handshakes_are_limited_in_total() -> None:
    async with admitting(
        handshakes_per_second=0.01, handshakes_burst=2, trusted_proxies="127.0.0.1"
    ) as site:
        answers = [await site.raw(POLLING, f"X-Forwarded-For: 203.0.113.{n}\r\n") for n in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 503]
        assert answers[-1].code == "rate_limited"
        assert int(answers[-1].headers["retry-after"]) > 0
        assert site.bridge.admission.connections.total == 2


async def test_forwarding_header_of_an_untrusted_peer_is_ignored(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with admitting(connections_per_address=1) as site:
        assert (await site.raw(POLLING, "X-Forwarded-For: 203.0.113.1\r\n")).status == 200
        assert (await site.raw(POLLING, "X-Forwarded-For: 203.0.113.2\r\n")).status == 429
        assert (await site.raw(POLLING, "Fly-Client-IP: 203.0.113.3\r\n")).status == 429
    assert "BRIDGE_TRUSTED_PROXIES" in caplog.text  # the log names the setting


async def test_rejection_is_readable_for_the_page() -> None:
    async with admitting(cors_origins="https://a.example", connections_per_address=1) as site:
        await site.raw(POLLING)
        answer = await site.raw(POLLING, "Origin: https://a.example\r\n")
        assert answer.code == "too_many_connections"
        assert answer.headers["access-control-allow-origin"] == "https://a.example"
        assert answer.headers["vary"] == "Origin"


async def test_rejections_are_counted() -> None:
    async with admitting(connections_per_address=1) as site:
        for _ in range(3):
            await site.raw(POLLING)
        status = json.loads((await site.raw("/status", host="localhost")).body)
        assert status["refusals"] == {"too_many_connections": 2}
        assert status["connections"] == 1


async def test_status_without_a_secret_is_closed_to_pages_that_rebind_their_name() -> None:
    async with admitting() as site:
        for path in ("/status", "/metrics"):
            assert (await site.raw(path, host="localhost")).status == 200
            assert (await site.raw(path, host="evil.net")).status == 403


async def test_default_limits_admit_the_reconnects_of_an_office() -> None:
    """50 people behind one address with two pages each, while their broken connections still
    stand; over polling, which begins with a request more than a websocket.
    """
    async with admitting() as site:
        for _ in range(2):
            answers = await asyncio.gather(*(site.raw(POLLING) for _ in range(100)))
            assert {answer.status for answer in answers} == {200}
        await site.places(200)


async def test_default_limits_admit_the_reconnects_of_all_clients() -> None:
    async with admitting(trusted_proxies="127.0.0.1") as site:
        door, now = site.bridge.admission, 0.0
        door._clock = lambda: now
        answers = [await door._acquire(f"10.0.{n >> 8}.{n & 255}") for n in range(5000)]
        assert {type(answer) for answer in answers} == {Slot}


async def test_slots_are_released_when_the_bridge_has_stopped() -> None:
    async with admitting() as site:
        await site.connected("polling")
        await site.connected("websocket")
        assert site.bridge.admission.connections.total == 2
        bridge = site.bridge
    assert bridge.admission.connections.total == 0
