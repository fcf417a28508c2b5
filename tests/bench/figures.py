"""Percentiles, number formats and rounds, shared by the benches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

Figures = dict[str, dict[str, Any]]
"""Figures by name, by the label of the measured case."""


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value of ascending `ordered` at `share` (0 to 1). Raises IndexError if empty."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def number(value: float | None, decimals: int) -> str:
    """Format a figure: `-` for None, no decimals from 100 on."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.{decimals}f}"


def in_rounds(
    names: Sequence[str], rounds: int, measure: Callable[[str], Figures]
) -> dict[str, list[Figures]]:
    """Measure every name in each round, so that all share the machine's varying load."""
    out: dict[str, list[Figures]] = {name: [] for name in names}
    for index in range(rounds):
        for name in names:
            print(f"round {index + 1}: {name}", file=sys.stderr)
            out[name].append(measure(name))
    return out
