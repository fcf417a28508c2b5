"""`/asyncapi.json` and `/docs` of a bridge that is served."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from bridge import create_app
from bridge.options import document_options
from bridge.schema import asyncapi
from bridge.schema.html_page import POLICY, render
from tests.fakes import FakeSource, FakeTable, settings
from tests.serving import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SETTINGS = settings(path="/live", columns="name,state,area")
BOTH = pytest.mark.parametrize("path", ["/asyncapi.json", "/docs"])


@asynccontextmanager
async def site(prefix: str = "") -> AsyncIterator[httpx.AsyncClient]:
    bridge = create_app(SETTINGS, source=FakeSource(), table=FakeTable())
    app = Starlette(routes=[Mount(prefix, app=bridge)], lifespan=bridge.lifespan)
    async with (
        served(app if prefix else bridge, drain=bridge.drain) as url,
        httpx.AsyncClient(base_url=url + prefix) as http,
    ):
        yield http


@pytest.fixture(scope="module")
async def here() -> AsyncIterator[httpx.AsyncClient]:
    async with site() as http:
        yield http


async def test_the_document_is_that_of_the_settings(here: httpx.AsyncClient) -> None:
    answer = await here.get("/asyncapi.json")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == json.loads(json.dumps(asyncapi.document(document_options(SETTINGS))))
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


async def test_the_page_is_that_of_the_document(here: httpx.AsyncClient) -> None:
    answer = await here.get("/docs")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.text == render(asyncapi.document(document_options(SETTINGS)))
    assert answer.headers["Content-Security-Policy"] == POLICY


@BOTH
async def test_both_may_be_kept_for_a_while_and_asked_after(
    path: str, here: httpx.AsyncClient
) -> None:
    first = await here.get(path)
    assert first.headers["Cache-Control"] == "public, max-age=300"
    assert first.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in first.headers["Content-Security-Policy"]
    tag = first.headers["ETag"]
    again = await here.get(path, headers={"If-None-Match": f'"other", {tag}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == tag
    assert (await here.get(path, headers={"If-None-Match": '"other"'})).status_code == 200


@BOTH
async def test_both_come_compressed_to_who_takes_that(path: str, here: httpx.AsyncClient) -> None:
    packed = await here.get(path, headers={"Accept-Encoding": "gzip"})
    plain = await here.get(path, headers={"Accept-Encoding": "identity"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert packed.text == plain.text
    assert int(packed.headers["Content-Length"]) < int(plain.headers["Content-Length"]) / 3


@BOTH
async def test_neither_takes_anything(path: str, here: httpx.AsyncClient) -> None:
    assert (await here.post(path)).status_code == 405
    assert (await here.head(path)).status_code == 200


@BOTH
async def test_both_are_where_the_bridge_is_mounted(path: str) -> None:
    async with site("/bridge") as http:
        assert (await http.get(path)).status_code == 200
