"""A browser tab with a page of the app: what it received over its sockets, and its errors."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bridge.settings import Settings
from tests.browser import expected
from tests.support.model_client import ModelClient
from tests.support.subscription import Subscription

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.async_api import (
        BrowserContext,
        CDPSession,
        ConsoleMessage,
        Locator,
        Page,
        WebSocket,
    )

UNUSED: Any = {"supabase_url": "http://127.0.0.1", "supabase_secret_key": "-"}
MILLISECONDS = 30_000
"""How long a test waits for a page."""

OFFLINE = re.compile(
    r"net::ERR_(INTERNET_DISCONNECTED|CONNECTION_REFUSED|CONNECTION_RESET|NETWORK_CHANGED)"
    r"|WebSocket connection to .* failed"
    r"|AJAXError: Failed to fetch"  # of the map
)
"""Console messages of Chromium while a page can't reach the bridge."""

REJECTED = re.compile(
    r"status of 40[03]|blocked by CORS policy|net::ERR_FAILED|WebSocket connection to .* failed"
)
"""Console messages of Chromium while the bridge rejects the page's origin."""

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
"""Records highlights, which may have ended before a test checks for them."""


@dataclass(frozen=True)
class ReceivedEvent:
    """An event of the bridge: its name, its `data`, and its position in the log."""

    name: str
    data: dict[str, Any]
    position: str | None

    @property
    def key(self) -> str:
        return str(self.data["property_id"])


