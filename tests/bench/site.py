"""`bridge serve` as a process of its own, which can be killed and started again where it was."""

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

from tests.acceptance.test_process import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.chaos.platform import Platform

LOOK_SECONDS: Final = 0.05
READY_SECONDS: Final = 600.0
END_SECONDS: Final = 30.0
SETTLED: Final = b"changes may be missing: settled"
WALKED: Final = re.compile(
    r"((?:full|recent|key) scan)( \(.*?\))?: (\d+) (rows|keys), .*?([\d.]+) s, "
)


class Site:
    """A bridge with a log in `folder`, always on the same port."""

    def __init__(self, platform: Platform, folder: Path, **settings: str) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("BRIDGE_", "SUPABASE_"))}
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._said = folder / "bridge.log"
        self._environment = clean | {
            "SUPABASE_URL": platform.supabase_url,
            "SUPABASE_SECRET_KEY": platform.supabase_key,
            "BRIDGE_LOG": f"sqlite:///{folder / 'log.sqlite3'}",
            "BRIDGE_PORT": str(self.port),
            **settings,
        }
        self._process: asyncio.subprocess.Process | None = None
        self._began = 0  # where in its log the present process begins
        self._http = httpx.AsyncClient(base_url=self.url, timeout=30)

    @classmethod
    @asynccontextmanager
    async def open(cls, platform: Platform, folder: Path, **settings: str) -> AsyncIterator[Site]:
        """Nothing runs yet inside; whatever runs at the end is killed."""
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
    def said(self) -> str:
        """All that it has logged so far."""
        return self._said.read_text()

    @property
    def settled(self) -> bool:
        """Whether the present process has begun to read the table once more, which it does some
        seconds after each new subscription.
        """
        return SETTLED in self._said.read_bytes()[self._began :]

    async def start(self) -> None:
        """Returns at once; `ready` waits."""
        with self._said.open("ab") as stderr:
            self._began = stderr.tell()
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bridge", "serve", env=self._environment, stderr=stderr
            )

    async def ready(self) -> float:
        """Seconds from now until /readyz agrees."""
        began = time.monotonic()
        async with asyncio.timeout(READY_SECONDS):
            while True:
                with suppress(httpx.TransportError):
                    if (await self._http.get("/readyz")).status_code == 200:
                        return time.monotonic() - began
                if self._process is None or self._process.returncode is not None:
                    raise RuntimeError(f"the bridge has ended:\n{self.said[-2000:]}")
                await asyncio.sleep(LOOK_SECONDS)

    async def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        """The exit code of an end in order."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(END_SECONDS):
            return await self._process.wait()

    async def status(self) -> dict[str, Any]:
        answer = await self._http.get("/status")
        answer.raise_for_status()
        told: dict[str, Any] = answer.json()
        return told

    async def pipeline(self) -> dict[str, Any]:
        told: dict[str, Any] = (await self.status())["pipeline"]
        return told

    async def quiet(self, seconds: float = READY_SECONDS) -> None:
        """Until nothing is looked for any more and no row is in doubt, after a start not before
        it has `settled`.
        """
        async with asyncio.timeout(seconds):
            while True:
                pipeline = await self.pipeline()
                if self.settled and not pipeline["passing"] and not pipeline["doubts"]:
                    return
                await asyncio.sleep(LOOK_SECONDS)

    async def rows(self) -> tuple[str, list[dict[str, Any]]]:
        """What GET /properties gives: the position, and the rows at it."""
        answer = await self._http.get("/properties")
        answer.raise_for_status()
        return answer.headers["Bridge-Position"], answer.json()

    def walks(self, name: str, since: int = 0) -> list[tuple[int, float]]:
        """Of the walks whose name begins so and that were logged behind `since` characters: what
        was read, and the seconds that it took.
        """
        return [
            (int(found[3]), float(found[5]))
            for found in WALKED.finditer(self.said, since)
            if found[1] == name
        ]
