"""Pauses between attempts of reads that fail, one per kind of read. No I/O; times are passed in as
monotonic seconds.
"""

from __future__ import annotations

import random
from collections import defaultdict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Hashable

FIRST_RETRY_SECONDS: Final = 0.2
LONGEST_RETRY_SECONDS: Final = 5.0
"""Between attempts of a read that fails; doubling, with jitter. One small read every 5 s costs a
database that recovers nothing, and the repair begins as soon as it has recovered."""


class Backoff:
    """The pause of one kind of read."""

    def __init__(self) -> None:
        self.failures = 0
        """Number of failed attempts since the last successful one."""
        self.due = 0.0
        """The next attempt is not before."""

    def failed(self, now: float) -> None:
        self.failures += 1
        longest = min(
            LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** (min(self.failures, 16) - 1)
        )
        self.due = now + longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter

    def succeeded(self) -> int:
        """End the pauses. Return the number of attempts that had failed."""
        failures, self.failures, self.due = self.failures, 0, 0.0
        return failures


class Backoffs:
    """The pauses of all kinds of reads. One that fails does not delay the others."""

    def __init__(self) -> None:
        self._backoffs: defaultdict[Hashable, Backoff] = defaultdict(Backoff)

    def __getitem__(self, kind: Hashable) -> Backoff:
        return self._backoffs[kind]

    def cut_short(self) -> None:
        """Have every kind of read tried again at once."""
        for backoff in self._backoffs.values():
            backoff.due = 0.0
