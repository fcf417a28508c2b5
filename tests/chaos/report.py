"""What a run came to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.violation import Kind, Violation

SHOWN = 40
"""Violations that are printed whole; more of the same say little more."""


@dataclass
class Report:
    seed: int
    log: str
    settings: dict[str, Any]
    seconds: float = 0.0
    rounds: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)
    journal: list[tuple[float, str]] = field(default_factory=list)
    """What was done to the bridge, and when."""
    slowest: float = 0.0
    """Seconds until all was told after a round."""
    slowest_for: str = ""
    """What was waited for then."""
    notes: list[str] = field(default_factory=list)

    def kinds(self) -> dict[str, int]:
        found = Counter(violation.kind for violation in self.violations)
        return {kind.value: found[kind] for kind in Kind}

    def as_json(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "log": self.log,
            "settings": self.settings,
            "seconds": round(self.seconds, 1),
            "rounds": self.rounds,
            "slowest": round(self.slowest, 1),
            "counts": self.counts,
            "faults": dict(self.faults),
            "violations": self.kinds(),
            "found": [str(self._whole(violation)) for violation in self.violations],
        }

    def __str__(self) -> str:
        lines = [
            f"seed {self.seed}, log {self.log}, {self.seconds:.0f} s in {self.rounds} rounds",
            f"slowest   all was told {self.slowest:.1f} s after a round: {self.slowest_for}",
            "settings  " + ", ".join(f"{k}={v}" for k, v in self.settings.items()),
            "counts    " + ", ".join(f"{k} {v}" for k, v in self.counts.items()),
            f"faults    {self.faults.total()}: "
            + ", ".join(f"{k} {v}" for k, v in sorted(self.faults.items())),
            "found     " + ", ".join(f"{k} {v}" for k, v in self.kinds().items()),
            *self.notes,
        ]
        lines += [str(self._whole(violation)) for violation in self.violations[:SHOWN]]
        if len(self.violations) > SHOWN:
            lines.append(f"... and {len(self.violations) - SHOWN} more")
        return "\n".join(lines)

    def _whole(self, violation: Violation) -> Violation:
        """With what was done in the seconds before it."""
        around = [
            f"{at:8.2f} fault {what}"
            for at, what in self.journal
            if violation.at - 12 <= at <= violation.at + 1
        ]
        return Violation(
            violation.kind,
            violation.client,
            violation.what,
            violation.at,
            violation.key,
            (*violation.context, *around[-14:]),
        )
