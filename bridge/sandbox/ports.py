"""Ports outside of the range from which the system assigns ports to outgoing connections."""

from __future__ import annotations

import errno
import os
import random
import socket
from typing import Final

BELOW_THE_EPHEMERAL: Final = range(20_000, 32_000)
"""A server that listens, or restarts, a while later finds its port free."""

TAKEN: Final = os.strerror(errno.EADDRINUSE)
"""In what a server logs if another process has its port."""

TRIES: Final = 5
"""Ports that a server tries if another process takes each of them first."""

_random: Final = random.SystemRandom()
"""Not seeded: processes that run at once don't draw the same ports."""

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
