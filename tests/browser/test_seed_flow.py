"""The six steps of the seed document that verify the flow of real-time updates.

Start the backend; connect several browsers; change properties in the database; check that every
browser receives the updates, that the pages show the new data, and that notifications appear for
important changes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.browser import expected

if TYPE_CHECKING:
    from bridge.sandbox import Sandbox
    from tests.acceptance.restartable_bridge import RestartableBridge
    from tests.browser.conftest import OpenTab
    from tests.browser.tab import Tab

TABS = 3


async def test_1_page_is_live_once_the_backend_has_started(
    open_tab: OpenTab, restartable: RestartableBridge, sandbox: Sandbox
) -> None:
    tab = await open_tab(None)
    tab.may_be_offline = True
    await tab.page.goto(tab.url)
    await tab.until_state("offline")
    async with restartable.running():
        await tab.until_live("fresh")
        await tab.until_shown(await expected.rows_of(sandbox))


@pytest.fixture
async def tabs(open_tab: OpenTab, bridge: RestartableBridge) -> list[Tab]:
    return await asyncio.gather(*(open_tab("/?region=TX") for _ in range(TABS)))


async def test_2_three_browsers_connect(tabs: list[Tab], bridge: RestartableBridge) -> None:
    assert (await bridge.status())["clients"] == TABS
    assert [tab.sockets for tab in tabs] == [1] * TABS


async def test_3_and_4_every_page_receives_the_changes_of_the_database(
    tabs: list[Tab], sandbox: Sandbox
) -> None:
    first, second, third = await expected.pick(sandbox, 3)
    await sandbox.execute(
        "update properties set status = 'pending', price = price - 200000 where id = %s",
        (first["id"],),
    )
    await sandbox.execute("update properties set units = units + 1 where id = %s", (second["id"],))
    await expected.delete(sandbox, third["id"])
    key = await expected.insert(sandbox, "Oak View Annex")
    rows = await expected.rows_of(sandbox, "TX")
    for tab in tabs:
        await tab.until_shown(rows)
    events = tabs[0].events()
    assert {(received.name, received.key) for received in events} == {
        ("property-updated", first["id"]),
        ("property-updated", second["id"]),
        ("property-deleted", third["id"]),
        ("property-created", key),
    }
    assert len(events) == 4
    [update] = [received for received in events if received.key == first["id"]]
    assert update.data["changes"] == {
        "status": {"old": "available", "new": "pending"},
        "price": {"old": first["price"], "new": first["price"] - 200_000},
    }
    assert [tab.events() for tab in tabs] == [events] * TABS


async def test_5_page_shows_the_new_values_and_highlights_the_old_ones(
    tabs: list[Tab], sandbox: Sandbox
) -> None:
    row, gone = await expected.pick(sandbox, 2)
    tab = tabs[0]
    await tab.card(gone["id"]).wait_for()
    await expected.set_price(sandbox, row["id"], 8_000_000)
    await tab.until_card_has(row["id"], price=8_000_000)
    await tab.until_highlighted(row["id"], price=row["price"])
    shown = await tab.field(row["id"], "price").inner_text()
    assert "8,000,000" in shown
    await expected.delete(sandbox, gone["id"])
    await tab.card(gone["id"]).wait_for(state="detached")
    key = await expected.insert(sandbox, "Brand New Lofts", created_at="2100-01-01T00:00:00Z")
    await tab.card(key).wait_for()
    # Highlights end after a moment.
    await tab.page.locator("[data-old]").first.wait_for(state="detached")


async def test_6_notifications_appear_for_important_changes_only(
    tabs: list[Tab], sandbox: Sandbox
) -> None:
    tab = tabs[0]
    row, other = await expected.pick(sandbox, 2)
    toasts = tab.page.locator("[data-sonner-toast]")
    await sandbox.execute("update properties set units = units + 3 where id = %s", (other["id"],))
    await tab.until_card_has(other["id"], units=other["units"] + 3)
    await sandbox.execute("update properties set status = 'sold' where id = %s", (row["id"],))
    await toasts.first.wait_for()
    assert await toasts.count() == 1
    assert row["name"] in await toasts.first.inner_text()
    await expected.set_price(sandbox, other["id"], round(other["price"] * 0.9))
    await toasts.filter(has_text=other["name"]).wait_for()


async def test_many_important_changes_make_one_notification(
    tabs: list[Tab], sandbox: Sandbox
) -> None:
    tab = tabs[0]
    [(many)] = await sandbox.execute(
        "with touched as (update properties set price = price * 0.8"
        " where state = 'TX' and price > 0 returning 1) select count(*) as n from touched"
    )
    toasts = tab.page.locator("[data-sonner-toast]")
    await toasts.filter(has_text=f"{many['n']} listings changed").wait_for()
    assert await toasts.count() == 1
    await tab.until_shown(await expected.rows_of(sandbox, "TX"))


async def test_toast_can_be_closed_and_toasts_muted(tabs: list[Tab], sandbox: Sandbox) -> None:
    tab = tabs[0]
    toasts = tab.page.locator("[data-sonner-toast]")
    await expected.insert(sandbox, "Closed by hand")
    toast = toasts.filter(has_text="Closed by hand")
    await toast.get_by_role("button", name="Close").click()
    await toast.wait_for(state="detached")
    bell = tab.page.get_by_test_id("notifications").get_by_role("button")
    await bell.first.click()
    await tab.page.get_by_label("Pop-up messages").uncheck()
    await expected.insert(sandbox, "Not shown")
    await tabs[1].page.locator("[data-sonner-toast]").filter(has_text="Not shown").wait_for()
    await tab.until_shown(await expected.rows_of(sandbox, "TX"))
    assert await toasts.filter(has_text="Not shown").count() == 0
    await tab.open("/?region=TX")
    await bell.first.click()
    assert not await tab.page.get_by_label("Pop-up messages").is_checked()
