"""The miniature Supabase, seen from outside: its faults over HTTP, its database over SQL."""

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
    """Made by `Platform.open()`."""

    def __init__(self, process: asyncio.subprocess.Process, where: dict[str, str]) -> None:
        self.supabase_url = where["supabase_url"]
        self.supabase_key = where["supabase_key"]
        self.database_url = where["database_url"]
        self._process = process
        self._turns = asyncio.Lock()
        self._http = httpx.AsyncClient(base_url=self.supabase_url, timeout=20)

    @classmethod
    @asynccontextmanager
    async def open(cls, pace: float) -> AsyncIterator[Platform]:
        """`pace` scales the delays of Realtime; 1 is true."""
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
                where = json.loads(await process.stdout.readline())
            platform = cls(process, where)
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
        """One of `bridge.sandbox.realtime.faults.NAMES` or `bridge.sandbox.postgrest.faults.NAMES`.
        Raises `httpx.HTTPError` where another one is in the way.
        """
        answer = await self._http.post("/_sandbox/faults", json={"name": name, **options})
        answer.raise_for_status()

    async def counters(self) -> dict[str, int]:
        """What faults did, and what was read over REST, since it was opened."""
        answer = await self._http.get("/_sandbox/faults")
        answer.raise_for_status()
        counters: dict[str, int] = answer.json()
        return counters

    @property
    def pid(self) -> int:
        return self._process.pid

    async def restart(self, *, crash: bool) -> None:
        """PostgreSQL goes and comes back."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        async with self._turns:
            self._process.stdin.write(b"crash\n" if crash else b"restart\n")
            assert await self._process.stdout.readline(), "the platform has ended"

    async def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """One statement, committed, on a connection of its own. Tries until the database is there
        and no lock is in the way.
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
