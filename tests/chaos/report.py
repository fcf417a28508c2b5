"""The result of a run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.support.violations import Kind, Violation

SHOWN = 40
"""Violations printed with their context; the others are counted."""


SLOW_SECONDS = 10
"""From here on the report has what the slowest client observed."""


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
    """The injected faults and their times."""
    slowest: float = 0.0
    """Longest time in seconds until every client converged after a round."""
    slowest_for: str = ""
    """The client that converged last then, and what it lacked."""
    slowest_context: tuple[str, ...] = ()
    """What it observed before."""
    takeovers: list[tuple[str, int, float, float, float]] = field(default_factory=list)
    """Of several machines: cause, number, and p50, p99 and maximum of the seconds."""
    notes: list[str] = field(default_factory=list)
    """Why the run stopped early."""

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
            "takeovers": self.takeovers,
            "journal": [f"{at:.2f} {text}" for at, text in self.journal],
            "violations": self.kinds(),
            "found": [str(self._with_faults(violation)) for violation in self.violations],
        }

    def __str__(self) -> str:
        lines = [
            f"seed {self.seed}, log {self.log}, {self.seconds:.0f} s in {self.rounds} rounds",
            f"slowest   converged {self.slowest:.1f} s after a round: {self.slowest_for}",
            *(f"      {line}" for line in self.slowest_context if self.slowest > SLOW_SECONDS),
            "settings  " + ", ".join(f"{k}={v}" for k, v in self.settings.items()),
            "counts    " + ", ".join(f"{k} {v}" for k, v in self.counts.items()),
            f"faults    {self.faults.total()}: "
            + ", ".join(f"{k} {v}" for k, v in sorted(self.faults.items())),
            *(
                f"takeover  {cause}: {number}, seconds p50 {p50:.1f}, p99 {p99:.1f}, max {most:.1f}"
                for cause, number, p50, p99, most in self.takeovers
            ),
            "found     " + ", ".join(f"{k} {v}" for k, v in self.kinds().items()),
            *self.notes,
        ]
        lines += [str(self._with_faults(violation)) for violation in self.violations[:SHOWN]]
        if len(self.violations) > SHOWN:
            lines.append(f"... and {len(self.violations) - SHOWN} more")
        return "\n".join(lines)

    def _with_faults(self, violation: Violation) -> Violation:
        """Return the violation with the faults of the 12 s before it."""
        around = [
            f"{at:8.2f} fault {fault}"
            for at, fault in self.journal
            if violation.at - 12 <= at <= violation.at + 1
        ]
        return Violation(
            violation.kind,
            violation.client,
            violation.text,
            violation.at,
            violation.key,
            (*violation.context, *around[-14:]),
        )
