"""A python-socketio client. It has no recovery, so each connection starts with a snapshot."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import aiohttp
import socketio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.chaos.client_session import ClientSession
    from tests.chaos.client_spec import ClientSpec

EVENTS = (
    "property-created",
    "property-updated",
    "property-deleted",
    "properties-batch",
    "bridge-status",
)
RETRY_SECONDS = 0.3


class PythonClient:
    """Created by `PythonClient.open()`. Feeds its session.

    Each connection has a `socketio.AsyncClient` of its own, because after a connection that broke
    off the library may wait half a minute for its own loops before it reconnects.
    """

    def __init__(self, spec: ClientSpec, session: ClientSession, url: str) -> None:
        self._spec = spec
        self._session = session
        self._url = url
        self._auth: dict[str, Any] = spec.auth
        self._requests: list[dict[str, Any]] = []
        self._request_count = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._connection: asyncio.Task[None] | None = None
        self._client = socketio.AsyncClient()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, spec: ClientSpec, session: ClientSession, url: str
    ) -> AsyncIterator[PythonClient]:
        client = cls(spec, session, url)
        running = asyncio.create_task(client._run())
        try:
            yield client
        finally:
            for task in (running, *client._tasks):
                task.cancel()
            await asyncio.gather(running, *client._tasks, return_exceptions=True)

    def command(self, **command: Any) -> None:
        """Run a command of `JsClients.command`; `drop` and `goodbye` do the same here."""
        if "request" in command:
            self._requests.append(command["request"])
            if len(self._requests) == 1:
                self._start(self._send())
        elif self._connection is not None:
            self._connection.cancel()

    async def _run(self) -> None:
        try:
            while True:
                self._connection = asyncio.create_task(self._connect())
                await asyncio.wait({self._connection})
                if not self._connection.cancelled():
                    self._connection.result()
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            if self._connection is not None:
                self._connection.cancel()
                await asyncio.wait({self._connection})

    async def _connect(self) -> None:
        """Connect, and return when the connection has ended."""
        ended, ending = asyncio.Event(), None
        async with aiohttp.ClientSession() as http:
            # aiohttp sends a GET again, without an error, if its connection is reset. A poll whose
            # response was lost would then look answered, and its packets would be missing.
            http._retry_connection = False
            client = self._client = socketio.AsyncClient(
                reconnection=False,
                handle_sigint=False,  # the run itself handles it
                http_session=http,
            )
            client.on("connect", self._on_connect)
            client.on("disconnect", lambda _reason: ended.set())
            for name in EVENTS:
                client.on(name, self._on_event)
            try:
                await client.connect(
                    self._url,
                    transports=list(self._spec.transports),
                    auth=lambda: self._auth,
                    wait_timeout=4,
                )
                # Its read loop may end without a disconnect event, after a response that broke off.
                ending = asyncio.create_task(ended.wait())
                await asyncio.wait(
                    {ending, client.eio.read_loop_task}, return_when=asyncio.FIRST_COMPLETED
                )
            except socketio.exceptions.ConnectionError:
                pass
            finally:
                client.handlers.clear()
                if self._session.connected:
                    self._session.on_disconnect("")
                for task in (ending, client.eio.read_loop_task, client.eio.write_loop_task):
                    if task is not None:
                        task.cancel()

    def _on_connect(self) -> None:
        self._session.on_connect(self._auth, recovered=False, transport=self._client.transport())
        self._requests = [r for r in self._requests if not r.get("first")]
        for request in self._requests:
            request["argument"].pop("after", None)
        if self._spec.snapshots:
            names = {k: self._auth[k] for k in ("regions", "properties") if self._auth.get(k)}
            argument = {**names, "snapshot": True}
            self._requests.insert(0, {"name": "subscribe", "argument": argument, "first": True})
        self._start(self._send())

    def _on_event(self, envelope: dict[str, Any]) -> None:
        self._session.receive(envelope)

    async def _send(self) -> None:
        if not self._requests or "/" not in self._client.namespaces:
            return
        self._request_count += 1
        number, request = self._request_count, self._requests[0]
        sent = {"name": request["name"], "argument": dict(request["argument"])}

        def on_ack(ack: dict[str, Any]) -> None:
            self._session.on_ack(sent, ack)
            if number == self._request_count:
                self._start(self._next(request, ack))

        self._session.on_request()
        with suppress(socketio.exceptions.SocketIOError):
            await self._client.emit(sent["name"], sent["argument"], callback=on_ack)

    async def _next(self, request: dict[str, Any], ack: dict[str, Any]) -> None:
        if not ack["ok"]:
            if ack["error"]["code"] == "cursor_gone":
                request["argument"].pop("after", None)
            await asyncio.sleep(RETRY_SECONDS)
        else:
            regions, properties = ack["regions"], ack["properties"]
            empty = regions is not None and not regions and not properties
            self._auth = {
                **self._auth,
                "regions": ["nowhere"] if empty else regions or [],
                "properties": properties,
            }
            if "more" in ack:
                request["argument"]["after"] = ack["more"]
            else:
                self._requests.remove(request)
        await self._send()

    def _start(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
