"""`bridge dev --web` starts everything with one command, and ends it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest
from playwright.async_api import expect

from tests.acceptance.conftest import BridgeProcess, bridge_process
from tests.support.ports import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.browser.conftest import OpenTab
    from tests.browser.tab import Tab


async def addresses(process: BridgeProcess) -> dict[str, Any]:
    """Return the printed addresses; a slow machine may take several timeouts."""
    for _ in range(3):
        with contextlib.suppress(TimeoutError):
            return await process.next("bridge_url")
    return await process.next("bridge_url")


@pytest.mark.usefixtures("app")  # built
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_dev_shows_a_change_and_leaves_no_process(
    open_tab: OpenTab, number: signal.Signals, tmp_path: Path
) -> None:
    command = ("dev", "--json", "--no-activity", "--port", str(free_port()))
    async with bridge_process(tmp_path, *command, "--web-port", str(free_port())) as process:
        where = await addresses(process)
        tab = await open_tab(None, url=where["web_url"])
        tab.may_be_offline = True  # at the end
        await tab.open("/?region=TX")
        async with await psycopg.AsyncConnection.connect(
            where["database_url"], autocommit=True
        ) as database:
            done = await database.execute(
                "update properties set price = 4242000 where id ="
                " (select id from properties where state = 'TX' order by created_at desc limit 1)"
                " returning id::text"
            )
            row = await done.fetchone()
        assert row is not None
        await tab.until_card_has(row[0], price=4_242_000)
        assert await process.end(number) == (0 if number == signal.SIGINT else -number)
        async with httpx.AsyncClient() as http, asyncio.timeout(15):
            while True:
                try:
                    await http.get(where["web_url"])
                except httpx.ConnectError:
                    break
                await asyncio.sleep(0.05)


@pytest.mark.usefixtures("app")  # built
async def test_demo_user_signs_in_and_is_notified_and_signs_out(
    open_tab: OpenTab, tmp_path: Path
) -> None:
    command = ("dev", "--json", "--no-activity", "--port", str(free_port()))
    environment = {
        "BRIDGE_REGIONS_CLAIM": "app_metadata.regions",
        "BRIDGE_ANONYMOUS_REGIONS": "CA",
    }
    async with bridge_process(
        tmp_path, *command, "--web-port", str(free_port()), **environment
    ) as process:
        where = await addresses(process)
        tab = await open_tab(None, url=where["web_url"])
        tab.may_be_rejected = True  # with the wrong password: 400
        await tab.open("/")
        picker = tab.page.get_by_test_id("region-picker")
        await expect(picker.locator("option").nth(1)).to_have_text(re.compile(r"^CA \("))
        await sign_in(tab, where["user_email"], "wrong")
        await expect(tab.page.get_by_role("dialog")).to_contain_text("Invalid login credentials")
        await sign_in(tab, where["user_email"], where["user_password"])
        # The rights are those of the token's claim: another region.
        await expect(picker.locator("option").nth(1)).to_have_text(re.compile(r"^TX \("))
        await tab.until_live()
        async with await psycopg.AsyncConnection.connect(
            where["database_url"], autocommit=True
        ) as database:
            await database.execute(
                "update properties set price = price / 2 where id ="
                " (select id from properties where state = 'TX' and price > 0 limit 1)"
            )
        await tab.page.locator("[data-sonner-toast]").first.wait_for()
        await tab.page.get_by_test_id("notifications").get_by_text("1", exact=True).wait_for()
        await tab.page.get_by_role("button", name="Sign out").click()
        await expect(picker.locator("option").nth(1)).to_have_text(re.compile(r"^CA \("))
        await tab.page.get_by_role("button", name="Sign in").wait_for()
        tab.may_be_offline = True  # at the end


async def sign_in(tab: Tab, email: str, password: str) -> None:
    """Send the form; open it first."""
    if not await tab.page.get_by_role("dialog").is_visible():
        await tab.page.get_by_role("button", name="Sign in").click()
    await tab.page.get_by_label("Email").fill(email)
    await tab.page.get_by_label("Password").fill(password)
    await tab.page.get_by_role("button", name="Continue").click()
