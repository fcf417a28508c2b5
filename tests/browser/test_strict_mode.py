"""React's StrictMode mounts everything twice, under the development server alone. It must not
connect twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.dev.web import WebServer
from tests.browser import truth
from tests.browser.ports import quiet_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge.dev.web import NodeInstallation, WebApp
    from bridge.sandbox import Sandbox
    from tests.browser.conftest import Visit
    from tests.browser.site import Site

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
        port=quiet_port(),
        environment={"BRIDGE_URL": f"http://127.0.0.1:{port}", "BRIDGE_EXPOSE_STATE": "true"},
        command=("run", "dev", "--", "--hostname", "127.0.0.1"),
    ) as server:
        yield server


async def test_a_double_mount_opens_one_socket(
    development: WebServer, visit: Visit, site: Site, sandbox: Sandbox
) -> None:
    async with site.up(BRIDGE_CORS_ORIGINS="*"):
        visitor = await visit(None, url=development.url)
        await visitor.page.add_init_script(COUNT_MOUNTS)
        await visitor.go("/?region=TX")
        await visitor.shows(await truth.of(sandbox, "TX"))
        assert await visitor.page.evaluate("window.mounted") == 2
        assert visitor.sockets == 1
        assert await visitor.page.evaluate("window.__bridge.sockets()") == 1
        assert await visitor.connects() == 1
        assert (await site.status())["clients"] == 1
        [row] = await truth.some(sandbox, 1)
        await truth.reprice(sandbox, row["id"], 6_666_666)
        await visitor.says(row["id"], price=6_666_666)
        assert len(visitor.told()) == 1


async def test_the_built_app_mounts_once(visit: Visit, site: Site) -> None:
    """Or the count would prove nothing."""
    async with site.up():
        visitor = await visit(None)
        await visitor.page.add_init_script(COUNT_MOUNTS)
        await visitor.go("/?region=TX")
        assert await visitor.page.evaluate("window.mounted") == 1
