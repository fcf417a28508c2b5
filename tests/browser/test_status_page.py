"""The operators' page, at rest, with events, without its secret, and while the bridge is away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.async_api import expect

from tests.browser import expected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Page

    from bridge.sandbox import Sandbox
    from tests.acceptance.restartable_bridge import RestartableBridge
    from tests.browser.conftest import Browsers

SECRET = "the operators' own secret"
SIZES = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 800}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 800}},
    "phone": {"color_scheme": "light", "viewport": {"width": 360, "height": 740}},
}
MILLISECONDS = 30_000


@pytest.fixture
async def page(request: pytest.FixtureRequest, browsers: Browsers) -> AsyncIterator[Page]:
    """A page that may have no error; parametrized by the options of its context."""
    options: dict[str, Any] = getattr(request, "param", SIZES["light"])
    context = await (await browsers.get(webgl=False)).new_context(**options)
    page = await context.new_page()
    page.set_default_timeout(MILLISECONDS)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    await context.close()
    assert errors == []


async def until_verdict(page: Page, state: str) -> None:
    await page.locator(f'#verdict[data-state="{state}"]').wait_for()


@pytest.mark.parametrize("page", SIZES.values(), ids=SIZES, indirect=True)
async def test_page_shows_the_state_and_each_event_with_its_diff(
    page: Page, restartable: RestartableBridge, sandbox: Sandbox
) -> None:
    async with restartable.running():
        await page.goto(restartable.url + "/status.html")
        await until_verdict(page, "ready")
        [row] = await expected.pick(sandbox, 1)
        await expected.set_price(sandbox, row["id"], row["price"] + 1)
        diff = page.locator("#events .diff", has_text=str(row["price"] + 1))
        await diff.wait_for()
        assert str(row["price"]) in await diff.locator("del").all_text_contents()
        await expect(page.locator("#tiles")).to_contain_text("live")
        width = await page.evaluate("document.documentElement.scrollWidth")
        assert page.viewport_size is not None
        assert width == page.viewport_size["width"]  # nothing to scroll to the side


async def test_page_asks_for_the_secret_and_keeps_it_for_its_tab(
    page: Page, restartable: RestartableBridge
) -> None:
    async with restartable.running(BRIDGE_ADMIN_SECRET=SECRET):
        await page.goto(restartable.url + "/status.html")
        field = page.get_by_label("Operators' secret")
        await field.fill("not the secret at all")
        await page.get_by_role("button", name="Show").click()
        await expect(page.locator("#rejection")).to_contain_text("got another secret")
        assert not await page.locator("#content").is_visible()
        await field.fill(SECRET)
        await page.get_by_role("button", name="Show").click()
        await until_verdict(page, "ready")
        await page.reload()
        await until_verdict(page, "ready")


async def test_page_says_that_the_bridge_is_away_and_goes_on_after_its_restart(
    page: Page, restartable: RestartableBridge
) -> None:
    async with restartable.running() as process:
        await page.goto(restartable.url + "/status.html")
        await until_verdict(page, "ready")
        await restartable.kill(process)
        await until_verdict(page, "lost")
    async with restartable.running():
        await until_verdict(page, "ready")
