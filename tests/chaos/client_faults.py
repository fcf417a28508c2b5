"""What happens to clients and their connections, and what they do themselves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.chaos.fault import Faults
from tests.chaos.role import named

if TYPE_CHECKING:
    import random

    from tests.chaos.scene import Scene

fault = Faults()


def _few(scene: Scene, dice: random.Random) -> list[str]:
    """The names of some clients that are behind lines."""
    names = list(scene.lines)
    return dice.sample(names, dice.randint(1, max(1, len(names) // 3)))


@fault("cut", 6)
async def _(scene: Scene, dice: random.Random, _span: float) -> None:
    for name in _few(scene, dice):
        scene.lines[name].cut()


@fault("cut_all", 1)
async def _(scene: Scene, _dice: random.Random, _span: float) -> None:
    for line in scene.lines.values():
        line.cut()


@fault("stall_clients", 3)
async def _(scene: Scene, dice: random.Random, span: float) -> None:
    names = _few(scene, dice)
    for name in names:
        scene.lines[name].stall()
    await asyncio.sleep(span)
    for name in names:
        scene.lines[name].resume()


@fault("half_open_clients", 3)
async def _(scene: Scene, dice: random.Random, span: float) -> None:
    names = _few(scene, dice)
    for name in names:
        scene.lines[name].swallow()
        if dice.random() < 0.5:
            # It notices, and comes back while its former connection still seems to stand.
            scene.tell(name, drop=True)
    await asyncio.sleep(span)
    for name in names:
        scene.lines[name].heal()


@fault("drop_clients", 4)
async def _(scene: Scene, dice: random.Random, _span: float) -> None:
    for name in _few(scene, dice):
        scene.tell(name, drop=True)


@fault("goodbye", 1)
async def _(scene: Scene, dice: random.Random, _span: float) -> None:
    for name in _few(scene, dice)[:3]:
        scene.tell(name, goodbye=True)


@fault("resubscribe", 14)
async def _(scene: Scene, dice: random.Random, _span: float) -> None:
    """Those who are restless hear something else from now on."""
    restless = [role for role in scene.roles if role.restless]
    for role in dice.sample(restless, min(len(restless), dice.randint(1, 3))):
        argument = named(dice, scene.keys)
        if dice.random() < 0.5:
            request = {"name": "unsubscribe", "argument": argument}
        else:
            request = {"name": "subscribe", "argument": argument}
            if role.snapshots:
                argument["snapshot"] = True
        scene.tell(role.name, request=request)
