"""CPU per delivery: one event to all clients of a room, and sixteen in one loop iteration."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING

from tests.bench.figures import Figures
from tests.bench.rig import told

if TYPE_CHECKING:
    from tests.bench.rig import Program, Rig

SINGLE = {
    "bridge": (20, 4.0),
    "node": (20, 4.0),
    "python": (20, 4.0),
    "floor": (20, 4.0),
    "stock": (5, 1.0),
}
"""Number of events and rate per second for 5,000 clients; every server finishes an event before
the next one is due."""

BATCH = 16
BATCHES = {
    "bridge": (6, 1.0),
    "node": (4, 0.6),
    "python": (6, 1.0),
    "floor": (6, 1.0),
    "stock": (1, 1.0),
}


def measure(rig: Rig, names: list[str], clients: int, rounds: int) -> dict[str, list[Figures]]:
    """Measure servers in turns, with all clients connected from the start: a round takes seconds,
    so that the machine's other load affects all figures.
    """
    out: dict[str, list[Figures]] = {name: [] for name in names}
    with contextlib.ExitStack() as stack:
        pairs = {name: stack.enter_context(rig.pair(name, clients)) for name in names}
        for number in range(-1, rounds):
            for name, pair in pairs.items():
                if number < 0:
                    pair[0].ask("tell 2 2 1")  # excludes one-time work
                    time.sleep(1)
                else:
                    print(f"round {number + 1}: {name}", file=sys.stderr)
                    out[name].append(_measure(name, *pair, clients))
    return out


def _measure(name: str, server: Program, load: Program, clients: int) -> Figures:
    out: Figures = {}
    slower = max(1.0, clients / 5000)
    for label, (count, rate), batch in (
        ("one event", SINGLE[name], 1),
        (f"{BATCH} in one step", BATCHES[name], BATCH),
    ):
        load.ask("reset")
        before = server.cpu
        server.ask(f"tell {count} {rate / slower} {batch}")
        deliveries = count * batch * clients
        stat = told(load, deliveries)
        spent = server.cpu - before
        out[label] = {
            "cpu_us": spent.total / deliveries * 1e6,
            "user_us": spent.user / deliveries * 1e6,
            "per_s": deliveries / spent.total,
            "p50_ms": stat["p50"],
            "p99_ms": stat["p99"],
            "stall_ms": None,
            "step_ms": None,
        }
        if name == "bridge":
            load.ask("reset")
            held = server.ask(f"stall 8 {2 / slower} {batch}")
            out[label].update({name: held[name] for name in ("stall_ms", "step_ms")})
            told(load, 8 * batch * clients)
    return out
