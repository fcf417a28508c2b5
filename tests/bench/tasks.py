"""Cancellation of tasks."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for it. Raises the exception with which it failed before."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
