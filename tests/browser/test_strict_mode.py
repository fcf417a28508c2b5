"""React's StrictMode, which the development server uses, mounts components twice and connects
once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.dev.web import WebServer
from tests.browser import expected
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge.dev.web import NodeInstallation, WebApp
    from bridge.sandbox import Sandbox
    from tests.acceptance.restartable_bridge import RestartableBridge
    from tests.browser.conftest import OpenTab

COUNT_MOUNTS = """
  window.mounted = 0;
  const before = window.setInterval;
  window.setInterval = (run, ms, ...rest) => {
    if (ms === 1000) window.mounted += 1; // the connection's clock, one effect of one component
    return before(run, ms, ...rest);
  };
"""


@pytest.fixture(scope="module")
async def development(app: WebApp, node: NodeInstallation, port: int) -> AsyncIterator[WebServer]:
    async with WebServer.open(
        app,
        node,
        port=free_port(),
        environment={"BRIDGE_URL": f"http://127.0.0.1:{port}", "BRIDGE_EXPOSE_STATE": "true"},
        command=("run", "dev", "--", "--hostname", "127.0.0.1"),
    ) as server:
        yield server


async def test_double_mount_opens_one_socket(
    development: WebServer, open_tab: OpenTab, restartable: RestartableBridge, sandbox: Sandbox
) -> None:
    async with restartable.running(BRIDGE_CORS_ORIGINS="*"):
        tab = await open_tab(None, url=development.url)
        await tab.page.add_init_script(COUNT_MOUNTS)
        await tab.open("/?region=TX")
        await tab.until_shown(await expected.rows_of(sandbox, "TX"))
        assert await tab.page.evaluate("window.mounted") == 2
        assert tab.sockets == 1
        assert await tab.page.evaluate("window.__bridge.sockets()") == 1
        assert await tab.connects() == 1
        assert (await restartable.status())["clients"] == 1
        [row] = await expected.pick(sandbox, 1)
        await expected.set_price(sandbox, row["id"], 6_666_666)
        await tab.until_card_has(row["id"], price=6_666_666)
        assert len(tab.events()) == 1


async def test_built_app_mounts_once(open_tab: OpenTab, restartable: RestartableBridge) -> None:
    """Checks the count of mounts that the other test relies on."""
    async with restartable.running():
        tab = await open_tab(None)
        await tab.page.add_init_script(COUNT_MOUNTS)
        await tab.open("/?region=TX")
        assert await tab.page.evaluate("window.mounted") == 1
