"""A page is live where a proxy accepts WebSockets and passes none of their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser import expected

if TYPE_CHECKING:
    from playwright.async_api import WebSocketRoute

    from bridge.sandbox import Sandbox
    from tests.browser.conftest import OpenTab


@pytest.mark.usefixtures("bridge")
async def test_page_whose_websocket_hangs_polls_and_polls_at_once_when_loaded_again(
    open_tab: OpenTab, sandbox: Sandbox
) -> None:
    hanging: list[WebSocketRoute] = []

    def accept(socket: WebSocketRoute) -> None:
        """Leave the socket open without connecting it to the bridge."""
        hanging.append(socket)

    tab = await open_tab(None)
    await tab.page.route_web_socket("**/socket.io/**", accept)
    await tab.open("/?region=TX")
    [row] = await expected.pick(sandbox, 1)
    await expected.set_price(sandbox, row["id"], 3_333_333)
    await tab.until_card_has(row["id"], price=3_333_333)
    assert len(hanging) == 2  # the first attempt, and the upgrade of the second
    await tab.open("/?region=TX")
    await expected.set_price(sandbox, row["id"], 4_444_444)
    await tab.until_card_has(row["id"], price=4_444_444)
    assert len(hanging) == 2
