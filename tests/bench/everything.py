"""Runs all benches in sequence, each as a process with a timeout, and summarises them."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Bench:
    """One bench: its arguments, those of a quick run, and its timeout in seconds."""

    arguments: str
    quick: str
    seconds: float


BENCHES = {
    "fanout": Bench("", "--clients 200 --rounds 1", 600),
    "connect": Bench("", "--clients 200 --rounds 1", 300),
    "memory": Bench("--rounds 1", "--clients 200 --rounds 1", 200),
    "upgrade": Bench("", "--clients 20 --rounds 1", 120),
    "slow": Bench("--rounds 1", "--clients 20 --rounds 1 --seconds 12 --batch 10", 300),
    "recovery": Bench("", "--clients 10 --cuts 5", 200),
    "pipeline": Bench("", "--rows 10000 --changes 2000", 300),
    "latency": Bench("", "--seconds 2 --rate 50", 120),
    "table": Bench("--rows 1000 100000", "--rows 1000", 400),
    "processes": Bench("", "--clients 200 --events 5", 400),
    "overload": Bench("", "--transaction 2000 --rate 200 --seconds 6", 400),
}

Results = dict[str, Any]


def run(names: list[str], *, quick: bool, file: Path) -> int:
    """Run the benches. Return exit code 1 if one failed, found an error, or timed out."""
    results: Results = {}
    with tempfile.TemporaryDirectory() as directory:
        for name in names:
            part = BENCHES[name]
            answer = Path(directory) / name
            arguments = (part.quick if quick else part.arguments).split()
            print(f"\n## {name} {' '.join(arguments)}", flush=True)
            began = time.monotonic()
            failure = _run([name, *arguments, "--json", str(answer)], part.seconds)
            if failure:
                print(f"**{name}: {failure}**", flush=True)
            results[name] = {
                "seconds": round(time.monotonic() - began, 1),
                "failure": failure,
                "result": json.loads(answer.read_text()) if answer.exists() else None,
            }
            # After each bench, so that its figures are kept if the next one fails.
            file.write_text(json.dumps(_document(results, quick=quick), indent=2) + "\n")
    print("\n## Summary\n\n" + "\n".join(_table(results)))
    print(f"\nAll figures: {file}")
    return 1 if any(result["failure"] for result in results.values()) else 0


def _run(arguments: list[str], seconds: float) -> str | None:
    command = [sys.executable, "-m", "tests.bench", *arguments]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        return f"timed out after {seconds:.0f} s"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # with its servers and clients
            process.wait()
    return f"exit code {code}" if code else None


def _document(results: Results, *, quick: bool) -> Results:
    return {
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            "kernel": platform.release(),
            "load": os.getloadavg(),
        },
        "quick": quick,
        "summary": {label: value for label, value, _ in _figures(results)},
        "benches": results,
    }


def _table(results: Results) -> list[str]:
    lines = ["| | | comparison |", "|---|---:|---|"]
    lines += [f"| {label} | {value} | {other} |" for label, value, other in _figures(results)]
    return lines


def _figures(results: Results) -> list[tuple[str, str, str]]:
    """Return label, value of the bridge and comparison of each figure that was measured."""
    out: list[tuple[str, str, str]] = []

    def add(label: str, make: Callable[[], tuple[str, str]]) -> None:
        try:
            out.append((label, *make()))
        except (KeyError, TypeError):
            return

    def medians(bench: str) -> Any:
        return results[bench]["result"]["medians"]

    def compared(bench: str, label: str, figure: str, unit: str) -> tuple[str, str]:
        contenders = medians(bench)
        ours = contenders["bridge"][label][figure]
        ratios = [
            f"{ours / others[label][figure]:.2f} of {name}"
            for name, others in contenders.items()
            if name != "bridge" and others[label].get(figure)
        ]
        return f"{ours:,.2f} {unit}", ", ".join(ratios)

    def stalled() -> tuple[str, str]:
        figures = medians("slow")["bridge"]["one stalls"]
        return (
            f"closed after {figures['cut_s']:.1f} s with {figures['cut_kb']:,.0f} KB unsent",
            f"counted: {figures['cut_off']:.0f} of 1",
        )

    def upgrades() -> tuple[str, str]:
        figures = medians("upgrade")["bridge"]["upgrades under load"]
        wrong = f"{figures['gaps']:.0f} gaps, {figures['repeats']:.0f} repeats"
        return wrong, f"{figures['reconnects']:.0f} reconnects, {figures['events']:,.0f} events"

    def recovery() -> tuple[str, str]:
        figures = results["recovery"]["result"]
        wrong = ", ".join(f"{figures[key]} {key}" for key in ("lost", "repeated", "disordered"))
        return f"{figures['recovered']:,} of {figures['cuts']:,} recovered", wrong

    def commit() -> tuple[str, str]:
        stages = results["latency"]["result"]
        own, total = stages["bridge (callback to event at the client)"], stages["commit to client"]
        return f"p50 {own['p50']:.1f}, p99 {own['p99']:.1f} ms", (
            f"commit to client p50 {total['p50']:.0f}, p99 {total['p99']:.0f} ms"
        )

    one, many = "one event", "16 in one step"
    add("CPU per delivery", lambda: compared("fanout", one, "cpu_us", "µs"))
    add("of it in user mode", lambda: compared("fanout", one, "user_us", "µs"))
    add("deliveries per CPU second", lambda: compared("fanout", one, "per_s", ""))
    add("p99 of one event to all", lambda: compared("fanout", one, "p99_ms", "ms"))
    add("CPU per delivery, 16 events in one step", lambda: compared("fanout", many, "cpu_us", "µs"))
    add("longest stall of the loop, one event", lambda: compared("fanout", one, "stall_ms", "ms"))
    add("longest stall of the loop, 16 events", lambda: compared("fanout", many, "stall_ms", "ms"))
    add("most CPU time of one step, one event", lambda: compared("fanout", one, "step_ms", "ms"))
    add("most CPU time of one step, 16 events", lambda: compared("fanout", many, "step_ms", "ms"))
    add("CPU per connect with a region", lambda: compared("connect", "a client", "cpu_us", "µs"))
    add("memory per idle client", lambda: compared("memory", "a client", "kb", "KB"))
    add("upgrades under load", upgrades)
    add("one client stalls", stalled)
    add("p99 of the others, all read", lambda: compared("slow", "all read", "p99_ms", "ms"))
    add("p99 of the others, one stalls", lambda: compared("slow", "one stalls", "p99_ms", "ms"))
    add("connections cut", recovery)
    add("Realtime's callback to the client", commit)
    return out
