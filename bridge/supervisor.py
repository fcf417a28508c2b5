"""Runs the long-lived tasks of the bridge; the first failure stops all of them."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping


async def run_until_failure(parts: Mapping[str, Coroutine[Any, Any, None]]) -> BaseException:
    """Run the parts, by name, until cancelled. None of them may end by itself: as soon as one has,
    the others are cancelled, and the error is returned.

    The error is not raised: the server runs its requests inside the lifespan and does not notice an
    exception there before it stops.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            for name, part in parts.items():
                tasks.create_task(_run_endless(name, part), name=name)
    except Exception as error:  # noqa: BLE001 - any failure ends the process
        return _cause(error)
    raise AssertionError("expected at least one part")


def end_process(error: BaseException) -> None:  # noqa: ARG001 - the shape of `Bridge.on_failure`
    """Stop the process by SIGTERM, so that its process manager starts it again."""
    os.kill(os.getpid(), signal.SIGTERM)


async def _run_endless(name: str, part: Coroutine[Any, Any, None]) -> None:
    await part
    raise RuntimeError(f"the {name} ended, but has to run until it is cancelled")


def _cause(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
