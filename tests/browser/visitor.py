"""One person at one browser: a page, everything that came over its sockets, and its complaints."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.browser import truth

if TYPE_CHECKING:
    from playwright.async_api import (
        BrowserContext,
        CDPSession,
        ConsoleMessage,
        Locator,
        Page,
        WebSocket,
    )

MILLISECONDS = 30_000
"""How long a test waits for what has to happen on a page."""

OFFLINE = re.compile(
    r"net::ERR_(INTERNET_DISCONNECTED|CONNECTION_REFUSED|CONNECTION_RESET|NETWORK_CHANGED)"
    r"|WebSocket connection to .* failed"
    r"|AJAXError: Failed to fetch"  # the map's own words for the same
    r"|502 \(Bad Gateway\) \(\S+/api/regions\)"  # the app's server, which can't reach it either
)
"""What Chromium itself writes to the console while a page can't reach the bridge."""

VISIBLE = """(state) => {
  Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
  Object.defineProperty(document, "hidden", { value: state === "hidden", configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""

HIGHLIGHTS = """
  window.highlights = [];
  new MutationObserver(() => {
    for (const field of document.querySelectorAll("[data-old]")) {
      const key = field.closest("[data-property-id]")?.dataset.propertyId;
      window.highlights.push([key, field.dataset.field, field.dataset.old].join());
    }
  }).observe(document, { attributes: true, childList: true, subtree: true });
"""
"""Notes what lit up: it may be over by the time that a test looks."""


@dataclass(frozen=True)
class Heard:
    """An event that the bridge told: its name, its `data`, and its position in the log."""

    name: str
    data: dict[str, Any]
    position: str | None

    @property
    def key(self) -> str:
        return str(self.data["property_id"])


class Visitor:
    """A page of the app in a browser context of its own. Made by the fixture `visit`."""

    def __init__(self, context: BrowserContext, page: Page, url: str) -> None:
        self.context = context
        self.page = page
        self.url = url
        self.sockets = 0
        """Websockets to the bridge that the page opened."""
        self.heard: list[Heard] = []
        """All that the bridge told over them, batches taken apart."""
        self.faults: list[str] = []
        """Errors of the page and of its console."""
        self.may_be_offline = False
        """Set by a test that takes the network or the bridge away."""
        self._frozen: CDPSession | None = None
        page.on("websocket", self._socket)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.faults.append(f"uncaught: {error}"))

    def __repr__(self) -> str:
        return f"at {self.page.url}, {self.sockets} sockets, heard {len(self.heard)}, {self.faults}"

    async def go(self, path: str = "/") -> None:
        """Open a page of the app; returns when it has its listings and is live."""
        await self.page.goto(self.url + path)
        await self.live()

    async def live(self, session: str | None = None) -> None:
        """Until the connection stands, and as this kind of session if one is named."""
        wanted = '[data-testid="connection"][data-state="live"]'
        if session is not None:
            wanted += f'[data-session="{session}"]'
        await self.page.locator(wanted).first.wait_for(timeout=MILLISECONDS)
        ready = '[data-testid="listings"][data-ready="true"], [data-testid="empty"]'
        await self.page.locator(ready).first.wait_for(timeout=MILLISECONDS)

    async def state(self, *states: str) -> None:
        """Until the connection is in one of these states."""
        wanted = ", ".join(f'[data-testid="connection"][data-state="{state}"]' for state in states)
        await self.page.locator(wanted).first.wait_for(timeout=MILLISECONDS)

    async def shows(self, rows: truth.Rows) -> None:
        """Until the page holds exactly these rows, and shows on its cards what they say."""
        await truth.until_shown(self.page, rows)

    async def rows(self) -> truth.Rows:
        """What the page holds."""
        return truth.by_id(await self.page.evaluate("window.__bridge.rows()"))

    def card(self, key: str) -> Locator:
        return self.page.locator(f'[data-testid="listing"][data-property-id="{key}"]')

    def field(self, key: str, name: str) -> Locator:
        return self.card(key).locator(f'[data-field="{name}"]')

    async def says(self, key: str, **fields: Any) -> None:
        """Until the card of that property says so, by its `data-value`s."""
        for name, value in fields.items():
            await self.page.wait_for_function(
                """([key, name, value]) => {
                  const card = `[data-testid="listing"][data-property-id="${key}"]`;
                  const field = document.querySelector(`${card} [data-field="${name}"]`);
                  return field && JSON.stringify(JSON.parse(field.dataset.value)) === value;
                }""",
                arg=[key, name, json.dumps(value, separators=(",", ":"))],
                timeout=MILLISECONDS,
            )

    async def highlights(self, key: str, **olds: Any) -> None:
        """Until these fields of that card have lit up, with what they were before."""
        for name, old in olds.items():
            await self.page.wait_for_function(
                "(line) => window.highlights.includes(line)",
                arg=",".join((key, name, json.dumps(old))),
                timeout=MILLISECONDS,
            )

    async def offline(self, away: bool) -> None:
        if away:
            self.may_be_offline = True
        await self.context.set_offline(away)

    async def freeze(self) -> None:
        """As a browser does to a tab that nobody looks at: it is told that it is hidden, then
        nothing in it runs any more, whatever comes over its socket.
        """
        await self.page.evaluate(VISIBLE, "hidden")
        self._frozen = await self.context.new_cdp_session(self.page)
        await self._frozen.send("Debugger.enable")
        paused = asyncio.Event()
        self._frozen.once("Debugger.paused", lambda _: paused.set())
        # At the next statement, which may not be one of ours that we would wait for.
        await self._frozen.send("Debugger.pause")
        await asyncio.wait_for(paused.wait(), MILLISECONDS / 1000)

    async def position(self) -> str | None:
        """How far it has come in the log; a frozen page tells, too."""
        assert self._frozen is not None
        answer = await self._frozen.send(
            "Runtime.evaluate", {"expression": "window.__bridge.position()"}
        )
        position: str | None = answer["result"].get("value")
        return position

    async def wake(self) -> None:
        assert self._frozen is not None
        await self._frozen.send("Debugger.disable")
        await self._frozen.detach()
        await self.page.evaluate(VISIBLE, "visible")

    async def connects(self) -> int:
        number: int = await self.page.evaluate("window.__bridge.connects()")
        return number

    async def slow_down(self, factor: int) -> None:
        """As if its processor were that many times slower."""
        session = await self.context.new_cdp_session(self.page)
        await session.send("Emulation.setCPUThrottlingRate", {"rate": factor})

    def told(self, name: str | None = None) -> list[Heard]:
        """What was told of properties, or by one name."""
        return [
            heard
            for heard in self.heard
            if (heard.name == name if name else heard.name in truth.PROPERTY_EVENTS)
        ]

    def complaints(self) -> list[str]:
        """Faults that are none of what this test brought about."""
        return [
            fault for fault in self.faults if not (self.may_be_offline and OFFLINE.search(fault))
        ]

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.faults.append(f"{message.text} ({message.location.get('url')})")

    def _socket(self, socket: WebSocket) -> None:
        if "EIO=4" not in socket.url:
            return  # of the development server, for its own ends
        self.sockets += 1
        socket.on("framereceived", self._frame)

    def _frame(self, frame: str | bytes) -> None:
        text = frame if isinstance(frame, str) else frame.decode()
        if not text.startswith("42["):
            return
        name, envelope, *rest = json.loads(text[2:])
        position = rest[0] if rest else None
        single = envelope["data"]["events"] if name == "properties-batch" else [envelope]
        for each in single:
            self.heard.append(Heard(each["event"], each["data"], position))
