"""What concerns one user is shown to that user, and to nobody else."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

from tests.browser import truth

if TYPE_CHECKING:
    from bridge.sandbox import Sandbox
    from tests.browser.conftest import Visit
    from tests.browser.site import Site
    from tests.browser.visitor import Visitor


async def sign_up(sandbox: Sandbox) -> str:
    user = str(uuid.uuid4())
    await sandbox.execute("insert into auth.users (id, email) values (%s, %s)", (user, user))
    return user


async def visit_as(visit: Visit, sandbox: Sandbox, user: str | None, path: str) -> Visitor:
    visitor = await visit(None)
    if user is not None:
        token = sandbox.user_token(user)
        await visitor.context.add_cookies(
            [{"name": "bridge-token", "value": token, "url": visitor.url}]
        )
    await visitor.go(path)
    return visitor


async def test_it_is_shown_to_who_watches_and_to_nobody_else(
    visit: Visit, site: Site, sandbox: Sandbox
) -> None:
    ann, bob = await sign_up(sandbox), await sign_up(sandbox)
    watched, other = await truth.some(sandbox, 2, "FL")
    for user, row in ((ann, watched), (bob, other)):
        await sandbox.execute(
            "insert into property_watchers (user_id, property_id) values (%s, %s)",
            (user, row["id"]),
        )
    async with site.up(BRIDGE_WATCHERS="public.property_watchers"):
        await site.knows_watches()
        # They look at other things: what concerns them finds them all the same.
        hers, his, nobodys = await asyncio.gather(
            *(visit_as(visit, sandbox, user, "/?region=CA") for user in (ann, bob, None))
        )
        await sandbox.execute(
            "update properties set status = 'sold' where id = %s", (watched["id"],)
        )
        await hers.page.locator('[data-testid="notifications"][data-count="1"]').wait_for()
        toast = hers.page.locator("[data-sonner-toast]").filter(has_text=watched["name"])
        await toast.wait_for()
        await sandbox.execute("update properties set status = 'sold' where id = %s", (other["id"],))
        await his.page.locator('[data-testid="notifications"][data-count="1"]').wait_for()
        # What was told after it has come: nothing else is on its way.
        [seen] = await truth.some(sandbox, 1, "CA")
        await truth.reprice(sandbox, seen["id"], 1_234_000)
        for visitor in (hers, his, nobodys):
            await visitor.says(seen["id"], price=1_234_000)
        for visitor, keys in ((hers, [watched["id"]]), (his, [other["id"]]), (nobodys, [])):
            told = visitor.told("property-notification")
            assert [heard.key for heard in told] == keys
            bell = visitor.page.get_by_test_id("notifications")
            assert await bell.get_attribute("data-count") == str(len(keys))


async def test_one_that_came_while_the_page_was_away_is_shown_once(
    visit: Visit, site: Site, sandbox: Sandbox
) -> None:
    ann = await sign_up(sandbox)
    [row] = await truth.some(sandbox, 1, "GA")
    await sandbox.execute(
        "insert into property_watchers (user_id, region) values (%s, 'GA')", (ann,)
    )
    async with site.up(BRIDGE_WATCHERS="public.property_watchers"):
        await site.knows_watches()
        hers = await visit_as(visit, sandbox, ann, "/?region=GA")
        await hers.offline(True)
        await hers.state("offline")
        await sandbox.execute("update properties set status = 'sold' where id = %s", (row["id"],))
        await hers.offline(False)
        await hers.live("recovered")
        await hers.page.locator('[data-testid="notifications"][data-count="1"]').wait_for()
        await hers.says(row["id"], status="sold")
        assert [heard.key for heard in hers.told("property-notification")] == [row["id"]]
