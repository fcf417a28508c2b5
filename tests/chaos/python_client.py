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
    """Made by `PythonClient.open()`. Feeds its story.

    Each connection is a client of its own, because the library, once a connection has ended badly,
    may wait half a minute for its own loops before it connects again.
    """

    def __init__(self, role: Role, story: Story, url: str) -> None:
        self._role = role
        self._story = story
        self._url = url
        self._named: dict[str, Any] = role.auth
        self._requests: list[dict[str, Any]] = []
        self._turn = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._life: asyncio.Task[None] | None = None
        self._client = socketio.AsyncClient()

    @classmethod
    @asynccontextmanager
    async def open(cls, role: Role, story: Story, url: str) -> AsyncIterator[PythonClient]:
        it = cls(role, story, url)
        going = asyncio.create_task(it._go())
        try:
            yield it
        finally:
            for task in (going, *it._tasks):
                task.cancel()
            await asyncio.gather(going, *it._tasks, return_exceptions=True)

    def tell(self, **command: Any) -> None:
        """As `Fleet.tell`; to go in order and to be dropped are the same here."""
        if "request" in command:
            self._requests.append(command["request"])
            if len(self._requests) == 1:
                self._soon(self._ask())
        elif self._life is not None:
            self._life.cancel()

    async def _go(self) -> None:
        try:
            while True:
                self._life = asyncio.create_task(self._live())
                await asyncio.wait({self._life})
                if not self._life.cancelled():
                    self._life.result()
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            if self._life is not None:
                self._life.cancel()
                await asyncio.wait({self._life})

    async def _live(self) -> None:
        """One connection, to its end."""
        ended, ending = asyncio.Event(), None
        async with aiohttp.ClientSession() as http:
            client = self._client = socketio.AsyncClient(
                reconnection=False,
                handle_sigint=False,  # our own loop ends it
                http_session=http,
            )
            client.on("connect", self._connected)
            client.on("disconnect", lambda _reason: ended.set())
            for name in EVENTS:
                client.on(name, self._heard)
            try:
                await client.connect(
                    self._url,
                    transports=list(self._role.transports),
                    auth=lambda: self._named,
                    wait_timeout=4,
                )
                # Its reader may end without a word, by an answer that broke off.
                ending = asyncio.create_task(ended.wait())
                await asyncio.wait(
                    {ending, client.eio.read_loop_task}, return_when=asyncio.FIRST_COMPLETED
                )
            except socketio.exceptions.ConnectionError:
                pass
            finally:
                client.handlers.clear()
                if self._story.connected:
                    self._story.went("")
                for task in (ending, client.eio.read_loop_task, client.eio.write_loop_task):
                    if task is not None:
                        task.cancel()

    def _connected(self) -> None:
        self._story.came(self._named, recovered=False, transport=self._client.transport())
        self._requests = [r for r in self._requests if not r.get("first")]
        for request in self._requests:
            request["argument"].pop("after", None)
        if self._role.snapshots:
            names = {k: self._named[k] for k in ("regions", "properties") if self._named.get(k)}
            argument = {**names, "snapshot": True}
            self._requests.insert(0, {"name": "subscribe", "argument": argument, "first": True})
        self._soon(self._ask())

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
