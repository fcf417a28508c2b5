"""Notifications of one user are shown to that user alone."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

from tests.browser import expected

if TYPE_CHECKING:
    from bridge.sandbox import Sandbox
    from tests.acceptance.restartable_bridge import RestartableBridge
    from tests.browser.conftest import OpenTab
    from tests.browser.tab import Tab


async def sign_up(sandbox: Sandbox) -> str:
    user = str(uuid.uuid4())
    await sandbox.execute("insert into auth.users (id, email) values (%s, %s)", (user, user))
    return user


async def open_tab_as(open_tab: OpenTab, sandbox: Sandbox, user: str | None, path: str) -> Tab:
    tab = await open_tab(None)
    if user is not None:
        token = sandbox.user_token(user)
        await tab.context.add_cookies([{"name": "bridge-token", "value": token, "url": tab.url}])
    await tab.open(path)
    return tab


async def test_it_is_shown_to_who_watches_and_to_nobody_else(
    open_tab: OpenTab, restartable: RestartableBridge, sandbox: Sandbox
) -> None:
    ann, bob = await sign_up(sandbox), await sign_up(sandbox)
    watched, other = await expected.pick(sandbox, 2, "FL")
    for user, row in ((ann, watched), (bob, other)):
        await sandbox.execute(
            "insert into property_watchers (user_id, property_id) values (%s, %s)",
            (user, row["id"]),
        )
    async with restartable.running(BRIDGE_WATCHERS="public.property_watchers"):
        await restartable.until_watches_loaded()
        # They look at other things: what concerns them finds them all the same.
        hers, his, nobodys = await asyncio.gather(
            *(open_tab_as(open_tab, sandbox, user, "/?region=CA") for user in (ann, bob, None))
        )
        await sandbox.execute(
            "update properties set status = 'sold' where id = %s", (watched["id"],)
        )
        await hers.page.locator('[data-testid="notifications"][data-count="1"]').wait_for()
        toast = hers.page.locator("[data-sonner-toast]").filter(has_text=watched["name"])
        await toast.wait_for()
        await sandbox.execute("update properties set status = 'sold' where id = %s", (other["id"],))
        await his.page.locator('[data-testid="notifications"][data-count="1"]').wait_for()
        # A later event was received, so no other notification is in flight.
        [seen] = await expected.pick(sandbox, 1, "CA")
        await expected.set_price(sandbox, seen["id"], 1_234_000)
        for tab in (hers, his, nobodys):
            await tab.until_card_has(seen["id"], price=1_234_000)
        for tab, keys in ((hers, [watched["id"]]), (his, [other["id"]]), (nobodys, [])):
            events = tab.events("property-notification")
            assert [received.key for received in events] == keys
            bell = tab.page.get_by_test_id("notifications")
            assert await bell.get_attribute("data-count") == str(len(keys))


async def test_one_that_came_while_the_page_was_away_is_shown_once(
    open_tab: OpenTab, restartable: RestartableBridge, sandbox: Sandbox
) -> None:
    ann = await sign_up(sandbox)
    [row] = await expected.pick(sandbox, 1, "GA")
    await sandbox.execute(
        "insert into property_watchers (user_id, region) values (%s, 'GA')", (ann,)
    )
    async with restartable.running(BRIDGE_WATCHERS="public.property_watchers"):
        await restartable.until_watches_loaded()
        hers = await open_tab_as(open_tab, sandbox, ann, "/?region=GA")
        await hers.set_offline(True)
        await hers.until_state("offline")
        await sandbox.execute("update properties set status = 'sold' where id = %s", (row["id"],))
        await hers.set_offline(False)
        await hers.until_live("recovered")
        await hers.page.locator('[data-testid="notifications"][data-count="1"]').wait_for()
        await hers.until_card_has(row["id"], status="sold")
        assert [received.key for received in hers.events("property-notification")] == [row["id"]]
