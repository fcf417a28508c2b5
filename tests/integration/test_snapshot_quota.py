"""The snapshot quota of an address, over Socket.IO and over HTTP."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from bridge import create_app
from bridge.gateway import http_snapshot as properties
from tests.fakes import FakeSource, FakeTable, row, settings
from tests.raw_client import client
from tests.serving import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def site(*rows: dict[str, Any], **overrides: Any) -> AsyncIterator[str]:
    slow = {"snapshot_pages_per_second_per_address": 0.01, "snapshot_pages_burst_per_address": 1}
    bridge = create_app(
        settings(**{**slow, "trusted_proxies": "127.0.0.1", **overrides}),
        source=FakeSource(),
        table=FakeTable(*rows),
    )
    async with served(bridge, drain=bridge.drain, proxy_headers=False) as url:
        yield url


ROWS = [row(f"p{n:05}", state="TX" if n else "CA") for n in range(1500)]


async def test_snapshot_quota_limits_the_pages_of_an_address() -> None:
    async with site(*ROWS) as url, client(url) as one, client(url) as two:
        page = await one.request("subscribe", {"snapshot": True})
        assert page["ok"]
        assert page["more"]
        # A page ends a little below its size, and the next one may begin with what is left.
        await one.request("subscribe", {"snapshot": True, "after": page["more"]})
        for each in (one, two):  # both of one address
            answer = await each.request("subscribe", {"snapshot": True, "after": page["more"]})
            assert answer["error"]["code"] == "rate_limited"
        # Requests without a snapshot are not limited by the quota.
        assert (await two.request("subscribe", {"regions": ["CA"]}))["regions"] == ["CA"]


async def test_small_snapshot_is_charged_the_minimum_price() -> None:
    never_refilled = {"snapshot_pages_per_second_per_address": 1e-6}
    small = {"regions": ["CA"], "snapshot": True}
    async with site(*ROWS, requests_burst=100, **never_refilled) as url, client(url) as one:
        for _ in range(50):  # each is charged a fiftieth of a page
            assert (await one.request("subscribe", small))["ok"]
        assert (await one.request("subscribe", small))["error"]["code"] == "rate_limited"


async def test_snapshot_quota_includes_rows_over_http() -> None:
    async with site(*ROWS) as url, client(url) as one, aiohttp.ClientSession() as http:
        async with http.get(url + "/properties") as response:
            assert response.status == 200
            assert len(await response.json()) == 1500
            etag = response.headers["ETag"]
        async with http.get(url + "/properties") as response:
            assert response.status == 429
            assert int(response.headers["Retry-After"]) > 0
            assert (await response.json())["error"]["code"] == "rate_limited"
        answer = await one.request("subscribe", {"snapshot": True})
        assert answer["error"]["code"] == "rate_limited"
        # A 304 is free, and other addresses have quotas of their own.
        async with http.get(url + "/properties", headers={"If-None-Match": etag}) as response:
            assert response.status == 304
        other = {"X-Forwarded-For": "203.0.113.9"}
        async with http.get(url + "/properties", headers=other) as response:
            assert response.status == 200


async def stalled(url: str) -> socket.socket:
    """A client that requests the rows and does not read the response."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    host, port = url.removeprefix("http://").split(":")
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, (host, int(port)))
    await loop.sock_sendall(client, b"GET /properties HTTP/1.1\r\nHost: a\r\n\r\n")
    return client


async def received(client: socket.socket) -> int:
    """Read until the server closes the connection; return the number of bytes."""
    number = 0
    async with asyncio.timeout(10):
        try:
            while part := await asyncio.get_running_loop().sock_recv(client, 65536):
                number += len(part)
        except ConnectionResetError:
            pass
    return number


LONG = [row(f"p{n:05}", name="x" * 4000) for n in range(4000)]


async def test_stalled_downloads_do_not_keep_their_address_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(properties, "TURN_SECONDS", 0.1)
    async with (
        site(*LONG, snapshot_pages_burst_per_address=1000) as url,
        aiohttp.ClientSession() as http,
    ):
        clients = [await stalled(url) for _ in range(properties.MAX_RESPONSES_PER_ADDRESS)]
        try:
            async with asyncio.timeout(10):
                for _ in range(10):
                    async with http.get(f"{url}/properties?region=none") as response:
                        assert response.status == 200
        finally:
            for each in clients:
                each.close()


async def test_download_that_is_stalled_the_longest_is_closed_beyond_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(properties, "TURN_SECONDS", 0.05)
    monkeypatch.setattr(properties, "MAX_SLOW_PER_ADDRESS", 1)
    async with site(*LONG, snapshot_pages_burst_per_address=1000) as url:
        first, second = await stalled(url), await stalled(url)
        try:
            assert await received(first) < len(LONG) * 4000
        finally:
            first.close()
            second.close()


async def test_stalled_download_is_closed_after_its_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(properties, "TURN_SECONDS", 0.05)
    monkeypatch.setattr(properties, "DOWNLOAD_SECONDS", 0.5)
    async with site(*LONG, snapshot_pages_burst_per_address=1000) as url:
        client = await stalled(url)
        try:
            await asyncio.sleep(1)  # nothing is read meanwhile
            assert await received(client) < len(LONG) * 4000
        finally:
            client.close()
    assert "without completing response" not in caplog.text


async def test_disconnected_download_releases_its_slot() -> None:
    async with (
        site(*LONG, snapshot_pages_burst_per_address=1000) as url,
        aiohttp.ClientSession() as http,
    ):
        for _ in range(properties.MAX_RESPONSES_PER_ADDRESS * 3):
            (await stalled(url)).close()
        async with http.get(f"{url}/properties?region=none") as response:
            assert response.status == 200
