"""Ports outside of the range from which the system assigns ports to outgoing connections."""

from __future__ import annotations

import random
import socket

BELOW_THE_EPHEMERAL = range(20_000, 32_000)
"""A bridge that listens, or restarts, a while later finds its port free."""

_random = random.SystemRandom()
"""Not seeded: test processes that run at once don't draw the same ports."""

_given: set[int] = set()


def free_port() -> int:
    """Return a free port of this range, another one each time. Raises `RuntimeError` after 100
    tries.
    """
    for port in _random.sample(BELOW_THE_EPHEMERAL, 100):
        if port in _given:
            continue
        try:
            with socket.create_server(("127.0.0.1", port)):
                _given.add(port)
                return port
        except OSError:
            continue
    raise RuntimeError(f"expected a free port in {BELOW_THE_EPHEMERAL}, found none in 100 tries")
