"""What Realtime, PostgREST and the database are known to do."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from tests.chaos.fault import Faults

if TYPE_CHECKING:
    import random

    from tests.chaos.scene import Scene

fault = Faults()

TABLE: Final = "public.properties"
KEY_ONLY: Final = f"alter table {TABLE} replica identity default"
WHOLE_ROWS: Final = f"alter table {TABLE} replica identity full"


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


@fault("huge", 1)
async def _(scene: Scene, dice: random.Random, span: float) -> None:
    """A value that is too large for a message of Realtime, and for a client that is slow."""
    key = dice.choice(scene.keys)
    for text in ("(select string_agg(md5(n::text), '') from generate_series(1, 35000) n)", "null"):
        await scene.platform.execute(f"update {TABLE} set address = {text} where id = '{key}'")
        await asyncio.sleep(span)
