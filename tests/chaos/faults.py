"""Everything that may go wrong, by name: what Realtime, PostgREST, the database, the network, the
clients and the machine are known to do.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from tests.chaos.role import named

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from tests.chaos.scene import Scene

Act: TypeAlias = "Callable[[Scene, random.Random, float], Awaitable[None]]"
"""Make the trouble, and return when it is over. Gets dice of its own, and how long trouble that
lasts is to last, in seconds."""


class NotHereError(Exception):
    """The trouble can't be had on this machine or with these settings."""


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    weight: int
    act: Act


FAULTS: Final[dict[str, Fault]] = {}
KEY_ONLY: Final = "alter table public.properties replica identity default"
WHOLE_ROWS: Final = "alter table public.properties replica identity full"


def fault(name: str, weight: int = 2) -> Callable[[Act], Act]:
    def add(act: Act) -> Act:
        FAULTS[name] = Fault(name, weight, act)
        return act

    return add


# -- Realtime


async def _once(scene: Scene, _dice: random.Random, _span: float, name: str, **how: Any) -> None:
    await scene.platform.fault(name, **how)


for word in (
    "mute",
    "oversize",
    "system_error",
    "system_error_close",
    "stale_phx_close",
    "phx_close",
    "phx_error",
    "expire_tokens",
    "half_open",
    "lose_pending",
    "rebuild",
    "kill_poller",
):
    fault(word)(partial(_once, name=word))
for code in (1000, 1001, 1006, 1011, 1012):
    fault(f"close_{code}", 1)(partial(_once, name="close", code=code))


async def _some(scene: Scene, dice: random.Random, _span: float, name: str) -> None:
    await scene.platform.fault(name, count=dice.randint(1, 12))


for word in ("drop", "duplicate", "garble"):
    fault(word, 3)(partial(_some, name=word))


async def _lasting(
    scene: Scene, _dice: random.Random, span: float, begin: dict[str, Any], end: dict[str, Any]
) -> None:
    await scene.platform.fault(**begin)
    if begin["name"] in ("late_system", "no_system", "refuse"):
        await scene.platform.fault("close", code=1006)
    await asyncio.sleep(span)
    await scene.platform.fault(**end)


for word, begin, end in (
    ("mute_new", {"name": "mute", "new": True}, {"name": "unmute"}),
    ("rate_limit", {"name": "rate_limit", "changes_per_second": 0}, None),
    ("late_system", {"name": "late_system", "seconds": 1.0}, {"name": "late_system", "seconds": 0}),
    ("no_system", {"name": "no_system"}, {"name": "no_system", "lifted": True}),
    ("refuse", {"name": "refuse"}, {"name": "accept"}),
    ("stall", {"name": "stall"}, {"name": "resume"}),
    ("rest_down", {"name": "rest-down"}, {"name": "rest-down", "on": False}),
    ("rest_hang", {"name": "rest-hang"}, {"name": "rest-hang", "on": False}),
    ("rest_delay", {"name": "rest-delay", "seconds": 0.2}, {"name": "rest-delay", "seconds": 0}),
):
    ending = end or {"name": "rate_limit", "changes_per_second": None}
    fault(word)(partial(_lasting, begin=begin, end=ending))


@fault("rest_fail")
async def _(scene: Scene, dice: random.Random, _span: float) -> None:
    status = dice.choice((500, 502, 503, 504, 429))
    await scene.platform.fault("rest-fail", n=dice.randint(1, 6), status=status)


@fault("realtime_restart")
async def _(scene: Scene, _dice: random.Random, span: float) -> None:
    await scene.platform.fault("restart", seconds=span)


@fault("stall_and_lose", 3)
async def _(scene: Scene, dice: random.Random, span: float) -> None:
    await scene.platform.fault("stall")
    await asyncio.sleep(span)
    await scene.platform.fault(dice.choice(("lose_pending", "rebuild", "kill_poller")))
    await scene.platform.fault("resume")


# -- the database


async def _postgres(scene: Scene, _dice: random.Random, _span: float, *, crash: bool) -> None:
    async with scene.database:
        await scene.platform.restart(crash=crash)


fault("postgres_restart", 1)(partial(_postgres, crash=False))
fault("postgres_crash", 1)(partial(_postgres, crash=True))


async def _statements(scene: Scene, _dice: random.Random, span: float, *statements: str) -> None:
    """One after the other, with a span between them."""
    async with scene.database:
        await scene.platform.execute(statements[0])
        for statement in statements[1:]:
            await asyncio.sleep(span)
            await scene.platform.execute(statement)


TABLE: Final = "public.properties"
for word, statements in (
    ("truncate", (f"truncate {TABLE}",)),
    ("identity", (KEY_ONLY, WHOLE_ROWS)),
    (
        "column",
        (
            f"alter table {TABLE} add column if not exists floors int default 3",
            f"alter table {TABLE} drop column if exists floors",
        ),
    ),
    (
        "publication",
        (
            f"alter publication supabase_realtime drop table {TABLE}",
            f"alter publication supabase_realtime set table {TABLE}",
        ),
    ),
    (
        "revoke",
        (f"revoke select on {TABLE} from service_role", f"grant select on {TABLE} to service_role"),
    ),
    (
        "security",
        (
            f"alter table {TABLE} disable row level security",
            f"alter table {TABLE} enable row level security",
        ),
    ),
):

    async def _alter(
        scene: Scene, dice: random.Random, span: float, *, which: tuple[str, ...] = statements
    ) -> None:
        await _statements(scene, dice, span, *which)

    fault(word, 1)(_alter)


# -- the bridge's process and its machine


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


# -- clients and their connections


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
        keys = list(role.auth.get("properties", ())) or ["00000000-0000-4000-8000-000000000000"]
        argument = named(dice, keys)
        if dice.random() < 0.5:
            request = {"name": "unsubscribe", "argument": argument}
        else:
            request = {"name": "subscribe", "argument": argument}
            if role.snapshots:
                argument["snapshot"] = True
        scene.tell(role.name, request=request)
