"""Fixtures of the browser tests: the sandbox, the bridge, the built app, and Chromium."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from playwright.async_api import async_playwright

from bridge.dev.web import NodeInstallation, WebApp, WebAppError, WebServer, find_app, find_node
from tests.acceptance.conftest import bridge_process
from tests.acceptance.restartable_bridge import RestartableBridge
from tests.browser.tab import HIGHLIGHTS, Tab
from tests.support.ports import free_port

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
"""Renders the map in software, which takes more CPU time than the rest of a page."""
NO_WEBGL = ("--disable-gpu", "--disable-webgl", "--disable-webgl2")


def skip_without(requirement: str) -> None:
    """Skip the test with this reason; fail it with `CI` set."""
    if os.environ.get("CI", "").lower() in ("", "0", "false"):
        pytest.skip(requirement)
    pytest.fail(f"{requirement}. With CI set nothing is skipped.")


def which(names: Sequence[str]) -> str | None:
    """Return the path of the first of these programs that is installed."""
    return next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="session")
def chromium() -> str:
    if found := which(CHROMIUM):
        return found
    skip_without("browser tests need Chromium: apt-get install chromium")
    raise AssertionError


@pytest.fixture(scope="session")
def node() -> NodeInstallation:
    try:
        return find_node()
    except WebAppError as failed:
        skip_without(str(failed))
        raise


@pytest.fixture(scope="session")
async def app(node: NodeInstallation, chromium: str) -> WebApp:
    """Return the app, built from its present files."""
    app = find_app()
    await app.prepare(node, print)
    return app


class Browsers:
    """Starts Chromium on first use: one browser with WebGL, one without."""

    def __init__(self, playwright: Playwright, binary: str) -> None:
        self._playwright = playwright
        self._binary = binary
        self._running: dict[bool, Browser] = {}
        self._starting = asyncio.Lock()

    async def get(self, *, webgl: bool) -> Browser:
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
    """Return the port of every bridge of the session: the app is configured once."""
    return free_port()


@pytest.fixture(scope="session")
async def web(app: WebApp, node: NodeInstallation, port: int) -> AsyncIterator[WebServer]:
    environment = {"BRIDGE_URL": f"http://127.0.0.1:{port}", "BRIDGE_EXPOSE_STATE": "true"}
    async with WebServer.open(app, node, port=free_port(), environment=environment) as server:
        yield server


@pytest.fixture(scope="module")
def restartable(
    sandbox: Sandbox, web: WebServer, port: int, tmp_path_factory: pytest.TempPathFactory
) -> RestartableBridge:
    """Return a bridge that is not running yet, on the port that the app uses."""
    return restartable_bridge(sandbox, web.url, port, tmp_path_factory.mktemp("bridge"))


def restartable_bridge(
    sandbox: Sandbox, origin: str, port: int, directory: Path
) -> RestartableBridge:
    """Return a bridge with a log in `directory` that allows pages of `origin`."""
    return RestartableBridge(
        partial(bridge_process, directory),
        sandbox,
        f"sqlite:///{directory}/log.sqlite3",
        port=port,
        BRIDGE_CORS_ORIGINS=f"{origin},{origin.replace('localhost', '127.0.0.1')}",
    )


@pytest.fixture(scope="module")
async def bridge(restartable: RestartableBridge) -> AsyncIterator[RestartableBridge]:
    """Run a bridge for all tests of a module."""
    async with restartable.running():
        yield restartable


class OpenTab(Protocol):
    async def __call__(
        self,
        path: str | None = "/",
        *,
        url: str | None = None,
        webgl: bool = False,
        **context: Any,
    ) -> Tab: ...


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


@pytest.fixture
async def open_tab(
    request: pytest.FixtureRequest, browsers: Browsers, web: WebServer, tmp_path: Path
) -> AsyncIterator[OpenTab]:
    """Return a function: `await open_tab("/?region=TX")` opens a page and waits until it is live.

    With None no page is opened yet; with `webgl` the map is rendered. Other keyword arguments are
    Playwright's for a context. At the end of the test no page may have logged an error, or have
    received an event that does not follow from the events before it.
    """
    tabs: list[Tab] = []
    uses = "restartable" in request.fixturenames
    bridge: RestartableBridge | None = request.getfixturevalue("restartable") if uses else None

    async with contextlib.AsyncExitStack() as stack:

        async def open_(
            path: str | None = "/",
            *,
            url: str | None = None,
            webgl: bool = False,
            **context: Any,
        ) -> Tab:
            browser = await browsers.get(webgl=webgl)
            context_ = await browser.new_context(
                viewport=context.pop("viewport", {"width": 1280, "height": 800}), **context
            )
            stack.push_async_callback(context_.close)
            await context_.add_init_script(HIGHLIGHTS)
            tab = Tab(
                context_,
                await context_.new_page(),
                url or web.url,
                bridge_runs=lambda: bridge is None or bridge.runs,
            )
            tabs.append(tab)
            if path is not None:
                await tab.open(path)
            return tab

        yield open_
        if request.node.stash.get(FAILED, False):
            for number, tab in enumerate(tabs):
                picture = tmp_path / f"tab-{number}.png"
                await tab.page.screenshot(path=picture)
                print(f"{picture}: {tab}")
    assert [tab.unexpected_errors() for tab in tabs] == [[] for _ in tabs]
    assert [tab.model.violations for tab in tabs] == [[] for _ in tabs]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "browser":
            item.add_marker(pytest.mark.timeout(90, func_only=True))
