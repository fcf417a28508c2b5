"""What happens to the process of the bridge, and to the machine that it runs on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.chaos.fault import Faults, NotHereError

if TYPE_CHECKING:
    import random

    from tests.chaos.scene import Scene

fault = Faults()


@fault("kill", 5)
async def _(scene: Scene, dice: random.Random, _span: float) -> None:
    async with scene.process:
        await scene.bridge.kill(dice.uniform(0, 1))


@fault("kill_starting", 2)
async def _(scene: Scene, dice: random.Random, _span: float) -> None:
    async with scene.process:
        for _ in range(dice.randint(2, 4)):
            await scene.bridge.kill(0)
            await scene.bridge.running()
            await asyncio.sleep(dice.uniform(0, 2.5))


@fault("kill_in_pass", 3)
async def _(scene: Scene, dice: random.Random, span: float) -> None:
    async with scene.process:
        await scene.platform.fault("stall")
        await asyncio.sleep(span / 2)
        await scene.platform.fault("rebuild")
        await asyncio.sleep(dice.uniform(0, 0.3))
        await scene.bridge.kill(0)


@fault("stop", 2)
async def _(scene: Scene, dice: random.Random, _span: float) -> None:
    async with scene.process:
        await scene.bridge.stop(dice.uniform(0, 1))


@fault("freeze", 2)
async def _(scene: Scene, _dice: random.Random, span: float) -> None:
    async with scene.process:
        await scene.bridge.freeze()
        await asyncio.sleep(span)
        await scene.bridge.thaw()


@fault("clock", 2)
async def _(scene: Scene, dice: random.Random, _span: float) -> None:
    scene.bridge.set_clock(dice.choice((0, 5, -5, 60, -60, 3600, -3600, 400 * 86400)))


@fault("disk_full", 2)
async def _(scene: Scene, _dice: random.Random, span: float) -> None:
    if scene.disk is None:
        raise NotHereError
    async with scene.process:
        scene.bridge.forgiven = True
        await scene.disk.fill()
        await asyncio.sleep(span)
        scene.disk.empty()
        await scene.bridge.ready()
        scene.bridge.forgiven = False
