"""Official clients that move from polls to websockets while events are told: is any lost?"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from tests.bench.rig import SECONDS

if TYPE_CHECKING:
    from tests.bench.rig import Rig

RATE = 200
EVERY_SECONDS = 0.02
"""Between two clients that come."""

MORE_SECONDS = 5
"""How long events are told after the last client came."""


def measure(
    rig: Rig, names: list[str], clients: int, rounds: int
) -> dict[str, list[dict[str, dict[str, Any]]]]:
    out: dict[str, list[dict[str, dict[str, Any]]]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names:
            print(f"round {number + 1}: {name}", file=sys.stderr)
            out[name].append(_measure(rig, name, clients))
    return out


def _measure(rig: Rig, name: str, clients: int) -> dict[str, dict[str, Any]]:
    with rig.server(name) as server:
        port = server.answer()["port"]
        time.sleep(0.5)
        before = server.cpu
        events = int(RATE * (clients * EVERY_SECONDS + MORE_SECONDS))
        with rig.fleet(port, clients) as fleet:
            server.say(f"tell {events} {RATE} 1")
            assert fleet.answer() == {"upgraded": clients}
            server.answer()
            until = time.monotonic() + SECONDS
            while (report := fleet.ask("?"))["behind"] < events - 1:
                assert time.monotonic() < until, report
                time.sleep(0.05)
        spent = server.cpu - before
    if name == "bridge":
        assert report["gaps"] == report["repeats"] == 0, report
    return {
        "upgrades under fire": {
            "cpu_us": spent.total / clients * 1e6,
            **{key: report[key] for key in ("gaps", "repeats", "reconnects", "events")},
        }
    }
