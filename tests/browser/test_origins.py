"""A page of an origin that the bridge rejects says so, and connects once the setting has it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

if TYPE_CHECKING:
    from bridge.dev.web import WebServer
    from tests.acceptance.restartable_bridge import RestartableBridge
    from tests.browser.conftest import OpenTab


@pytest.mark.parametrize("path", ["/", "/properties/123e4567-e89b-12d3-a456-426614174005"])
async def test_page_of_a_rejected_origin_names_it_and_the_setting(
    open_tab: OpenTab, restartable: RestartableBridge, web: WebServer, path: str
) -> None:
    tab = await open_tab(None)
    tab.may_be_rejected = True
    async with restartable.running(BRIDGE_CORS_ORIGINS="https://www.example.org"):
        await tab.page.goto(tab.url + path)
        notice = tab.page.get_by_test_id("error")
        await expect(notice).to_contain_text(web.url)
        await expect(notice).to_contain_text(restartable.url)
        await expect(notice).to_contain_text("BRIDGE_CORS_ORIGINS")
        await expect(tab.page.get_by_test_id("connection")).to_have_text(re.compile("Rejected"))
    tab.may_be_offline = True
    async with restartable.running():
        await tab.until_live()
        assert await notice.count() == 0


async def test_page_without_a_bridge_names_no_origin(open_tab: OpenTab) -> None:
    tab = await open_tab(None)
    tab.may_be_offline = True
    await tab.page.goto(tab.url)
    await tab.page.get_by_text("Not connected yet").wait_for()
    assert await tab.page.get_by_test_id("error").count() == 0
