"""The gateway beside its peers, in one run on one machine.

    python -m tests.bench [--quick] [--json FILE]
    python -m tests.bench fanout|connect|memory|upgrade|slow [--clients N] [--rounds N] [--json F]
    python -m tests.bench recovery|pipeline|latency|log|table|overload [--json FILE] [--help]
    python -m tests.bench tokens

Without a name all of them, each within a time of its own, some fifteen minutes in all; `--quick`
is a look at whether they run, in three minutes.

Compared are this bridge's gateway, Node's socket.io, python-socketio as it comes, a Python loop of
`transport.write`, and the floor: a C loop of send(). Rounds are interleaved; shown are medians and
their ratios. Absolute figures say little on a shared machine, ratios hold. `pipeline` and `latency`
measure what is before the gateway, `log`, `table` and `overload` what is kept and repaired.
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
from tests.bench.rig import rig

BENCHES: dict[str, tuple[Any, int, list[str]]] = {
    "fanout": (fanout, 5000, ["bridge", "node", "stock", "python", "floor"]),
    "connect": (connect, 3000, ["bridge", "node", "stock"]),
    "memory": (connect, 5000, ["bridge", "node", "stock"]),
    "upgrade": (upgrade, 100, ["bridge", "node"]),
    "slow": (slow, 500, ["bridge"]),
}
ELSEWHERE = ("pipeline", "latency", "recovery", "log", "table", "overload", "tokens")
UNITS = {
    "cpu_us": "CPU µs",
    "user_us": "user µs",
    "per_s": "per s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "stall_ms": "longest stall ms",
    "step_ms": "longest step CPU ms",
    "kb": "KB each",
    "grown_kb": "RSS grown KB",
    "cut_off": "cut off",
    "cut_s": "after s",
    "cut_kb": "waiting KB",
    "gaps": "gaps",
    "repeats": "repeats",
    "reconnects": "reconnects",
    "events": "events",
}

Figures = dict[str, dict[str, Any]]
"""Figure by name, by what was measured."""


def median(rounds: list[Figures]) -> Figures:
    def of(label: str, figure: str) -> Any:
        values = [round_[label][figure] for round_ in rounds]
        return None if None in values else statistics.median(values)

    return {
        label: {figure: of(label, figure) for figure in figures}
        for label, figures in rounds[0].items()
    }


def table(results: dict[str, Figures]) -> str:
    """Markdown: a line for each contender, with how many times the bridge's CPU it takes."""
    lines = []
    for label, figures in next(iter(results.values())).items():
        heads = [UNITS[name] for name in figures]
        lines += [
            f"\n| {label} | {' | '.join(heads)} | bridge / it |",
            "|---|" + "---:|" * (len(heads) + 1),
        ]
        ours = results["bridge"][label]
        for name, its in results.items():
            values = [_number(value) for value in its[label].values()]
            ratio = ours["cpu_us"] / its[label]["cpu_us"]
            memory = f" ({ours['kb'] / its[label]['kb']:.2f} KB)" if its[label].get("kb") else ""
            lines.append(f"| {name} | {' | '.join(values)} | {ratio:.2f}{memory} |")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


def main(argv: list[str] | None = None) -> int:
    given = sys.argv[1:] if argv is None else argv
    if given and given[0] in ELSEWHERE:
        sys.argv[1:] = given[1:]
        runpy.run_module(f"tests.bench.{given[0]}", run_name="__main__")
        return 0
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bench", nargs="?", choices=[*BENCHES, *ELSEWHERE], help="all without it")
    parser.add_argument("--quick", action="store_true", help="of all, with few clients")
    parser.add_argument("--clients", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", help="contenders, bridge among them")
    parser.add_argument("--seconds", type=int, default=50, help="of `slow`")
    parser.add_argument("--batch", type=int, default=2, help="events at once, of `slow`")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(given)
    if options.bench is None:
        file = options.json or Path("bench.json")
        return everything.run(list(everything.PARTS), quick=options.quick, file=file)
    module, clients, names = BENCHES[options.bench]
    clients = options.clients or clients
    with rig() as machine:
        names = [name for name in options.only or names if name in machine.names]
        more = {"seconds": options.seconds, "batch": options.batch} if module is slow else {}
        rounds: dict[str, list[Figures]] = module.measure(
            machine, names, clients, options.rounds, **more
        )
    results = {name: median(its) for name, its in rounds.items()}
    print(f"{clients:,} clients, medians of {options.rounds} rounds")
    print(table(results))
    if options.json:
        whole = {"bench": options.bench, "clients": clients, "medians": results, "rounds": rounds}
        options.json.write_text(json.dumps(whole, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
