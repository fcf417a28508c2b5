"""The whole line, up to the pixels: the sandbox, the bridge as a process, the built app as another,
and Chromium.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from playwright.async_api import async_playwright

from bridge.dev.web import NodeInstallation, WebApp, WebAppError, WebServer, find_app, find_node
from tests.acceptance.conftest import bridge_process
from tests.browser.ports import quiet_port
from tests.browser.site import Site
from tests.browser.visitor import HIGHLIGHTS, Visitor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from playwright.async_api import Browser, Playwright

    from bridge.sandbox import Sandbox

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
"""The map is drawn by the processor, which costs more than all else that a page does."""
NO_WEBGL = ("--disable-gpu", "--disable-webgl", "--disable-webgl2")


def lacking(what: str) -> None:
    """Skips, with a reason that says how to get it; where nothing may be skipped, fails."""
    if os.environ.get("CI", "").lower() in ("", "0", "false"):
        pytest.skip(what)
    pytest.fail(f"{what}. With CI set nothing is skipped.")


def which(names: Sequence[str]) -> str | None:
    """The first of these programs that is there."""
    return next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="session")
def chromium() -> str:
    if found := which(CHROMIUM):
        return found
    lacking("browser tests need Chromium: apt-get install chromium")
    raise AssertionError


@pytest.fixture(scope="session")
def node() -> NodeInstallation:
    try:
        return find_node()
    except WebAppError as failed:
        lacking(str(failed))
        raise


@pytest.fixture(scope="session")
async def app(node: NodeInstallation, chromium: str) -> WebApp:
    """The app, built of its present files; built before it is asked for again."""
    app = find_app()
    await app.prepare(node, print)
    return app


class Browsers:
    """Chromium, started when it is first asked for: one that draws maps, one that can't."""

    def __init__(self, playwright: Playwright, binary: str) -> None:
        self._playwright = playwright
        self._binary = binary
        self._running: dict[bool, Browser] = {}
        self._starting = asyncio.Lock()

    async def one(self, *, webgl: bool) -> Browser:
        async with self._starting:
            if webgl not in self._running:
                flags = [*FLAGS, *(WEBGL if webgl else NO_WEBGL)]
                self._running[webgl] = await self._playwright.chromium.launch(
                    executable_path=self._binary, args=flags
                )
        return self._running[webgl]

    async def close(self) -> None:
        for browser in self._running.values():
            await browser.close()


@pytest.fixture(scope="session")
async def browsers(chromium: str) -> AsyncIterator[Browsers]:
    async with async_playwright() as playwright:
        browsers = Browsers(playwright, chromium)
        yield browsers
        await browsers.close()


@pytest.fixture(scope="session")
def port() -> int:
    """Where the bridge is, whichever runs: a page is told once."""
    return quiet_port()


@pytest.fixture(scope="session")
async def web(app: WebApp, node: NodeInstallation, port: int) -> AsyncIterator[WebServer]:
    environment = {"BRIDGE_URL": f"http://127.0.0.1:{port}", "BRIDGE_EXPOSE_STATE": "true"}
    async with WebServer.open(app, node, port=quiet_port(), environment=environment) as server:
        yield server


@pytest.fixture(scope="module")
def site(
    sandbox: Sandbox, web: WebServer, port: int, tmp_path_factory: pytest.TempPathFactory
) -> Site:
    """A bridge that is not up yet, at the place that the app knows."""
    return Site(sandbox, web.url, port, tmp_path_factory.mktemp("bridge"), bridge_process)


@pytest.fixture(scope="module")
async def bridge(site: Site) -> AsyncIterator[Site]:
    """A bridge that is up, for all tests of a module."""
    async with site.up():
        yield site


class Visit(Protocol):
    async def __call__(
        self,
        path: str | None = "/",
        *,
        url: str | None = None,
        webgl: bool = False,
        **context: Any,
    ) -> Visitor: ...


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


@pytest.fixture
async def visit(
    request: pytest.FixtureRequest, browsers: Browsers, web: WebServer, tmp_path: Path
) -> AsyncIterator[Visit]:
    """`await visit("/?region=TX")`: somebody looks at that page, live. With None the page is not
    opened yet; with `webgl` it has a map that is drawn. Other keyword arguments are Playwright's
    for a context. When the test is over, none of the pages may have had an error.
    """
    visitors: list[Visitor] = []

    async with contextlib.AsyncExitStack() as stack:

        async def come(
            path: str | None = "/",
            *,
            url: str | None = None,
            webgl: bool = False,
            **context: Any,
        ) -> Visitor:
            browser = await browsers.one(webgl=webgl)
            own = await browser.new_context(
                viewport=context.pop("viewport", {"width": 1280, "height": 800}), **context
            )
            stack.push_async_callback(own.close)
            await own.add_init_script(HIGHLIGHTS)
            visitor = Visitor(own, await own.new_page(), url or web.url)
            visitors.append(visitor)
            if path is not None:
                await visitor.go(path)
            return visitor

        yield come
        if request.node.stash.get(FAILED, False):
            for number, visitor in enumerate(visitors):
                picture = tmp_path / f"visitor-{number}.png"
                await visitor.page.screenshot(path=picture)
                print(f"{picture}: {visitor}")
    assert [visitor.complaints() for visitor in visitors] == [[] for _ in visitors]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "browser":
            item.add_marker(pytest.mark.timeout(90, func_only=True))
