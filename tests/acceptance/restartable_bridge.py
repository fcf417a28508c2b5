"""A bridge that can be ended and restarted on one port, with one log."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx

from tests.acceptance.test_process import alive
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from bridge.sandbox import Sandbox
    from tests.acceptance.conftest import BridgeProcess

    RunBridge = Callable[..., AbstractAsyncContextManager[BridgeProcess]]

SECONDS = 30


class RestartableBridge:
    """`run` starts `python -m bridge`, see `bridge_process`; `settings`: environment variables."""

    def __init__(
        self,
        run: RunBridge,
        sandbox: Sandbox,
        log: str,
        *,
        port: int | None = None,
        **settings: str,
    ) -> None:
        self.sandbox = sandbox
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.runs = False
        """Whether a test is inside `running`."""
        self._run = run
        self._settings = {
            "SUPABASE_URL": sandbox.supabase_url,
            "SUPABASE_SECRET_KEY": sandbox.supabase_key,
            "BRIDGE_LOG": log,
            **settings,
        }

    @asynccontextmanager
    async def running(self, **settings: str) -> AsyncIterator[BridgeProcess]:
        """Run the bridge, ready inside; killed at the end."""
        async with self.start(self.port, **settings) as process:
            async with httpx.AsyncClient() as http:
                await alive(http, self.url)
                async with asyncio.timeout(SECONDS):
                    while not await self._ready(http):
                        await asyncio.sleep(0.02)
            self.runs = True
            try:
                yield process
            finally:
                self.runs = False

    async def _ready(self, http: httpx.AsyncClient) -> bool:
        try:
            return (await http.get(self.url + "/readyz")).status_code == 200
        except httpx.TransportError:
            # Processes of the bridge before answered last, and have ended since.
            return False

    def start(self, port: int, **settings: str) -> AbstractAsyncContextManager[BridgeProcess]:
        """Start a bridge with these settings on a port, without waiting for it."""
        environment = {**self._settings, **settings}
        return self._run("serve", "--port", str(port), **environment)

    async def kill(self, process: BridgeProcess) -> None:
        await process.end(signal.SIGKILL)

    async def until_watches_loaded(self) -> None:
        """Wait until the bridge has loaded all watches of the table."""
        [counted] = await self.sandbox.execute("select count(*) as n from property_watchers")
        async with asyncio.timeout(SECONDS):
            while (await self.status())["watchers"]["watches"] != counted["n"]:
                await asyncio.sleep(0.02)

    async def status(self) -> dict[str, Any]:
        """Return the answer of GET /status."""
        async with httpx.AsyncClient() as http:
            answer: dict[str, Any] = (await http.get(self.url + "/status")).json()
            return answer
