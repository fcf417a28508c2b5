"""Pages fit every width from a phone's up, in light and dark, and work by keyboard.

    BROWSER_PICTURES=<folder> pytest tests/browser/test_layout.py

stores a picture of each page in that folder.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser import expected

if TYPE_CHECKING:
    from bridge.sandbox import Sandbox
    from tests.browser.conftest import OpenTab
    from tests.browser.tab import Tab

pytestmark = pytest.mark.usefixtures("bridge")

FAULTS = """() => {
  const faults = [];
  const root = document.documentElement;
  if (root.scrollWidth > innerWidth) {
    faults.push(`the page is ${root.scrollWidth} px wide, the window ${innerWidth}`);
  }
  const name = (element) => element.getAttribute("aria-label") || element.dataset.testid
    || element.textContent.trim().slice(0, 30) || element.outerHTML.slice(0, 60);
  // Controls and their visible boxes, clipped by scrolling parents.
  const places = [];
  const pressable = "a[href], button, select, input, summary, [role=button], [tabindex='0']";
  for (const element of document.querySelectorAll(pressable)) {
    if (element.closest("[data-sonner-toaster], nextjs-portal, .maplibregl-control-container")) {
      continue;
    }
    const box = element.getBoundingClientRect();
    let [left, top, right, bottom] = [box.left, box.top, box.right, box.bottom];
    for (let up = element.parentElement; up; up = up.parentElement) {
      if (getComputedStyle(up).overflow === "visible") continue;
      const edge = up.getBoundingClientRect();
      [left, top] = [Math.max(left, edge.left), Math.max(top, edge.top)];
      [right, bottom] = [Math.min(right, edge.right), Math.min(bottom, edge.bottom)];
    }
    if (right - left > 1 && bottom - top > 1) {
      places.push({ element, left, top, right, bottom });
      if (left < -1 || right > innerWidth + 1) faults.push(`${name(element)} sticks out`);
    }
  }
  for (const [at, a] of places.entries()) {
    for (const b of places.slice(at + 1)) {
      if (a.element.contains(b.element) || b.element.contains(a.element)) continue;
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (wide > 1 && high > 1) faults.push(`${name(a.element)} overlaps ${name(b.element)}`);
    }
  }
  // Fields stay within their card, or are clipped by a parent.
  for (const field of document.querySelectorAll('[data-testid="listing"] [data-field]')) {
    const card = field.closest('[data-testid="listing"]');
    let cut = false;
    for (let up = field; up !== card; up = up.parentElement) {
      cut ||= getComputedStyle(up).overflow !== "visible";
    }
    const over = field.getBoundingClientRect().right - card.getBoundingClientRect().right;
    if (!cut && over > 1) faults.push(`${field.dataset.field} sticks out of its card`);
  }
  return { faults, places: places.length };
}"""

FOCUS = """() => {
  const element = document.activeElement;
  const style = getComputedStyle(element);
  const ringed = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
  return {
    testid: element.dataset.testid ?? null,
    label: element.getAttribute("aria-label"),
    property: element.closest("[data-property-id]")?.dataset.propertyId ?? null,
    visible: ringed || style.boxShadow !== "none",
  };
}"""

PAGES = {
    "browse": "/",
    "region": "/?region=TX",
    "compare": "/compare?left=TX&right=CA",
    "detail": "/properties/123e4567-e89b-12d3-a456-426614174005",
    "empty": "/?region=WY",
}
WINDOWS = {"phone": (360, 740), "tablet": (800, 1000), "desktop": (1280, 800)}


async def picture(tab: Tab, name: str) -> None:
    if folder := os.environ.get("BROWSER_PICTURES"):
        await tab.page.wait_for_timeout(5000)  # for the pictures alone: the map is rendered by then
        await tab.page.screenshot(path=Path(folder) / f"{name}.png")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("window", WINDOWS)
async def test_pages_have_no_overflow_and_no_overlap(
    open_tab: OpenTab, window: str, scheme: str
) -> None:
    width, height = WINDOWS[window]
    tab = await open_tab(
        None, webgl=True, viewport={"width": width, "height": height}, color_scheme=scheme
    )
    faults = {}
    for name, path in PAGES.items():
        await tab.open(path)
        await picture(tab, f"{name}-{window}-{scheme}")
        found = await tab.page.evaluate(FAULTS)
        assert found["places"] >= 4, f"{name} has too few controls"
        if found["faults"]:
            faults[name] = found["faults"]
    assert faults == {}


async def test_long_names_and_large_numbers_fit_a_phone(
    open_tab: OpenTab, sandbox: Sandbox
) -> None:
    tab = await open_tab("/?region=TX", viewport={"width": 360, "height": 740})
    key = await expected.insert(
        sandbox,
        "Residences-at-the-Very-Long-" * 4,
        city="Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch",
        price=999_999_999_999,
        units=1_000_000,
        created_at="2100-01-01T00:00:00Z",
    )
    await tab.card(key).wait_for()
    await picture(tab, "long-phone-light")
    assert (await tab.page.evaluate(FAULTS))["faults"] == []
    await expected.delete(sandbox, key)
    await tab.card(key).wait_for(state="detached")


async def test_dark_scheme_has_a_dark_background(open_tab: OpenTab) -> None:
    shades = {}
    for scheme in ("light", "dark"):
        tab = await open_tab("/?region=TX", color_scheme=scheme)
        shades[scheme] = await tab.page.evaluate(
            """() => {
              const color = getComputedStyle(document.body).backgroundColor;
              const canvas = new OffscreenCanvas(1, 1).getContext("2d");
              canvas.fillStyle = color;
              canvas.fillRect(0, 0, 1, 1);
              return canvas.getImageData(0, 0, 1, 1).data.slice(0, 3).reduce((a, b) => a + b);
            }"""
        )
    assert shades["dark"] < 200
    assert shades["light"] > 600


async def test_picker_and_cards_have_visible_focus_by_keyboard(
    open_tab: OpenTab,
) -> None:
    tab = await open_tab("/?region=TX")
    keyboard = tab.page.keyboard
    seen = []
    for _ in range(30):
        await keyboard.press("Tab")
        focus = await tab.page.evaluate(FOCUS)
        seen.append(focus)
        if focus["property"]:
            break
    assert all(focus["visible"] for focus in seen), seen
    assert "region-picker" in [focus["testid"] for focus in seen]
    key = seen[-1]["property"]
    assert key is not None, seen
    await keyboard.press("Enter")
    await tab.page.wait_for_url(f"**/properties/{key}")
    await tab.until_live()


async def test_region_is_selected_by_keyboard(open_tab: OpenTab, sandbox: Sandbox) -> None:
    tab = await open_tab("/")
    picker = tab.page.get_by_test_id("region-picker")
    await picker.focus()
    await tab.page.keyboard.type("TX")
    await tab.page.wait_for_url("**/?region=TX")
    await tab.until_shown(await expected.rows_of(sandbox, "TX"))


CLIPPED = """() => {
  const pill = document.querySelector('[data-testid="connection"]');
  const label = pill.children[1];
  const tools = pill.parentElement;
  tools.append(tools.lastElementChild.cloneNode(true)); // as wide as the sign-in button
  return ["Live", "Stale", "Offline", "Rejected", "Connecting", "Catching up"].filter((text) => {
    label.textContent = text;
    const out = tools.lastElementChild.getBoundingClientRect().right > innerWidth;
    return out || label.scrollWidth > label.clientWidth;
  });
}"""


@pytest.mark.parametrize("width", [360, 390, 560, 1280])
async def test_connection_state_is_not_clipped(open_tab: OpenTab, width: int) -> None:
    tab = await open_tab("/", viewport={"width": width, "height": 740})
    assert await tab.page.evaluate(CLIPPED) == []


async def test_page_that_does_not_exist_is_live(open_tab: OpenTab) -> None:
    tab = await open_tab(None)
    await tab.page.goto(f"{tab.url}/nowhere")
    await tab.until_state("live")
    assert ["404" in error for error in tab.errors] == [True]
    tab.errors.clear()
    await tab.page.get_by_role("link", name="All listings").last.click()
    await tab.until_live()
