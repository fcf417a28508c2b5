"""A client on python-socketio, which knows no recovery: whenever it comes, it reads all again."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import aiohttp
import socketio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.chaos.role import Role
    from tests.chaos.story import Story

EVENTS = (
    "property-created",
    "property-updated",
    "property-deleted",
    "properties-batch",
    "bridge-status",
)
RETRY_SECONDS = 0.3


class PythonClient:
    """Made by `PythonClient.open()`. Feeds its story."""

    def __init__(
        self, role: Role, story: Story, url: str, http: aiohttp.ClientSession
    ) -> None:
        self._role = role
        self._story = story
        self._url = url
        self._named: dict[str, Any] = role.auth
        self._requests: list[dict[str, Any]] = []
        self._turn = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._client = socketio.AsyncClient(
            reconnection_delay=0.05,
            reconnection_delay_max=0.5,
            # Our own loop ends it; its signal handlers are not wanted.
            handle_sigint=False,
            http_session=http,
        )
        self._client.on("connect", self._connected)
        self._client.on("disconnect", self._disconnected)
        for name in EVENTS:
            self._client.on(name, self._heard)

    @classmethod
    @asynccontextmanager
    async def open(cls, role: Role, story: Story, url: str) -> AsyncIterator[PythonClient]:
        async with aiohttp.ClientSession() as http:
            it = cls(role, story, url, http)
            going = asyncio.create_task(it._go())
            try:
                yield it
            finally:
                going.cancel()
                with suppress(asyncio.CancelledError):
                    await going
                for task in list(it._tasks):
                    task.cancel()
                # The library waits for a task of its own that it may have cancelled.
                with suppress(asyncio.CancelledError):
                    await it._client.shutdown()

    def tell(self, **command: Any) -> None:
        """As `Fleet.tell`."""
        if "request" in command:
            self._requests.append(command["request"])
            if len(self._requests) == 1:
                self._soon(self._ask())
        elif self._client.connected:
            self._soon(self._client.eio.disconnect(abort=True))

    async def _go(self) -> None:
        """Connect until it succeeds once; the library does the rest."""
        while True:
            try:
                await self._client.connect(
                    self._url,
                    transports=list(self._role.transports),
                    auth=lambda: self._named,
                    wait_timeout=4,
                )
            except socketio.exceptions.ConnectionError:
                await asyncio.sleep(RETRY_SECONDS)
            else:
                await self._client.wait()

    async def _connected(self) -> None:
        self._story.came(self._named, recovered=False, transport=self._client.transport())
        self._requests = [r for r in self._requests if not r.get("first")]
        for request in self._requests:
            request["argument"].pop("after", None)
        if self._role.snapshots:
            names = {k: self._named[k] for k in ("regions", "properties") if self._named.get(k)}
            argument = {**names, "snapshot": True}
            self._requests.insert(0, {"name": "subscribe", "argument": argument, "first": True})
        self._soon(self._ask())

    def _disconnected(self, reason: str = "") -> None:
        self._story.went(reason)

    def _heard(self, envelope: dict[str, Any]) -> None:
        self._story.told(envelope, None)

    async def _ask(self) -> None:
        if not self._requests or "/" not in self._client.namespaces:
            return
        self._turn += 1
        turn, request = self._turn, self._requests[0]
        asked = {"name": request["name"], "argument": dict(request["argument"])}

        def answered(answer: dict[str, Any]) -> None:
            self._story.answered(asked, answer)
            if turn == self._turn:
                self._soon(self._next(request, answer))

        self._story.asked()
        with suppress(socketio.exceptions.SocketIOError):
            await self._client.emit(asked["name"], asked["argument"], callback=answered)

    async def _next(self, request: dict[str, Any], answer: dict[str, Any]) -> None:
        if not answer["ok"]:
            if answer["error"]["code"] == "cursor_gone":
                request["argument"].pop("after", None)
            await asyncio.sleep(RETRY_SECONDS)
        else:
            regions, properties = answer["regions"], answer["properties"]
            nothing = regions is not None and not regions and not properties
            self._named = {
                **self._named,
                "regions": ["nowhere"] if nothing else regions or [],
                "properties": properties,
            }
            if "more" in answer:
                request["argument"]["after"] = answer["more"]
            else:
                self._requests.remove(request)
        await self._ask()

    def _soon(self, doing: Any) -> None:
        task = asyncio.ensure_future(doing)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
