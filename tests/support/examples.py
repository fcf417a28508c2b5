"""The number of examples that a property test runs, and the seed that they are drawn from."""

from __future__ import annotations

import os
import secrets
from typing import Final

from hypothesis import HealthCheck, settings

EXAMPLES_VARIABLE: Final = "BRIDGE_TEST_EXAMPLES"
SEED_VARIABLE: Final = "BRIDGE_TEST_SEED"
PROFILE: Final = "explore"
DEFAULT_EXAMPLES: Final = 100


def examples(count: int) -> int:
    """Return `count` scaled by the environment variable `BRIDGE_TEST_EXAMPLES`, at least 1.

    1 is the gate's scale. A long run sets 20, a quick look 0.1.
    """
    return max(1, round(count * float(os.environ.get(EXAMPLES_VARIABLE) or 1)))


def seed() -> str:
    """Return a random seed, or the one in the environment variable `BRIDGE_TEST_SEED`."""
    return os.environ.get(SEED_VARIABLE) or str(secrets.randbits(32))


def load_profile() -> None:
    """Load the profile under which every property test runs, with `CI` set or not.

    Hypothesis has a profile of its own for `CI`, which repeats the same examples in each run; this
    one draws new ones. Without a deadline, because the machine of a test may be busy.
    """
    settings.register_profile(
        PROFILE,
        max_examples=examples(DEFAULT_EXAMPLES),
        deadline=None,
        derandomize=False,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile(PROFILE)
