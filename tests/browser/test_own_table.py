"""A table of one's own: cards show its columns, by name where the app has no place for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from bridge.dev.web import WebServer
from bridge.settings import Settings
from tests.browser.conftest import restartable_bridge
from tests.browser.tab import UNUSED
from tests.support.model_client import ModelClient
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge.dev.web import NodeInstallation, WebApp
    from bridge.sandbox import Sandbox
    from tests.browser.conftest import OpenTab
    from tests.browser.tab import Tab

TABLE = """
create table public.flats (
  id int primary key, town text, title text, rent int, rooms int,
  updated_at timestamptz default clock_timestamp()
);
alter publication supabase_realtime add table public.flats;
grant select on public.flats to service_role;
insert into public.flats (id, town, title, rent, rooms)
  values (7, 'Bonn', 'Attic', 900, 3), (8, 'A/B', 'Cellar', 400, 1);
"""

ENVIRONMENT = {
    "BRIDGE_TABLE": "flats",
    "BRIDGE_REGION": "town",
    "BRIDGE_COLUMNS": "town,title,rent,rooms",
}


@pytest.fixture(scope="module")
async def flats_url(
    sandbox: Sandbox,
    app: WebApp,
    node: NodeInstallation,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[str]:
    """Run a bridge for the table, and the app for that bridge."""
    await sandbox.execute(TABLE)
    port, web_port = free_port(), free_port()
    origin = f"http://localhost:{web_port}"
    bridge = restartable_bridge(sandbox, origin, port, tmp_path_factory.mktemp("flats"))
    settings = {
        "BRIDGE_URL": bridge.url,
        "BRIDGE_REGION": ENVIRONMENT["BRIDGE_REGION"],
        "BRIDGE_EXPOSE_STATE": "true",
    }
    async with (
        bridge.running(**ENVIRONMENT),
        WebServer.open(app, node, port=web_port, environment=settings) as server,
    ):
        yield server.url


@pytest.fixture
async def tab(open_tab: OpenTab, flats_url: str) -> Tab:
    tab = await open_tab(None, url=flats_url)
    columns = ENVIRONMENT["BRIDGE_COLUMNS"].split(",")
    own = Settings(**UNUSED, table="flats", region=("town",), columns=columns).projection
    tab.model = ModelClient(own, name=flats_url, snapshots=False)
    return tab


async def test_card_has_the_columns_by_name_and_no_dashes(tab: Tab, sandbox: Sandbox) -> None:
    await tab.open("/")
    card = tab.card("7")
    await expect(card.get_by_role("heading")).to_have_text("7")
    for text in ("Bonn", "title", "Attic", "rent", "900", "rooms"):
        await expect(card).to_contain_text(text)
    await expect(card).not_to_contain_text("\u2013")
    await expect(card).not_to_contain_text("units")
    assert await tab.page.get_by_label("Map").count() == 0
    await sandbox.execute("update flats set rent = 950, updated_at = now() where id = 7")
    await tab.until_card_has("7", rent=950)
    await expect(card.locator("ins")).to_have_text("950")


async def test_page_of_a_property_has_the_columns_by_name(tab: Tab) -> None:
    await tab.open("/properties/7")
    sheet = tab.card("7")
    for text in ("town", "Bonn", "title", "Attic", "rooms"):
        await expect(sheet).to_contain_text(text)
    await expect(sheet).not_to_contain_text("\u2013")


async def test_regions_are_those_of_the_setting_and_their_slash_is_shown(tab: Tab) -> None:
    await tab.open("/")
    picker = tab.page.get_by_test_id("region-picker")
    await expect(picker.locator("option")).to_have_text(["All (2)", "A/B (1)", "Bonn (1)"])
    await picker.select_option(label="A/B (1)")
    await tab.card("8").wait_for()
    await tab.card("7").wait_for(state="detached")
    await tab.open("/compare?left=A%252FB&right=Bonn")
    for name, key in (("A%2FB", "8"), ("Bonn", "7")):
        column = tab.page.locator(f'[data-testid="column"][data-region="{name}"]')
        await expect(column.get_by_test_id("listing")).to_have_attribute("data-property-id", key)
