"""Faults of the database server, injected on demand."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Protocol

from bridge.sandbox.postgres.slow_shutdown import GENUINE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable

log = logging.getLogger(__name__)

NAMES = ("postgres-restart", "postgres-slow-shutdown")


class Restart(Protocol):
    """Stops and starts PostgreSQL. `shutdown_seconds`: how long the shutdown takes."""

    async def __call__(self, *, crash: bool = False, shutdown_seconds: float = 0.0) -> None: ...


class PostgresFaults:
    """Restarts of PostgreSQL. They run in the background; `restarts` counts those that ended."""

    def __init__(self, restart: Restart) -> None:
        self.restarts = 0
        self._restart = restart
        self._running: asyncio.Task[None] | None = None

    def apply(self, name: str, **options: Any) -> None:
        """Begin a restart by name: `postgres-restart` (crash), `postgres-slow-shutdown` (seconds).
        Raises ValueError for another name or option, and while a restart runs.
        """
        try:
            match name:
                case "postgres-restart":
                    self.begin_restart(**options)
                case "postgres-slow-shutdown":
                    self.begin_slow_shutdown(**options)
                case _:
                    raise ValueError(f"expected one of {', '.join(NAMES)}, got {name!r}")
        except TypeError as error:
            raise ValueError(f"{name}: {error}") from error

    def begin_restart(self, *, crash: bool = False) -> None:
        """Restart PostgreSQL; `crash` stops it as a power failure does."""
        self._begin(crash=crash)

    def begin_slow_shutdown(self, *, seconds: float = GENUINE_SECONDS) -> None:
        """Restart PostgreSQL; its shutdown takes `seconds`, in which every connection is closed or
        refused, while the sockets of Realtime stay open.
        """
        self._begin(shutdown_seconds=seconds)

    async def close(self) -> None:
        """Cancel a restart that runs."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    def _begin(self, **options: Any) -> None:
        if self._running is not None and not self._running.done():
            raise ValueError("PostgreSQL is being restarted: wait until `restarts` has increased")
        self._running = asyncio.ensure_future(self._run(self._restart(**options)))

    async def _run(self, restart: Awaitable[None]) -> None:
        try:
            await restart
        except Exception:
            log.exception("PostgreSQL could not be restarted")
        else:
            self.restarts += 1
