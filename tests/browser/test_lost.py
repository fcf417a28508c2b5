"""What a page loses, and how it comes back: the network, the bridge, its own sleep."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.browser import truth

if TYPE_CHECKING:
    from bridge.sandbox import Sandbox
    from tests.browser.conftest import Visit
    from tests.browser.site import Site
    from tests.browser.visitor import Visitor


async def change_much(sandbox: Sandbox) -> None:
    """A bit of everything, in and around Texas."""
    rows = await truth.some(sandbox, 4)
    await truth.reprice(sandbox, rows[0]["id"], 1_111_111)
    await truth.reprice(sandbox, rows[0]["id"], 1_222_222)
    await sandbox.execute("update properties set status = 'sold' where id = %s", (rows[1]["id"],))
    await truth.remove(sandbox, rows[2]["id"])
    await truth.move(sandbox, rows[3]["id"], "CA")
    [coming] = await truth.some(sandbox, 1, "CA")
    await truth.move(sandbox, coming["id"], "TX")
    await truth.add(sandbox, "Came meanwhile")


def in_order(visitor: Visitor) -> bool:
    """Whether the positions that the page was told only ever grew."""
    numbers = [int(heard.position.rpartition("-")[2]) for heard in visitor.told() if heard.position]
    return numbers == sorted(set(numbers)) and len(numbers) == len(visitor.told())


async def clients(site: Site, number: int) -> None:
    async with asyncio.timeout(20):
        while (await site.status())["clients"] != number:
            await asyncio.sleep(0.02)


async def test_offline_for_seconds_comes_back_recovered_and_misses_nothing(
    visit: Visit, site: Site, sandbox: Sandbox
) -> None:
    async with site.up():
        away, witness = await asyncio.gather(visit("/?region=TX"), visit("/?region=TX"))
        await away.offline(True)
        await away.state("offline")
        await change_much(sandbox)
        rows = await truth.of(sandbox, "TX")
        await witness.shows(rows)
        assert await away.rows() != rows
        await away.offline(False)
        await away.live("recovered")
        await away.shows(rows)
        assert away.told() == witness.told()
        assert len(away.told()) == 7
        assert in_order(away)
        assert await away.connects() == 2


async def test_offline_for_longer_than_the_window_comes_back_fresh_and_equal(
    visit: Visit, site: Site, sandbox: Sandbox
) -> None:
    async with site.up(BRIDGE_RECOVERY_SECONDS="0.5"):
        visitor = await visit("/?region=TX")
        await visitor.offline(True)
        await visitor.state("offline")
        await clients(site, 0)
        await change_much(sandbox)
        await asyncio.sleep(1)  # the window itself, twice
        assert visitor.told() == []
        await visitor.offline(False)
        await visitor.live("fresh")
        await visitor.shows(await truth.of(sandbox, "TX"))
        [row] = await truth.some(sandbox, 1)
        await truth.reprice(sandbox, row["id"], 2_222_222)
        await visitor.says(row["id"], price=2_222_222)


async def test_the_network_that_comes_and_goes_leaves_the_page_equal(
    visit: Visit, site: Site, sandbox: Sandbox
) -> None:
    async with site.up():
        visitor = await visit("/?region=TX")
        for round_ in range(3):
            await visitor.offline(True)
            await change_much(sandbox)
            await visitor.offline(False)
            await truth.add(sandbox, f"In between {round_}")
        await visitor.live()
        await visitor.shows(await truth.of(sandbox, "TX"))
        assert in_order(visitor)


async def test_a_bridge_that_is_killed_under_an_open_page_loses_it_nothing(
    visit: Visit, site: Site, sandbox: Sandbox
) -> None:
    visitor = await visit(None)
    visitor.may_be_offline = True
    [row] = await truth.some(sandbox, 1)
    async with site.up() as process:
        await visitor.go("/?region=TX")
        # Whoever connected in the very last moment would come back as new.
        await truth.reprice(sandbox, row["id"], 3_333_333)
        await visitor.says(row["id"], price=3_333_333)
        await site.kill(process)
        await visitor.state("offline")
        assert await visitor.page.get_by_test_id("listing").count() > 0  # as last known
        await change_much(sandbox)
    async with site.up():
        await visitor.live("recovered")
        await visitor.shows(await truth.of(sandbox, "TX"))
        assert in_order(visitor)


async def test_a_bridge_that_lost_its_log_too_leaves_the_page_equal(
    visit: Visit, site: Site, sandbox: Sandbox
) -> None:
    visitor = await visit(None)
    visitor.may_be_offline = True
    async with site.up(BRIDGE_LOG="memory:") as process:
        await visitor.go("/?region=TX")
        await site.kill(process)
        await visitor.state("offline")
        await change_much(sandbox)
    async with site.up(BRIDGE_LOG="memory:"):
        await visitor.live("fresh")
        await visitor.shows(await truth.of(sandbox, "TX"))


async def test_a_frozen_tab_catches_up_when_it_wakes(
    visit: Visit, site: Site, sandbox: Sandbox
) -> None:
    async with site.up():
        asleep, witness = await asyncio.gather(visit("/?region=TX"), visit("/?region=TX"))
        await asleep.freeze()
        before = await asleep.position()
        await change_much(sandbox)
        await witness.shows(await truth.of(sandbox, "TX"))
        assert await asleep.position() == before
        await asleep.wake()
        await asleep.shows(await truth.of(sandbox, "TX"))
        assert await asleep.connects() == 1


async def test_a_tab_that_sleeps_through_a_new_history_wakes_up_equal(
    visit: Visit, site: Site, sandbox: Sandbox
) -> None:
    visitor = await visit(None)
    visitor.may_be_offline = True
    async with site.up(BRIDGE_LOG="memory:") as process:
        await visitor.go("/?region=TX")
        await visitor.freeze()
        await site.kill(process)
        await change_much(sandbox)
    async with site.up(BRIDGE_LOG="memory:"):
        await change_much(sandbox)
        await visitor.wake()
        await visitor.live("fresh")
        await visitor.shows(await truth.of(sandbox, "TX"))


async def test_a_page_on_a_slow_processor_ends_equal(
    visit: Visit, site: Site, sandbox: Sandbox
) -> None:
    async with site.up():
        visitor = await visit("/")
        await visitor.slow_down(6)
        for _ in range(5):
            await sandbox.execute("update properties set price = price + 1 where price is not null")
        await visitor.shows(await truth.of(sandbox))
