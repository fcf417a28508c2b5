"""`bridge serve` as a process that can be killed and restarted with the same log and port."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx

from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.chaos.platform import Platform

POLL_SECONDS: Final = 0.05
READY_SECONDS: Final = 600.0
STOP_SECONDS: Final = 30.0
SCAN_LOGGED: Final = re.compile(
    r"((?:full|recent|key) scan.*?): (\d+) (?:rows|keys), .*?([\d.]+) s, "
)


class Site:
    """A bridge with its log in `folder`, on a constant port."""

    def __init__(self, platform: Platform, folder: Path, **settings: str) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("BRIDGE_", "SUPABASE_"))}
        clean["BRIDGE_LOG_FORMAT"] = "text"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log_file = folder / "bridge.log"
        self._environment = clean | {
            "SUPABASE_URL": platform.supabase_url,
            "SUPABASE_SECRET_KEY": platform.supabase_key,
            "BRIDGE_LOG": f"sqlite:///{folder / 'log.sqlite3'}",
            "BRIDGE_PORT": str(self.port),
            **settings,
        }
        self._process: asyncio.subprocess.Process | None = None
        self._http = httpx.AsyncClient(base_url=self.url, timeout=30)

    @classmethod
    @asynccontextmanager
    async def open(cls, platform: Platform, folder: Path, **settings: str) -> AsyncIterator[Site]:
        """Prepare a bridge that is not started; kill it at the end if it runs."""
        site = cls(platform, folder, **settings)
        try:
            async with site._http:
                yield site
        finally:
            if site._process is not None and site._process.returncode is None:
                site._process.kill()
                await site._process.wait()

    @property
    def pid(self) -> int:
        assert self._process is not None, "the bridge has not been started"
        return self._process.pid

    @property
    def logged(self) -> str:
        """The output so far, of all its processes."""
        return self._log_file.read_text()

    async def start(self) -> None:
        """Start the process without waiting for readiness (see `ready`)."""
        with self._log_file.open("ab") as stderr:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bridge", "serve", env=self._environment, stderr=stderr
            )

    async def ready(self) -> float:
        """Wait until /readyz returns 200. Return the seconds waited."""
        began = time.monotonic()
        async with asyncio.timeout(READY_SECONDS):
            while True:
                with suppress(httpx.TransportError):
                    if (await self._http.get("/readyz")).status_code == 200:
                        return time.monotonic() - began
                if self._process is None or self._process.returncode is not None:
                    raise RuntimeError(f"the bridge exited:\n{self.logged[-2000:]}")
                await asyncio.sleep(POLL_SECONDS)

    async def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        """Send SIGTERM. Return the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_SECONDS):
            return await self._process.wait()

    async def status(self) -> dict[str, Any]:
        answer = await self._http.get("/status")
        answer.raise_for_status()
        status: dict[str, Any] = answer.json()
        return status

    async def pipeline(self) -> dict[str, Any]:
        pipeline: dict[str, Any] = (await self.status())["pipeline"]
        return pipeline

    async def quiet(self, seconds: float = READY_SECONDS) -> None:
        """Wait until the scan that follows each new subscription by some seconds has begun, no scan
        runs, and no row waits for a re-read.
        """
        async with asyncio.timeout(seconds):
            while True:
                pipeline = await self.pipeline()
                settled = pipeline["counts"].get("gaps", 0) > 0
                if settled and not pipeline["passing"] and not pipeline["doubts"]:
                    return
                await asyncio.sleep(POLL_SECONDS)

    async def rows(self) -> tuple[str, list[dict[str, Any]]]:
        """Return the position and the rows of GET /properties."""
        answer = await self._http.get("/properties")
        answer.raise_for_status()
        return answer.headers["Bridge-Position"], answer.json()

    def scans(self, name: str, since: int = 0) -> list[tuple[int, float]]:
        """Return (rows or keys read, seconds) of the scans with names that begin with `name` and
        were logged after `since` characters.
        """
        return [
            (int(found[2]), float(found[3]))
            for found in SCAN_LOGGED.finditer(self.logged, since)
            if found[1].startswith(name)
        ]
