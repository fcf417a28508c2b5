"""Compares the gateway with its peers, in one run on one machine.

    python -m tests.bench [--quick] [--json FILE]
    python -m tests.bench fanout|connect|memory|upgrade|slow [--clients N] [--rounds N] [--json F]
    python -m tests.bench recovery|pipeline|latency|log|table|overload|replication [--json FILE]
    python -m tests.bench tokens|shared|pings|capacity|processes [--help]

Without a name, all benches run, each with a timeout, in about 15 minutes; `--quick` is a smoke test
of three minutes.

The contenders are this bridge's gateway, Node's socket.io, unmodified python-socketio, a Python
loop of `transport.write`, and the floor: a C loop of send(). Rounds are interleaved; the output has
medians and their ratios. On a shared machine absolute figures vary, ratios are stable. `pipeline`
and `latency` measure the stages before the gateway, `log`, `table` and `overload` storage and
recovery.
"""

from __future__ import annotations

import argparse
import json
import runpy
import statistics
import sys
from pathlib import Path
from typing import Any

from tests.bench import connect, everything, fanout, slow, upgrade
from tests.bench.figures import Figures, number
from tests.bench.rig import rig

BENCHES: dict[str, tuple[Any, int, list[str]]] = {
    "fanout": (fanout, 5000, ["bridge", "node", "stock", "python", "floor"]),
    "connect": (connect, 3000, ["bridge", "node", "stock"]),
    "memory": (connect, 5000, ["bridge", "node", "stock"]),
    "upgrade": (upgrade, 100, ["bridge", "node"]),
    "slow": (slow, 500, ["bridge"]),
}
MODULES = (
    "pipeline",
    "latency",
    "recovery",
    "log",
    "table",
    "overload",
    "tokens",
    "replication",
    "shared",
    "pings",
    "capacity",
    "processes",
)
UNITS = {
    "cpu_us": "CPU µs",
    "user_us": "user µs",
    "per_s": "per s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "stall_ms": "longest stall ms",
    "step_ms": "longest step CPU ms",
    "kb": "KB each",
    "grown_kb": "RSS growth KB",
    "cut_off": "slow clients closed",
    "cut_s": "after s",
    "cut_kb": "unsent KB",
    "gaps": "gaps",
    "repeats": "repeats",
    "reconnects": "reconnects",
    "events": "events",
}


def median(rounds: list[Figures]) -> Figures:
    """Return the median of each figure; None if a round has none."""

    def of(label: str, figure: str) -> Any:
        values = [round_[label][figure] for round_ in rounds]
        return None if None in values else statistics.median(values)

    return {
        label: {figure: of(label, figure) for figure in figures}
        for label, figures in rounds[0].items()
    }


def table(results: dict[str, Figures]) -> str:
    """Return Markdown tables with a line per contender and the ratio of the bridge's CPU to its."""
    lines = []
    for label, figures in next(iter(results.values())).items():
        heads = [UNITS[name] for name in figures]
        lines += [
            f"\n| {label} | {' | '.join(heads)} | CPU bridge / contender |",
            "|---|" + "---:|" * (len(heads) + 1),
        ]
        ours = results["bridge"][label]
        for name, theirs in results.items():
            values = [number(value, 2) for value in theirs[label].values()]
            ratio = ours["cpu_us"] / theirs[label]["cpu_us"]
            kb = theirs[label].get("kb")
            memory = f" ({ours['kb'] / kb:.2f} KB)" if kb else ""
            lines.append(f"| {name} | {' | '.join(values)} | {ratio:.2f}{memory} |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    given = sys.argv[1:] if argv is None else argv
    if given and given[0] in MODULES:
        sys.argv[1:] = given[1:]
        runpy.run_module(f"tests.bench.{given[0]}", run_name="__main__")
        return 0
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bench", nargs="?", choices=[*BENCHES, *MODULES], help="default: all")
    parser.add_argument("--quick", action="store_true", help="run all benches with few clients")
    parser.add_argument("--clients", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", help="contenders, including bridge")
    parser.add_argument("--seconds", type=int, default=50, help="duration of `slow`")
    parser.add_argument("--batch", type=int, default=2, help="events at once in `slow`")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(given)
    if options.bench is None:
        file = options.json or Path("bench.json")
        return everything.run(list(everything.BENCHES), quick=options.quick, file=file)
    module, clients, names = BENCHES[options.bench]
    clients = options.clients or clients
    with rig() as machine:
        names = [name for name in options.only or names if name in machine.names]
        more = {"seconds": options.seconds, "batch": options.batch} if module is slow else {}
        rounds: dict[str, list[Figures]] = module.measure(
            machine, names, clients, options.rounds, **more
        )
    results = {name: median(measured) for name, measured in rounds.items()}
    print(f"{clients:,} clients, medians of {options.rounds} rounds")
    print(table(results))
    if options.json:
        document = {
            "bench": options.bench,
            "clients": clients,
            "medians": results,
            "rounds": rounds,
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
