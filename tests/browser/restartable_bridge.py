"""A bridge that can be started, killed and restarted on one port, with one log."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx

from tests.acceptance.test_process import alive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from bridge.sandbox import Sandbox
    from tests.acceptance.conftest import BridgeProcess

SECONDS = 30


class RestartableBridge:
    def __init__(
        self,
        sandbox: Sandbox,
        origin: str,
        port: int,
        directory: Path,
        run: Callable[..., AbstractAsyncContextManager[BridgeProcess]],
    ) -> None:
        self.sandbox = sandbox
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._directory = directory
        self._run = run
        self._settings = {
            "SUPABASE_URL": sandbox.supabase_url,
            "SUPABASE_SECRET_KEY": sandbox.supabase_key,
            "BRIDGE_LOG": f"sqlite:///{directory}/log.sqlite3",
            "BRIDGE_CORS_ORIGINS": f"{origin},{origin.replace('localhost', '127.0.0.1')}",
        }

    @asynccontextmanager
    async def running(self, **settings: str) -> AsyncIterator[BridgeProcess]:
        """Run the bridge, ready inside; killed at the end. `settings`: environment variables."""
        environment = {**self._settings, **settings}
        async with self._run(
            self._directory, "serve", "--port", str(self.port), **environment
        ) as process:
            async with httpx.AsyncClient() as http:
                await alive(http, self.url)
                async with asyncio.timeout(SECONDS):
                    while (await http.get(self.url + "/readyz")).status_code != 200:
                        await asyncio.sleep(0.02)
            yield process

    async def kill(self, process: BridgeProcess) -> None:
        await process.end(signal.SIGKILL)

    async def until_watches_loaded(self) -> None:
        """Wait until the bridge has loaded all watches of the table."""
        [counted] = await self.sandbox.execute("select count(*) as n from property_watchers")
        async with asyncio.timeout(SECONDS):
            while (await self.status())["watchers"]["watches"] != counted["n"]:
                await asyncio.sleep(0.02)

    async def status(self) -> dict[str, Any]:
        async with httpx.AsyncClient() as http:
            answer: dict[str, Any] = (await http.get(self.url + "/status")).json()
            return answer
