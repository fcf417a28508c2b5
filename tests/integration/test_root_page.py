"""The page at `/`."""

from __future__ import annotations

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from bridge import __version__, create_app
from bridge.ops.root_page import prefers_html
from tests.fakes import KEY, FakeSource, FakeTable, settings
from tests.serving import served

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


async def test_root_page_names_the_product_its_state_and_links() -> None:
    bridge = create_app(settings(), source=FakeSource(), table=FakeTable())
    async with (
        served(bridge, drain=bridge.drain) as url,
        httpx.AsyncClient(base_url=url) as http,
    ):
        body = (await http.get("/")).json()
        assert body["name"] == "Supabase Socket.IO bridge"
        assert body["version"] == __version__
        assert body["state"] in ("ready", "not ready")
        for link in body["links"].values():
            assert (await http.get(link)).status_code in (200, 503)
        assert KEY not in (await http.get("/")).text


async def test_root_page_is_html_for_a_browser() -> None:
    app = create_app(settings(), source=FakeSource(), table=FakeTable())
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        answer = await http.get("/", headers={"Accept": BROWSER})
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "not ready" in answer.text
    assert '<a href="/status.html">' in answer.text
    assert KEY not in answer.text


async def test_root_page_of_a_mounted_bridge_links_below_its_path() -> None:
    bridge = create_app(settings(), source=FakeSource(), table=FakeTable())
    transport = httpx.ASGITransport(Starlette(routes=[Mount("/live", app=bridge)]))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        body = (await http.get("/live/")).json()
    assert body["links"]["docs"] == "/live/docs"


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        ("", False),
        ("*/*", False),
        (BROWSER, True),
        ("application/json, text/html;q=0.9", False),
        ("text/html, application/json;q=0.9", True),
        ("text/html;q=x", False),
    ],
)
def test_html_is_sent_where_accept_prefers_it(accept: str, html: bool) -> None:
    assert prefers_html(accept) is html
