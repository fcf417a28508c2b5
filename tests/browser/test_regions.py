"""Several people look at several places, and each sees what is theirs, and nothing else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.browser import expected

if TYPE_CHECKING:
    from playwright.async_api import Locator

    from bridge.sandbox import Sandbox
    from tests.browser.conftest import OpenTab

pytestmark = pytest.mark.usefixtures("bridge")


async def test_page_of_a_region_receives_the_events_of_that_region_only(
    open_tab: OpenTab, sandbox: Sandbox
) -> None:
    texas, california, everywhere = await asyncio.gather(
        open_tab("/?region=TX"), open_tab("/?region=CA"), open_tab("/")
    )
    for region in ("TX", "CA", "FL"):
        first, second, third = await expected.pick(sandbox, 3, region)
        await expected.set_price(sandbox, first["id"], 7_000_001)
        await expected.set_price(sandbox, second["id"], 7_000_002)
        await expected.delete(sandbox, third["id"])
        await expected.insert(sandbox, f"New in {region}", region)
    await texas.until_shown(await expected.rows_of(sandbox, "TX"))
    await california.until_shown(await expected.rows_of(sandbox, "CA"))
    everything = await expected.rows_of(sandbox)
    await everywhere.until_shown(everything)
    for tab, region in ((texas, "TX"), (california, "CA")):
        assert sorted(received.name for received in tab.events()) == [
            "property-created",
            "property-deleted",
            "property-updated",
            "property-updated",
        ]
        regions = {
            everything.get(received.key, {"state": region})["state"] for received in tab.events()
        }
        assert regions == {region}
    assert len(everywhere.events()) == 12


async def test_page_drops_the_former_region_on_a_change_of_region(
    open_tab: OpenTab, sandbox: Sandbox
) -> None:
    tab = await open_tab("/?region=TX")
    await tab.until_shown(await expected.rows_of(sandbox, "TX"))
    await tab.page.get_by_test_id("region-picker").select_option("CA")
    await tab.page.wait_for_url("**/?region=CA")
    california = await expected.rows_of(sandbox, "CA")
    await tab.until_shown(california)
    before = len(tab.events())
    [texan] = await expected.pick(sandbox, 1, "TX")
    [here] = await expected.pick(sandbox, 1, "CA")
    await expected.set_price(sandbox, texan["id"], 5_000_001)
    await expected.set_price(sandbox, here["id"], 5_000_002)
    await tab.until_card_has(here["id"], price=5_000_002)
    assert [received.key for received in tab.events()[before:]] == [here["id"]]
    await tab.until_shown(await expected.rows_of(sandbox, "CA"))
    assert tab.sockets == 1


async def test_page_ends_at_the_last_of_several_quick_changes_of_region(
    open_tab: OpenTab, sandbox: Sandbox
) -> None:
    tab = await open_tab("/?region=TX")
    picker = tab.page.get_by_test_id("region-picker")
    for region in ("CA", "FL", "", "CA", "TX", "FL"):
        await picker.select_option(region)
    await tab.page.wait_for_url("**/?region=FL")
    await expected.insert(sandbox, "Late in FL", "FL")
    await expected.insert(sandbox, "Late in TX", "TX")
    await tab.until_shown(await expected.rows_of(sandbox, "FL"))
    assert tab.sockets == 1


async def test_moved_listing_leaves_one_column_and_enters_the_other(
    open_tab: OpenTab, sandbox: Sandbox
) -> None:
    both, texas = await asyncio.gather(
        open_tab("/compare?left=TX&right=CA"), open_tab("/?region=TX")
    )
    left, right = (
        both.page.locator(f'[data-testid="column"][data-region="{region}"]')
        for region in ("TX", "CA")
    )
    seen = left.get_by_test_id("listing").first
    key = await seen.get_attribute("data-property-id")
    assert key is not None
    before = [await count(column) for column in (left, right)]
    await expected.move(sandbox, key, "CA")
    await left.locator(f'[data-property-id="{key}"]').wait_for(state="detached")
    await both.until_shown(
        await expected.rows_of(sandbox, "TX") | await expected.rows_of(sandbox, "CA")
    )
    assert [await count(column) for column in (left, right)] == [before[0] - 1, before[1] + 1]
    assert await right.get_by_test_id("listings").evaluate(FIND, key) == '"CA"'
    await texas.until_shown(await expected.rows_of(sandbox, "TX"))
    assert [received.key for received in both.events()] == [key]
    assert both.sockets == 1


FIND = """async (list, key) => {
  const frame = () => new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)));
  for (let top = 0; top <= list.scrollHeight; top += list.clientHeight) {
    list.scrollTo(0, top);
    await frame();
    const field = list.querySelector(`[data-property-id="${key}"] [data-field="state"]`);
    if (field) return field.dataset.value;
  }
  return null;
}"""
"""Scrolls until the card is rendered, which only visible ones are; returns its state."""


async def count(column: Locator) -> int:
    return int(await column.get_by_test_id("listings").get_attribute("data-count") or "-1")


async def test_detail_page_receives_the_events_of_one_property_only(
    open_tab: OpenTab, sandbox: Sandbox
) -> None:
    row, neighbour = await expected.pick(sandbox, 2, "TX")
    tab = await open_tab(f"/properties/{row['id']}")
    await expected.set_price(sandbox, neighbour["id"], 3_000_001)
    await expected.insert(sandbox, "New next door", "TX")
    await expected.set_price(sandbox, row["id"], 3_000_002)
    await tab.until_card_has(row["id"], price=3_000_002)
    await tab.until_highlighted(row["id"], price=row["price"])
    assert [received.key for received in tab.events()] == [row["id"]]
    await expected.delete(sandbox, row["id"])
    await tab.page.get_by_test_id("empty").wait_for()
    assert len(tab.events()) == 2


async def test_navigation_to_a_detail_page_and_back_uses_one_socket(
    open_tab: OpenTab, sandbox: Sandbox
) -> None:
    tab = await open_tab("/?region=TX")
    [row] = await expected.pick(sandbox, 1, "TX")
    await tab.card(row["id"]).get_by_role("link").first.click()
    await tab.page.wait_for_url(f"**/properties/{row['id']}")
    await tab.until_card_has(row["id"], price=row["price"])
    await expected.set_price(sandbox, row["id"], 4_000_001)
    await tab.until_card_has(row["id"], price=4_000_001)
    await tab.page.go_back()
    await tab.until_shown(await expected.rows_of(sandbox, "TX"))
    assert tab.sockets == 1


async def test_map_has_every_listing_with_a_location(open_tab: OpenTab, sandbox: Sandbox) -> None:
    tab = await open_tab("/?region=CA", webgl=True)
    count = (
        "select count(*) as n from properties"
        " where state = 'CA' and latitude is not null and longitude is not null"
    )
    [there] = await sandbox.execute(count)
    await tab.page.locator(f'[data-testid="map"][data-count="{there["n"]}"]').wait_for()
    await expected.insert(sandbox, "On the map", "CA", latitude=36.5, longitude=-119.5)
    await tab.page.locator(f'[data-testid="map"][data-count="{there["n"] + 1}"]').wait_for()


async def test_empty_region_is_shown_as_empty_until_the_first_listing(
    open_tab: OpenTab, sandbox: Sandbox
) -> None:
    tab = await open_tab("/?region=WY")
    await tab.page.get_by_test_id("empty").wait_for()
    key = await expected.insert(sandbox, "First in Wyoming", "WY")
    await tab.card(key).wait_for()
    assert await tab.page.get_by_test_id("empty").count() == 0


async def test_counts_of_regions_outside_of_the_view_follow_changes(
    open_tab: OpenTab, sandbox: Sandbox
) -> None:
    tab = await open_tab("/?region=TX")
    option = tab.page.get_by_test_id("region-picker").locator('option[value="CA"]')

    async def until_counted() -> None:
        wanted = f"CA ({len(await expected.rows_of(sandbox, 'CA'))})"
        async with asyncio.timeout(20):
            while await option.text_content() != wanted:
                await asyncio.sleep(0.05)

    await until_counted()
    await expected.insert(sandbox, "Counted elsewhere", "CA")
    await until_counted()
    [gone] = await expected.pick(sandbox, 1, "CA")
    await expected.delete(sandbox, gone["id"])
    await until_counted()
