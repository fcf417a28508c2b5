"""Compares the clock of this machine with that of a server. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bridge.cli.check.finding import Finding, warn

if TYPE_CHECKING:
    from collections.abc import Iterator

CLOCK_SECONDS: Final = 5.0
"""Difference of clocks that is reported. The `Date` of an answer has whole seconds."""


def clock_findings(ahead: float, server: str, effect: str = "") -> Iterator[Finding]:
    """`ahead`: seconds by which this machine is ahead of `server`; `effect` of a difference."""
    if abs(ahead) > CLOCK_SECONDS:
        yield warn(
            "clock",
            f"this machine's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} "
            f"{server}{effect}",
            "synchronise it: timedatectl set-ntp true",
        )
