"""The six steps by which the flow of real-time updates is to be verified, as its first description
lists them: start the backend; connect several browsers; change properties in the database; see that
updates reach all of them; that the pages show the new data; that notifications appear for what is
important.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.browser import truth

if TYPE_CHECKING:
    from bridge.sandbox import Sandbox
    from tests.browser.conftest import Visit
    from tests.browser.site import Site
    from tests.browser.visitor import Visitor

VISITORS = 3


async def test_1_pages_are_live_as_soon_as_the_backend_is_started(
    visit: Visit, site: Site, sandbox: Sandbox
) -> None:
    visitor = await visit(None)
    visitor.may_be_offline = True
    await visitor.page.goto(visitor.url)
    await visitor.state("offline")
    async with site.up():
        await visitor.live("fresh")
        await visitor.shows(await truth.of(sandbox))


@pytest.fixture
async def visitors(visit: Visit, bridge: Site) -> list[Visitor]:
    return await asyncio.gather(*(visit("/?region=TX") for _ in range(VISITORS)))


async def test_2_several_browsers_connect(visitors: list[Visitor], bridge: Site) -> None:
    assert (await bridge.status())["clients"] == VISITORS
    assert [visitor.sockets for visitor in visitors] == [1] * VISITORS


async def test_3_and_4_changes_in_the_database_are_told_to_all_of_them(
    visitors: list[Visitor], sandbox: Sandbox
) -> None:
    first, second, third = await truth.some(sandbox, 3)
    await sandbox.execute(
        "update properties set status = 'pending', price = price - 200000 where id = %s",
        (first["id"],),
    )
    await sandbox.execute("update properties set units = units + 1 where id = %s", (second["id"],))
    await truth.remove(sandbox, third["id"])
    key = await truth.add(sandbox, "Oak View Annex")
    rows = await truth.of(sandbox, "TX")
    for visitor in visitors:
        await visitor.shows(rows)
    told = visitors[0].told()
    assert {(heard.name, heard.key) for heard in told} == {
        ("property-updated", first["id"]),
        ("property-updated", second["id"]),
        ("property-deleted", third["id"]),
        ("property-created", key),
    }
    assert len(told) == 4
    [update] = [heard for heard in told if heard.key == first["id"]]
    assert update.data["changes"] == {
        "status": {"old": "available", "new": "pending"},
        "price": {"old": first["price"], "new": first["price"] - 200_000},
    }
    assert [visitor.told() for visitor in visitors] == [told] * VISITORS


async def test_5_the_pages_show_the_new_data_and_what_it_was(
    visitors: list[Visitor], sandbox: Sandbox
) -> None:
    row, gone = await truth.some(sandbox, 2)
    visitor = visitors[0]
    await visitor.card(gone["id"]).wait_for()
    await truth.reprice(sandbox, row["id"], 8_000_000)
    await visitor.says(row["id"], price=8_000_000)
    await visitor.highlights(row["id"], price=row["price"])
    shown = await visitor.field(row["id"], "price").inner_text()
    assert "8,000,000" in shown
    await truth.remove(sandbox, gone["id"])
    await visitor.card(gone["id"]).wait_for(state="detached")
    key = await truth.add(sandbox, "Brand New Lofts", created_at="2100-01-01T00:00:00Z")
    await visitor.card(key).wait_for()
    # A highlight is of the moment.
    await visitor.page.locator("[data-old]").first.wait_for(state="detached")


async def test_6_notifications_appear_for_what_is_important_only(
    visitors: list[Visitor], sandbox: Sandbox
) -> None:
    visitor = visitors[0]
    row, other = await truth.some(sandbox, 2)
    toasts = visitor.page.locator("[data-sonner-toast]")
    await sandbox.execute("update properties set units = units + 3 where id = %s", (other["id"],))
    await visitor.says(other["id"], units=other["units"] + 3)
    await sandbox.execute("update properties set status = 'sold' where id = %s", (row["id"],))
    await toasts.first.wait_for()
    assert await toasts.count() == 1
    assert row["name"] in await toasts.first.inner_text()
    await truth.reprice(sandbox, other["id"], round(other["price"] * 0.9))
    await toasts.filter(has_text=other["name"]).wait_for()


async def test_many_important_changes_are_one_notification(
    visitors: list[Visitor], sandbox: Sandbox
) -> None:
    visitor = visitors[0]
    [(many)] = await sandbox.execute(
        "with touched as (update properties set price = price * 0.8"
        " where state = 'TX' and price > 0 returning 1) select count(*) as n from touched"
    )
    toasts = visitor.page.locator("[data-sonner-toast]")
    await toasts.filter(has_text=f"{many['n']} listings changed").wait_for()
    assert await toasts.count() == 1
    await visitor.shows(await truth.of(sandbox, "TX"))
