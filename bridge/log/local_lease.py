"""The lease of a log that one process has to itself."""

from __future__ import annotations

import asyncio


class LocalLease:
    """Implements `log.base.Lease`: held from the start until the process ends."""

    leading = True
    term = 1

    async def acquired(self) -> None: ...

    async def lost(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def release(self, *, pause: float = 0.0) -> None: ...
