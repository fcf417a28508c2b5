"""`GET /regions`: the regions with their numbers of rows, over HTTP."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from bridge import create_app
from tests.fakes import FakeSource, FakeTable, row, settings
from tests.integration.test_auth import token
from tests.integration.test_snapshot import site
from tests.serving import served
from tests.tokens import SECRET

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy


async def get(url: str, query: str = "", **headers: str) -> tuple[int, Any, CIMultiDictProxy[str]]:
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{url}/regions{query}", headers=headers) as response,
    ):
        text = await response.text()
        return response.status, json.loads(text) if text else None, response.headers


async def counts(url: str, **headers: str) -> dict[str, int]:
    status, body, _ = await get(url, **headers)
    assert status == 200, body
    assert [set(each) for each in body] == [{"region", "count"}] * len(body)
    return {each["region"]: each["count"] for each in body}


ROWS = [row("a"), row("b"), row("c", state="CA"), row("n", state=None)]


async def test_regions_have_their_counts_and_position() -> None:
    async with site(*ROWS) as here:
        status, body, headers = await get(here.url)
        assert (status, body) == (
            200,
            [{"region": "CA", "count": 1}, {"region": "TX", "count": 2}],
        )
        assert headers["Content-Type"] == "application/json"
        assert headers["Bridge-Position"] == here.head
        assert headers["Cache-Control"] == "no-cache"


async def test_region_counts_the_rows_of_the_regions_inside_it() -> None:
    rows = [row("a", city="Austin"), row("w", city="Waco"), row("s", city=None)]
    async with site(*rows, region=("state", "city")) as here:
        assert await counts(here.url) == {"TX": 3, "TX/Austin": 1, "TX/Waco": 1}


async def test_counts_follow_events() -> None:
    async with site(*ROWS) as here:
        here.write(row("d", state="NV"))
        await here.settled()
        assert await counts(here.url) == {"CA": 1, "NV": 1, "TX": 2}
        here.write(row("a", state="CA"))
        await here.settled()
        assert await counts(here.url) == {"CA": 2, "NV": 1, "TX": 1}
        here.source.put(here.table.remove("b"))
        await here.settled()
        assert await counts(here.url) == {"CA": 2, "NV": 1}
        here.write(row("c", state="CA", price=5))
        await here.settled()
        assert await counts(here.url) == {"CA": 2, "NV": 1}


async def test_etag_of_regions_holds_until_something_happens() -> None:
    async with site(*ROWS) as here:
        etag = (await get(here.url))[2]["ETag"]
        same = {"If-None-Match": etag}
        status, body, headers = await get(here.url, **same)
        assert (status, body, headers["ETag"]) == (304, None, etag)
        here.write(row("d"))
        await here.settled()
        status, _, headers = await get(here.url, **same)
        assert status == 200
        assert headers["ETag"] != etag


async def test_regions_are_those_of_the_callers_token() -> None:
    auth = {
        "supabase_jwt_secret": SECRET,
        "regions_claim": "app_metadata.regions",
        "anonymous_regions": ("NV",),
    }
    rows = [row("a", city="Austin"), row("c", state="CA", city="Davis"), row("n", state="NV")]
    live = create_app(
        settings(region=("state", "city"), **auth), source=FakeSource(), table=FakeTable(*rows)
    )
    async with served(live, drain=live.drain) as url:
        bearer = {"Authorization": f"Bearer {token('TX', 'CA/Davis')}"}
        assert await counts(url, **bearer) == {"CA/Davis": 1, "TX": 1, "TX/Austin": 1}
        _, _, mine = await get(url, **bearer)
        _, _, anonymous = await get(url)
        assert mine["Cache-Control"] == "private, no-cache"
        assert mine["ETag"] != anonymous["ETag"]
        assert "Authorization" in mine["Vary"]
        assert await counts(url) == {"NV": 1, f"NV/{rows[2]['city']}": 1}
        status, body, _ = await get(url, Authorization=f"Bearer {token(life=-60)}")
        assert (status, body["error"]["code"]) == (401, "token_expired")


async def test_parameter_of_regions_is_rejected() -> None:
    async with site(*ROWS) as here:
        status, body, _ = await get(here.url, "?region=TX")
        assert (status, body["error"]["code"]) == (400, "bad_request")


async def test_regions_before_the_table_is_read_are_not_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bridge.gateway.snapshot.WAIT_SECONDS", 0.05)
    gate = asyncio.Event()

    async def late(table: FakeTable, after: Any, limit: int) -> Any:
        await gate.wait()
        return [table.contents[key] for key in await table.keys(after, limit)]

    monkeypatch.setattr(FakeTable, "page", late)
    async with site(*ROWS) as here:
        status, body, _ = await get(here.url)
        assert (status, body["error"]["code"]) == (503, "not_ready")


async def test_configured_origins_may_read_the_regions() -> None:
    async with site(*ROWS, cors_origins="http://a.example") as here:
        _, _, headers = await get(here.url, Origin="http://a.example")
        assert headers["Access-Control-Allow-Origin"] == "http://a.example"
        _, _, headers = await get(here.url, Origin="http://b.example")
        assert "Access-Control-Allow-Origin" not in headers