class Tab:
    """A page of the app in a browser context of its own. Created by the fixture `open_tab`."""

    def __init__(
        self, context: BrowserContext, page: Page, url: str, *, bridge_runs: Callable[[], bool]
    ) -> None:
        """A page may be offline while `bridge_runs` returns False: a test ends its bridge before
        its pages are closed.
        """
        self.context = context
        self.page = page
        self.url = url
        self.sockets = 0
        """Number of websockets to the bridge that the page opened."""
        self.received: list[ReceivedEvent] = []
        """All events received over them; those of a batch one by one."""
        self.model = ModelClient(Settings(**UNUSED).projection, name=url, snapshots=False)
        """Checks the events of properties; the page reads its snapshots over HTTP."""
        self._bridge_runs = bridge_runs
        self._auth: dict[str, Any] = {}
        self._pid: str | None = None
        self.errors: list[str] = []
        """Errors of the page and of its console."""
        self.may_be_offline = False
        """Set by a test that cuts the network or ends the bridge."""
        self.may_be_rejected = False
        """Set by a test whose bridge rejects the page's origin."""
        self._frozen: CDPSession | None = None
        page.on("websocket", self._socket)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error}"))

    def __repr__(self) -> str:
        counts = f"{self.sockets} sockets, {len(self.received)} events"
        return f"at {self.page.url}, {counts}, {self.errors}"

    async def open(self, path: str = "/") -> None:
        """Open a page of the app, and wait until it has its listings and is live."""
        await self.page.goto(self.url + path)
        await self.until_live()

    async def until_live(self, session: str | None = None) -> None:
        """Wait for a connection; `session`: `fresh` or `recovered`."""
        wanted = '[data-testid="connection"][data-state="live"]'
        if session is not None:
            wanted += f'[data-session="{session}"]'
        await self.page.locator(wanted).first.wait_for(timeout=MILLISECONDS)
        ready = '[data-testid="listings"][data-ready="true"], [data-testid="empty"]'
        await self.page.locator(ready).first.wait_for(timeout=MILLISECONDS)

    async def until_state(self, *states: str) -> None:
        """Wait until the connection is in one of these states."""
        wanted = ", ".join(f'[data-testid="connection"][data-state="{state}"]' for state in states)
        await self.page.locator(wanted).first.wait_for(timeout=MILLISECONDS)

    async def until_shown(self, rows: expected.Rows) -> None:
        """Wait until the page holds exactly these rows, and its cards show their values."""
        await expected.until_shown(self.page, rows)

    async def rows(self) -> expected.Rows:
        """Return the rows that the page holds."""
        return expected.by_id(await self.page.evaluate("window.__bridge.rows()"))

    def card(self, key: str) -> Locator:
        return self.page.locator(f'[data-testid="listing"][data-property-id="{key}"]')

    def field(self, key: str, name: str) -> Locator:
        return self.card(key).locator(f'[data-field="{name}"]')

    async def until_card_has(self, key: str, **fields: Any) -> None:
        """Wait until the card of the property has these values, by its `data-value`s."""
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

    async def until_highlighted(self, key: str, **olds: Any) -> None:
        """Wait until these fields of the card were highlighted, with these old values."""
        for name, old in olds.items():
            await self.page.wait_for_function(
                "(line) => window.highlights.includes(line)",
                arg=",".join((key, name, json.dumps(old))),
                timeout=MILLISECONDS,
            )

    async def set_offline(self, offline: bool) -> None:
        if offline:
            self.may_be_offline = True
        await self.context.set_offline(offline)

    async def freeze(self) -> None:
        """Freeze the page as a browser does in the background: it becomes hidden, then none of its
        code runs, whatever its socket receives.
        """
        await self.page.evaluate(VISIBLE, "hidden")
        self._frozen = await self.context.new_cdp_session(self.page)
        await self._frozen.send("Debugger.enable")
        paused = asyncio.Event()
        self._frozen.once("Debugger.paused", lambda _: paused.set())
        # It pauses at the next statement, whichever that is.
        await self._frozen.send("Debugger.pause")
        await asyncio.wait_for(paused.wait(), MILLISECONDS / 1000)

    async def position(self) -> str | None:
        """Return the page's position in the log, also while it is frozen."""
        assert self._frozen is not None
        result = await self._frozen.send(
            "Runtime.evaluate", {"expression": "window.__bridge.position()"}
        )
        position: str | None = result["result"].get("value")
        return position

    async def wake(self) -> None:
        assert self._frozen is not None
        await self._frozen.send("Debugger.disable")
        await self._frozen.detach()
        await self.page.evaluate(VISIBLE, "visible")

    async def connects(self) -> int:
        number: int = await self.page.evaluate("window.__bridge.connects()")
        return number

    async def throttle_cpu(self, factor: int) -> None:
        """Slow down the page's CPU by this factor."""
        session = await self.context.new_cdp_session(self.page)
        await session.send("Emulation.setCPUThrottlingRate", {"rate": factor})

    def events(self, name: str | None = None) -> list[ReceivedEvent]:
        """Return the received events of properties, or those of one name."""
        return [
            received
            for received in self.received
            if (received.name == name if name else received.name in expected.PROPERTY_EVENTS)
        ]

    def unexpected_errors(self) -> list[str]:
        """Return the errors that the test did not cause by going offline or by a rejection."""
        return [
            error
            for error in self.errors
            if not (self.may_be_offline and OFFLINE.search(error))
            and not (self.may_be_rejected and REJECTED.search(error))
        ]

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            text = f"{message.text} ({message.location.get('url')})"
            if self._bridge_runs() or not OFFLINE.search(text):
                self.errors.append(text)

    def _socket(self, socket: WebSocket) -> None:
        if "EIO=4" not in socket.url:
            return  # of the development server
        self.sockets += 1
        if "sid=" in socket.url:
            # Its session began with polling, of which the tab sees neither handshake nor events.
            self.model.start(Subscription.of_handshake(self._auth))
            self.model.uncertain = True
            self._pid = None
        socket.on("framesent", self._on_sent)
        socket.on("framereceived", self._on_received)

    def _on_sent(self, frame: str | bytes) -> None:
        text = frame if isinstance(frame, str) else frame.decode()
        if text.startswith("40"):
            self._auth = json.loads(text[2:] or "{}")

    def _on_received(self, frame: str | bytes) -> None:
        text = frame if isinstance(frame, str) else frame.decode()
        if text.startswith("40"):
            pid = json.loads(text[2:]).get("pid")
            if pid is None or pid != self._pid:
                self.model.start(Subscription.of_handshake(self._auth))
            self._pid = pid
        elif text.startswith("43"):
            [ack] = json.loads(text[text.index("[") :])
            if ack["ok"] and "regions" in ack:
                self.model.subscribe(Subscription.of_ack(ack))
        elif text.startswith("42["):
            self._on_event(*json.loads(text[2:]))

    def _on_event(self, name: str, envelope: dict[str, Any], position: str | None = None) -> None:
        if name in {*expected.PROPERTY_EVENTS, "properties-batch", "bridge-status"}:
            self.model.receive(envelope, position)
        single = envelope["data"]["events"] if name == "properties-batch" else [envelope]
        for each in single:
            self.received.append(ReceivedEvent(each["event"], each["data"], position))
