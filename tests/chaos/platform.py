"""The sandbox in another process: faults over HTTP, the database over SQL."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import psycopg

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

START_SECONDS = 60


class Platform:
    """Created by `Platform.open()`."""

    def __init__(self, process: asyncio.subprocess.Process, addresses: dict[str, str]) -> None:
        self.supabase_url = addresses["supabase_url"]
        self.supabase_key = addresses["supabase_key"]
        self.database_url = addresses["database_url"]
        self._process = process
        self._restarting = asyncio.Lock()
        self._http = httpx.AsyncClient(base_url=self.supabase_url, timeout=20)

    @classmethod
    @asynccontextmanager
    async def open(cls, pace: float) -> AsyncIterator[Platform]:
        """Start a sandbox. `pace` scales the delays of Realtime; 1 stands for the real ones."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.chaos.platform_process",
            str(pace),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(START_SECONDS):
                addresses = json.loads(await process.stdout.readline())
            platform = cls(process, addresses)
            async with platform._http:
                yield platform
        finally:
            process.stdin.close()
            try:
                async with asyncio.timeout(START_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()

    async def fault(self, name: str, **options: Any) -> None:
        """Inject a fault of `bridge.sandbox.realtime.faults` or `bridge.sandbox.postgrest.faults`.

        Raises `httpx.HTTPError` if an active fault prevents it.
        """
        answer = await self._http.post("/_sandbox/faults", json={"name": name, **options})
        answer.raise_for_status()

    async def counters(self) -> dict[str, int]:
        """Return the counts of injected faults and of rows read over REST since the start."""
        answer = await self._http.get("/_sandbox/faults")
        answer.raise_for_status()
        counters: dict[str, int] = answer.json()
        return counters

    @property
    def pid(self) -> int:
        return self._process.pid

    async def restart(self, *, crash: bool = False, shutdown_seconds: float = 0.0) -> None:
        """Restart PostgreSQL; `crash` ends it without a shutdown, which else takes
        `shutdown_seconds`.
        """
        options = {"crash": crash, "shutdown_seconds": shutdown_seconds}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        async with self._restarting:
            self._process.stdin.write(json.dumps(options).encode() + b"\n")
            assert await self._process.stdout.readline(), "the platform has ended"

    async def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement, committed, on a connection of its own, and return its rows.

        Retried while the database is down or a lock is held, for up to 60 s.
        """
        async with asyncio.timeout(START_SECONDS):
            while True:
                try:
                    async with await psycopg.AsyncConnection.connect(
                        self.database_url, autocommit=True, options="-c lock_timeout=1000"
                    ) as connection:
                        cursor = await connection.execute(statement.encode())
                        return await cursor.fetchall() if cursor.description else []
                except (psycopg.OperationalError, psycopg.errors.DeadlockDetected):
                    await asyncio.sleep(0.1)
