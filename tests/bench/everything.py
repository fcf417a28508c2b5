"""All benches one after the other, each a process with a time by which it has to be done, and what
they say about the gateway in one table.
"""

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
class Part:
    """One bench: its arguments, those for a quick look, and the seconds that it may take."""

    arguments: str
    quick: str
    seconds: float


PARTS = {
    "fanout": Part("", "--clients 200 --rounds 1", 600),
    "connect": Part("", "--clients 200 --rounds 1", 300),
    "memory": Part("--rounds 1", "--clients 200 --rounds 1", 200),
    "upgrade": Part("", "--clients 20 --rounds 1", 120),
    "slow": Part("--rounds 1", "--clients 20 --rounds 1 --seconds 12 --batch 10", 300),
    "recovery": Part("", "--clients 10 --cuts 5", 200),
    "pipeline": Part("", "--rows 10000 --changes 2000", 300),
    "latency": Part("", "--seconds 2 --rate 50", 120),
    "table": Part("--rows 1000 100000", "--rows 1000", 400),
    "overload": Part("", "--transaction 2000 --rate 200 --seconds 6", 400),
}

Results = dict[str, Any]


def run(names: list[str], *, quick: bool, file: Path) -> int:
    """Exit code 1 if one of them failed, found something wrong, or was not done in time."""
    results: Results = {}
    with tempfile.TemporaryDirectory() as directory:
        for name in names:
            part = PARTS[name]
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
            # After each: what was measured stays, whatever becomes of the next.
            file.write_text(json.dumps(_whole(results, quick=quick), indent=2) + "\n")
    print("\n## In short\n\n" + "\n".join(_table(results)))
    print(f"\nAll figures are in {file}.")
    return 1 if any(result["failure"] for result in results.values()) else 0


def _run(arguments: list[str], seconds: float) -> str | None:
    command = [sys.executable, "-m", "tests.bench", *arguments]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        return f"not done after {seconds:.0f} s"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # its servers and clients too
            process.wait()
    return f"exit code {code}" if code else None


def _whole(results: Results, *, quick: bool) -> Results:
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
    lines = ["| | | beside it |", "|---|---:|---|"]
    lines += [f"| {label} | {value} | {beside} |" for label, value, beside in _figures(results)]
    return lines


def _figures(results: Results) -> list[tuple[str, str, str]]:
    """What it is, its value for the bridge, and what that is beside others. Left out is what was
    not measured.
    """
    out: list[tuple[str, str, str]] = []

    def add(label: str, make: Callable[[], tuple[str, str]]) -> None:
        try:
            out.append((label, *make()))
        except (KeyError, TypeError):
            return

    def medians(bench: str) -> Any:
        return results[bench]["result"]["medians"]

    def beside(bench: str, label: str, figure: str, unit: str) -> tuple[str, str]:
        its = medians(bench)
        ours = its["bridge"][label][figure]
        ratios = [
            f"{ours / others[label][figure]:.2f} of {name}"
            for name, others in its.items()
            if name != "bridge" and others[label].get(figure)
        ]
        return f"{ours:,.2f} {unit}", ", ".join(ratios)

    def stalled() -> tuple[str, str]:
        its = medians("slow")["bridge"]["one stalls"]
        return (
            f"cut off after {its['cut_s']:.1f} s with {its['cut_kb']:,.0f} KB waiting",
            f"told so: {its['cut_off']:.0f} of 1",
        )

    def upgrades() -> tuple[str, str]:
        its = medians("upgrade")["bridge"]["upgrades under fire"]
        wrong = f"{its['gaps']:.0f} gaps, {its['repeats']:.0f} repeats"
        return wrong, f"{its['reconnects']:.0f} reconnects, {its['events']:,.0f} events"

    def recovery() -> tuple[str, str]:
        its = results["recovery"]["result"]
        wrong = ", ".join(f"{its[key]} {key}" for key in ("lost", "repeated", "disordered"))
        return f"{its['recovered']:,} of {its['cuts']:,} recovered", wrong

    def commit() -> tuple[str, str]:
        its = results["latency"]["result"]
        own, whole = its["bridge (callback to event at the client)"], its["commit to client"]
        return f"p50 {own['p50']:.1f}, p99 {own['p99']:.1f} ms", (
            f"commit to client p50 {whole['p50']:.0f}, p99 {whole['p99']:.0f} ms"
        )

    one, many = "one event", "16 in one step"
    add("CPU per delivery", lambda: beside("fanout", one, "cpu_us", "µs"))
    add("of it in user mode", lambda: beside("fanout", one, "user_us", "µs"))
    add("deliveries per CPU second", lambda: beside("fanout", one, "per_s", ""))
    add("p99 of one event to all", lambda: beside("fanout", one, "p99_ms", "ms"))
    add("CPU per delivery, 16 events in one step", lambda: beside("fanout", many, "cpu_us", "µs"))
    add("longest stall of the loop, one event", lambda: beside("fanout", one, "stall_ms", "ms"))
    add("longest stall of the loop, 16 events", lambda: beside("fanout", many, "stall_ms", "ms"))
    add("most CPU time of one step, one event", lambda: beside("fanout", one, "step_ms", "ms"))
    add("most CPU time of one step, 16 events", lambda: beside("fanout", many, "step_ms", "ms"))
    add("CPU per connect with a region", lambda: beside("connect", "a client", "cpu_us", "µs"))
    add("memory per idle client", lambda: beside("memory", "a client", "kb", "KB"))
    add("upgrades under fire", upgrades)
    add("one client stalls", stalled)
    add("p99 of the others, all take", lambda: beside("slow", "all take", "p99_ms", "ms"))
    add("p99 of the others, one stalls", lambda: beside("slow", "one stalls", "p99_ms", "ms"))
    add("cuts", recovery)
    add("Realtime's callback to the client", commit)
    return out
