"""Ports outside of the range from which the system assigns ports to outgoing connections."""

from __future__ import annotations

import random
import socket

BELOW_THE_EPHEMERAL = range(20_000, 32_000)
"""A bridge that restarts after a while finds its port free."""


def quiet_port() -> int:
    """Return a free port of this range. Raises `RuntimeError` after 100 tries."""
    for port in random.sample(BELOW_THE_EPHEMERAL, 100):
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue
    raise RuntimeError(f"expected a free port in {BELOW_THE_EPHEMERAL}, found none in 100 tries")
