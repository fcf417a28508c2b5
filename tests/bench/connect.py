"""CPU per connect with a region, and memory per idle client."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.bench.figures import Figures, in_rounds

if TYPE_CHECKING:
    from tests.bench.rig import Rig

WARM = 300
"""Clients connected before the measurement, so that one-time work of a server is not counted."""


def measure(rig: Rig, names: list[str], clients: int, rounds: int) -> dict[str, list[Figures]]:
    """Measure with a new server in each round."""
    return in_rounds(names, rounds, lambda name: _measure(rig, name, clients))


def _measure(rig: Rig, name: str, clients: int) -> Figures:
    with rig.pair(name, WARM) as (server, load):
        time.sleep(1)
        rss, cpu = server.rss, server.cpu
        opened = load.ask(f"open {clients}")
        assert opened["ready"] == clients + WARM, opened
        spent = server.cpu - cpu
        time.sleep(3)
        return {
            "a client": {
                "cpu_us": spent.total / clients * 1e6,
                "user_us": spent.user / clients * 1e6,
                "per_s": clients / opened["seconds"],
                "kb": (server.rss - rss) / clients / 1024,
            }
        }
