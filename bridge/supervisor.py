"""The parts of the bridge that run side by side for ever, and the death of one of them."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping


async def run_until_failure(parts: Mapping[str, Coroutine[Any, Any, None]]) -> BaseException:
    """Run the parts, by their names, until this is cancelled. None of them may end by itself: as
    soon as one has, the others are ended too, and what was wrong is given.

    It is not raised: this runs beside whatever the server does inside the lifespan, and a server
    does not look at its lifespan until it stops.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            for name, part in parts.items():
                tasks.create_task(_endless(name, part), name=name)
    except Exception as error:  # noqa: BLE001 - whatever it was, the process has to go
        return _cause(error)
    raise AssertionError("there were no parts")


def end_process(error: BaseException) -> None:  # noqa: ARG001 - the shape of `Bridge.on_failure`
    """Ask the process to stop as its operator would, so that whoever watches it starts it anew."""
    os.kill(os.getpid(), signal.SIGTERM)


async def _endless(name: str, part: Coroutine[Any, Any, None]) -> None:
    await part
    raise RuntimeError(f"the {name} has ended, which it never should")


def _cause(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
