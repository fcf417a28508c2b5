"""Spreads the disconnects of many clients over a time, so that their reconnects are spread, too."""

from __future__ import annotations

import asyncio
import math
import random
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

WAVE_SECONDS: Final = 0.25
"""Time between two waves."""

Item = TypeVar("Item")


async def in_waves(
    items: Iterable[Item],
    call: Callable[[Item], None],
    *,
    seconds: float,
    choose: Callable[[int], int] = random.randrange,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Call `call` with each item at a random time within `seconds`; with 0 at once.

    `choose(n)` returns a number below n: the wave of an item.
    """
    number = max(1, math.ceil(seconds / WAVE_SECONDS))
    waves: list[list[Item]] = [[] for _ in range(number)]
    for item in items:
        waves[choose(number)].append(item)
    started = asyncio.get_running_loop().time()
    for index, wave in enumerate(waves):
        if index:
            due = started + index * WAVE_SECONDS
            await sleep(max(0.0, due - asyncio.get_running_loop().time()))
        for item in wave:
            call(item)
