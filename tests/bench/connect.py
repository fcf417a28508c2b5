"""What a client costs that comes and joins a region, and one that is just there."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.bench.rig import Rig

WARM = 300
"""Clients that come before, so that what a server does only once is not counted."""


def measure(
    rig: Rig, names: list[str], clients: int, rounds: int
) -> dict[str, list[dict[str, dict[str, Any]]]]:
    """A new server each time, in turns."""
    out: dict[str, list[dict[str, dict[str, Any]]]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names:
            print(f"round {number + 1}: {name}", file=sys.stderr)
            out[name].append(_measure(rig, name, clients))
    return out


def _measure(rig: Rig, name: str, clients: int) -> dict[str, dict[str, Any]]:
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
