"""Several people look at several places, and each sees what is theirs, and nothing else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.browser import truth

if TYPE_CHECKING:
    from playwright.async_api import Locator

    from bridge.sandbox import Sandbox
    from tests.browser.conftest import Visit

pytestmark = pytest.mark.usefixtures("bridge")


async def test_each_region_sees_its_own_events_and_no_others(
    visit: Visit, sandbox: Sandbox
) -> None:
    texas, california, everywhere = await asyncio.gather(
        visit("/?region=TX"), visit("/?region=CA"), visit("/")
    )
    for region in ("TX", "CA", "FL"):
        first, second, third = await truth.some(sandbox, 3, region)
        await truth.reprice(sandbox, first["id"], 7_000_001)
        await truth.reprice(sandbox, second["id"], 7_000_002)
        await truth.remove(sandbox, third["id"])
        await truth.add(sandbox, f"New in {region}", region)
    await texas.shows(await truth.of(sandbox, "TX"))
    await california.shows(await truth.of(sandbox, "CA"))
    everything = await truth.of(sandbox)
    await everywhere.shows(everything)
    for visitor, region in ((texas, "TX"), (california, "CA")):
        assert sorted(heard.name for heard in visitor.told()) == [
            "property-created",
            "property-deleted",
            "property-updated",
            "property-updated",
        ]
        regions = {
            everything.get(heard.key, {"state": region})["state"] for heard in visitor.told()
        }
        assert regions == {region}
    assert len(everywhere.told()) == 12


async def test_another_region_leaves_nothing_of_the_former_behind(
    visit: Visit, sandbox: Sandbox
) -> None:
    visitor = await visit("/?region=TX")
    await visitor.shows(await truth.of(sandbox, "TX"))
    await visitor.page.get_by_test_id("region-picker").select_option("CA")
    await visitor.page.wait_for_url("**/?region=CA")
    california = await truth.of(sandbox, "CA")
    await visitor.shows(california)
    before = len(visitor.told())
    [texan] = await truth.some(sandbox, 1, "TX")
    [here] = await truth.some(sandbox, 1, "CA")
    await truth.reprice(sandbox, texan["id"], 5_000_001)
    await truth.reprice(sandbox, here["id"], 5_000_002)
    await visitor.says(here["id"], price=5_000_002)
    assert [heard.key for heard in visitor.told()[before:]] == [here["id"]]
    await visitor.shows(await truth.of(sandbox, "CA"))
    assert visitor.sockets == 1


async def test_regions_in_a_hurry_end_at_the_last_one(visit: Visit, sandbox: Sandbox) -> None:
    visitor = await visit("/?region=TX")
    picker = visitor.page.get_by_test_id("region-picker")
    for region in ("CA", "FL", "", "CA", "TX", "FL"):
        await picker.select_option(region)
    await visitor.page.wait_for_url("**/?region=FL")
    await truth.add(sandbox, "Late in FL", "FL")
    await truth.add(sandbox, "Late in TX", "TX")
    await visitor.shows(await truth.of(sandbox, "FL"))
    assert visitor.sockets == 1


async def test_a_listing_that_moves_is_seen_to_leave_and_to_enter(
    visit: Visit, sandbox: Sandbox
) -> None:
    both, texas = await asyncio.gather(visit("/compare?left=TX&right=CA"), visit("/?region=TX"))
    left, right = (
        both.page.locator(f'[data-testid="column"][data-region="{region}"]')
        for region in ("TX", "CA")
    )
    seen = left.get_by_test_id("listing").first
    key = await seen.get_attribute("data-property-id")
    assert key is not None
    before = [await count(column) for column in (left, right)]
    await truth.move(sandbox, key, "CA")
    await left.locator(f'[data-property-id="{key}"]').wait_for(state="detached")
    await both.shows(await truth.of(sandbox, "TX") | await truth.of(sandbox, "CA"))
    assert [await count(column) for column in (left, right)] == [before[0] - 1, before[1] + 1]
    assert await right.get_by_test_id("listings").evaluate(FIND, key) == '"CA"'
    await texas.shows(await truth.of(sandbox, "TX"))
    assert [heard.key for heard in both.told()] == [key]
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
"""Scrolls until the card is in sight: only those are there. What it says of its state."""


async def count(column: Locator) -> int:
    return int(await column.get_by_test_id("listings").get_attribute("data-count") or "-1")


async def test_a_detail_page_hears_one_property_only(visit: Visit, sandbox: Sandbox) -> None:
    row, neighbour = await truth.some(sandbox, 2, "TX")
    visitor = await visit(f"/properties/{row['id']}")
    await truth.reprice(sandbox, neighbour["id"], 3_000_001)
    await truth.add(sandbox, "New next door", "TX")
    await truth.reprice(sandbox, row["id"], 3_000_002)
    await visitor.says(row["id"], price=3_000_002)
    await visitor.highlights(row["id"], price=row["price"])
    assert [heard.key for heard in visitor.told()] == [row["id"]]
    await truth.remove(sandbox, row["id"])
    await visitor.page.get_by_test_id("empty").wait_for()
    assert len(visitor.told()) == 2


async def test_the_way_to_a_detail_page_and_back_is_one_socket(
    visit: Visit, sandbox: Sandbox
) -> None:
    visitor = await visit("/?region=TX")
    [row] = await truth.some(sandbox, 1, "TX")
    await visitor.card(row["id"]).get_by_role("link").first.click()
    await visitor.page.wait_for_url(f"**/properties/{row['id']}")
    await visitor.says(row["id"], price=row["price"])
    await truth.reprice(sandbox, row["id"], 4_000_001)
    await visitor.says(row["id"], price=4_000_001)
    await visitor.page.go_back()
    await visitor.shows(await truth.of(sandbox, "TX"))
    assert visitor.sockets == 1


async def test_the_map_has_every_listing_and_follows(visit: Visit, sandbox: Sandbox) -> None:
    visitor = await visit("/?region=CA", webgl=True)
    count = (
        "select count(*) as n from properties"
        " where state = 'CA' and latitude is not null and longitude is not null"
    )
    [there] = await sandbox.execute(count)
    await visitor.page.locator(f'[data-testid="map"][data-count="{there["n"]}"]').wait_for()
    await truth.add(sandbox, "On the map", "CA", latitude=36.5, longitude=-119.5)
    await visitor.page.locator(f'[data-testid="map"][data-count="{there["n"] + 1}"]').wait_for()


async def test_a_region_without_listings_says_so_until_one_comes(
    visit: Visit, sandbox: Sandbox
) -> None:
    visitor = await visit("/?region=WY")
    await visitor.page.get_by_test_id("empty").wait_for()
    key = await truth.add(sandbox, "First in Wyoming", "WY")
    await visitor.card(key).wait_for()
    assert await visitor.page.get_by_test_id("empty").count() == 0
