"""A page of another origin reads the polls of a bridge inside an application with CORS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from bridge import create_app
from tests.fakes import FakeSource, FakeTable, row, settings
from tests.serving import served

if TYPE_CHECKING:
    from tests.browser.conftest import Browsers

READ = """async url => {
    const response = await fetch(url);
    return (await response.text())[0];
}"""


@pytest.mark.parametrize("middleware", [True, False], ids=["with CORSMiddleware", "alone"])
async def test_page_reads_polls_of_a_mounted_bridge(browsers: Browsers, middleware: bool) -> None:
    blank: Any = Starlette(routes=[Route("/", lambda _: HTMLResponse("<p>page</p>"))])
    async with served(blank, lifespan="off") as page_url:
        bridge = create_app(
            settings(cors_origins=page_url), source=FakeSource(), table=FakeTable(row("a"))
        )
        app = FastAPI(lifespan=bridge.lifespan)
        app.mount("/live", bridge)
        if middleware:
            app.add_middleware(CORSMiddleware, allow_origins=[page_url], allow_credentials=True)
        async with served(app, drain=bridge.drain) as url:
            context = await (await browsers.get(webgl=False)).new_context()
            page = await context.new_page()
            await page.goto(page_url)
            poll = f"{url}/live/socket.io/?EIO=4&transport=polling"
            assert await page.evaluate(READ, poll) == "0"
            await context.close()
