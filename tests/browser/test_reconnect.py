"""A page converges after losing the network or the bridge, and after being frozen."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.browser import expected

if TYPE_CHECKING:
    from bridge.sandbox import Sandbox
    from tests.acceptance.restartable_bridge import RestartableBridge
    from tests.browser.conftest import OpenTab
    from tests.browser.tab import Tab


async def change_rows(sandbox: Sandbox) -> None:
    """Insert, update, move and delete rows, in Texas and elsewhere."""
    rows = await expected.pick(sandbox, 4)
    await expected.set_price(sandbox, rows[0]["id"], 1_111_111)
    await expected.set_price(sandbox, rows[0]["id"], 1_222_222)
    await sandbox.execute("update properties set status = 'sold' where id = %s", (rows[1]["id"],))
    await expected.delete(sandbox, rows[2]["id"])
    await expected.move(sandbox, rows[3]["id"], "CA")
    [entering] = await expected.pick(sandbox, 1, "CA")
    await expected.move(sandbox, entering["id"], "TX")
    await expected.insert(sandbox, "Inserted meanwhile")


def in_order(tab: Tab) -> bool:
    """Return whether the positions of all events rise."""
    numbers = [
        int(received.position.rpartition("-")[2]) for received in tab.events() if received.position
    ]
    return numbers == sorted(set(numbers)) and len(numbers) == len(tab.events())


async def until_clients(restartable: RestartableBridge, number: int) -> None:
    async with asyncio.timeout(20):
        while (await restartable.status())["clients"] != number:
            await asyncio.sleep(0.02)


async def test_page_offline_for_seconds_recovers_every_event(
    open_tab: OpenTab, restartable: RestartableBridge, sandbox: Sandbox
) -> None:
    async with restartable.running():
        away, reference = await asyncio.gather(open_tab("/?region=TX"), open_tab("/?region=TX"))
        await away.set_offline(True)
        await away.until_state("offline")
        await change_rows(sandbox)
        rows = await expected.rows_of(sandbox, "TX")
        await reference.until_shown(rows)
        assert await away.rows() != rows
        await away.set_offline(False)
        await away.until_live("recovered")
        await away.until_shown(rows)
        assert away.events() == reference.events()
        assert len(away.events()) == 7
        assert in_order(away)
        assert await away.connects() == 2


async def test_page_offline_beyond_the_recovery_window_converges_in_a_fresh_session(
    open_tab: OpenTab, restartable: RestartableBridge, sandbox: Sandbox
) -> None:
    async with restartable.running(BRIDGE_RECOVERY_SECONDS="0.5"):
        tab = await open_tab("/?region=TX")
        await tab.set_offline(True)
        await tab.until_state("offline")
        await until_clients(restartable, 0)
        await change_rows(sandbox)
        await asyncio.sleep(1)  # twice the recovery window
        assert tab.events() == []
        await tab.set_offline(False)
        await tab.until_live("fresh")
        await tab.until_shown(await expected.rows_of(sandbox, "TX"))
        [row] = await expected.pick(sandbox, 1)
        await expected.set_price(sandbox, row["id"], 2_222_222)
        await tab.until_card_has(row["id"], price=2_222_222)


async def test_page_converges_after_repeated_network_loss(
    open_tab: OpenTab, restartable: RestartableBridge, sandbox: Sandbox
) -> None:
    async with restartable.running():
        tab = await open_tab("/?region=TX")
        for round_ in range(3):
            await tab.set_offline(True)
            await change_rows(sandbox)
            await tab.set_offline(False)
            await expected.insert(sandbox, f"In between {round_}")
        await tab.until_live()
        await tab.until_shown(await expected.rows_of(sandbox, "TX"))
        assert in_order(tab)


async def test_page_recovers_after_the_bridge_was_killed(
    open_tab: OpenTab, restartable: RestartableBridge, sandbox: Sandbox
) -> None:
    tab = await open_tab(None)
    tab.may_be_offline = True
    [row] = await expected.pick(sandbox, 1)
    async with restartable.running() as process:
        await tab.open("/?region=TX")
        # A session that began just before the kill would not be stored, and not be recovered.
        await expected.set_price(sandbox, row["id"], 3_333_333)
        await tab.until_card_has(row["id"], price=3_333_333)
        await restartable.kill(process)
        await tab.until_state("offline")
        assert await tab.page.get_by_test_id("listing").count() > 0  # as received last
        await change_rows(sandbox)
    async with restartable.running():
        await tab.until_live("recovered")
        await tab.until_shown(await expected.rows_of(sandbox, "TX"))
        assert in_order(tab)


async def test_page_converges_after_the_bridge_has_lost_its_log(
    open_tab: OpenTab, restartable: RestartableBridge, sandbox: Sandbox
) -> None:
    tab = await open_tab(None)
    tab.may_be_offline = True
    async with restartable.running(BRIDGE_LOG="memory:") as process:
        await tab.open("/?region=TX")
        await restartable.kill(process)
        await tab.until_state("offline")
        await change_rows(sandbox)
    async with restartable.running(BRIDGE_LOG="memory:"):
        await tab.until_live("fresh")
        await tab.until_shown(await expected.rows_of(sandbox, "TX"))


async def test_frozen_page_catches_up_when_it_resumes(
    open_tab: OpenTab, restartable: RestartableBridge, sandbox: Sandbox
) -> None:
    async with restartable.running():
        asleep, reference = await asyncio.gather(open_tab("/?region=TX"), open_tab("/?region=TX"))
        await asleep.freeze()
        before = await asleep.position()
        await change_rows(sandbox)
        await reference.until_shown(await expected.rows_of(sandbox, "TX"))
        assert await asleep.position() == before
        await asleep.wake()
        await asleep.until_shown(await expected.rows_of(sandbox, "TX"))
        assert await asleep.connects() == 1


async def test_frozen_page_converges_after_a_new_epoch(
    open_tab: OpenTab, restartable: RestartableBridge, sandbox: Sandbox
) -> None:
    tab = await open_tab(None)
    tab.may_be_offline = True
    async with restartable.running(BRIDGE_LOG="memory:") as process:
        await tab.open("/?region=TX")
        await tab.freeze()
        await restartable.kill(process)
        await change_rows(sandbox)
    async with restartable.running(BRIDGE_LOG="memory:"):
        await change_rows(sandbox)
        await tab.wake()
        await tab.until_live("fresh")
        await tab.until_shown(await expected.rows_of(sandbox, "TX"))


async def test_page_on_a_slow_cpu_converges(
    open_tab: OpenTab, restartable: RestartableBridge, sandbox: Sandbox
) -> None:
    async with restartable.running():
        tab = await open_tab("/")
        await tab.throttle_cpu(6)
        for _ in range(5):
            await sandbox.execute("update properties set price = price + 1 where price is not null")
        await tab.until_shown(await expected.rows_of(sandbox))
