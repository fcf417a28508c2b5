"""Official clients that upgrade from polling to websocket under load: lost and repeated events."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.bench.figures import Figures, in_rounds
from tests.bench.rig import TIMEOUT_SECONDS

if TYPE_CHECKING:
    from tests.bench.rig import Rig

RATE = 200
CONNECT_INTERVAL_SECONDS = 0.02
"""Seconds between two connects."""

PUBLISH_AFTER_SECONDS = 5
"""Seconds for which events are published after the last connect."""


def measure(rig: Rig, names: list[str], clients: int, rounds: int) -> dict[str, list[Figures]]:
    """Measure with a new server in each round. Raises AssertionError if the bridge loses one."""
    return in_rounds(names, rounds, lambda name: _measure(rig, name, clients))


def _measure(rig: Rig, name: str, clients: int) -> Figures:
    with rig.server(name) as server:
        port = server.answer()["port"]
        time.sleep(0.5)
        before = server.cpu
        events = int(RATE * (clients * CONNECT_INTERVAL_SECONDS + PUBLISH_AFTER_SECONDS))
        with rig.fleet(port, clients) as fleet:
            server.send(f"tell {events} {RATE} 1")
            assert fleet.answer() == {"upgraded": clients}
            server.answer()
            until = time.monotonic() + TIMEOUT_SECONDS
            while (report := fleet.ask("?"))["behind"] < events - 1:
                assert time.monotonic() < until, report
                time.sleep(0.05)
        spent = server.cpu - before
    if name == "bridge":
        assert report["gaps"] == report["repeats"] == 0, report
    return {
        "upgrades under load": {
            "cpu_us": spent.total / clients * 1e6,
            **{key: report[key] for key in ("gaps", "repeats", "reconnects", "events")},
        }
    }
